"""Classifiers fitted over REST to few digits, compared with logistic regression on the raw pixels of the same images.

Both are fitted by the same code, with the same folds and choice of strength. Both classify the same held-out digits,
which are in no training data of the backbone or the classifiers. The draws differ in the images of the fit.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from benchmarks._table import arguments, print_table, write_figures
from diffsight.demo import FEATURES, server
from heads.feature_pooling.logistic import fit_logistic
from training.datasets.digits import DIGIT_NAMES, Digits, load_held_out_digits, load_training_digits

IMAGES_A_CLASS = 20
AT_ONCE = 60


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image, (H, W, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pack_digits(digits: Digits, chosen: NDArray[np.int64]) -> bytes:
    """A zip of the chosen digits, (N,) int64 indices, with one folder for each class."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index in chosen.tolist():
            name = f"{DIGIT_NAMES[digits.labels[index]]}/{digits.source_indices[index]}.png"
            archive.writestr(name, png(digits.image(index)))
    return file.getvalue()


def over_rest(client: httpx2.Client, archive: bytes, options: dict[str, Any], files: list[bytes]) -> list[str]:
    """The label of each file, by a classifier that is fitted to the archive, used, and deleted."""
    fitted = client.post("/v1/classifiers", files={"image": archive}, data=options)
    fitted.raise_for_status()
    route = f"/v1/classify/{fitted.json()['id']}"
    labels: list[str] = []
    for at in range(0, len(files), AT_ONCE):
        answer = client.post(route, files=[("image", file) for file in files[at : at + AT_ONCE]])
        answer.raise_for_status()
        labels += [entry["label"] for entry in answer.json()["answers"]]
    client.delete(f"/v1/classifiers/{fitted.json()['id']}").raise_for_status()
    return labels


def on_pixels(training: Digits, chosen: NDArray[np.int64], unseen: Digits) -> float:
    """Accuracy of the same fit on raw pixels. chosen: (N,) int64 indices of training digits."""

    def pixels(digits: Digits, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([digits.image(int(index)).ravel() for index in indices]).astype(np.float32)

    classifier, _ = fit_logistic(pixels(training, chosen), training.labels[chosen], DIGIT_NAMES)
    answers = classifier.probabilities(pixels(unseen, np.arange(len(unseen)))).argmax(axis=1)
    return float((answers == unseen.labels).mean())


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--draws", type=int, default=3)
    chosen = parser.parse_args()

    training, unseen = load_training_digits(), load_held_out_digits()
    files = [png(unseen.image(index)) for index in range(len(unseen))]
    truth = [DIGIT_NAMES[label] for label in unseen.labels]
    ways: dict[str, list[float]] = {"rest": [], "rest_defaults": [], "pixels": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "server.log", Console()) as address,
        httpx2.Client(base_url=address, timeout=300) as client,
    ):
        for draw in range(chosen.draws):
            generator = np.random.default_rng(draw)
            each = [
                generator.permutation(np.flatnonzero(training.labels == digit))[:IMAGES_A_CLASS] for digit in range(10)
            ]
            images = np.concatenate(each)
            archive = pack_digits(training, images)
            for way, options in (("rest", FEATURES), ("rest_defaults", {})):
                labels = over_rest(client, archive, options, files)
                ways[way].append(statistics.fmean(label == true for label, true in zip(labels, truth, strict=True)))
            ways["pixels"].append(on_pixels(training, images, unseen))
    names = {
        "rest": "POST /v1/classifiers, blocks and timestep that suit pocket",
        "rest_defaults": "POST /v1/classifiers, defaults",
        "pixels": "logistic regression on raw pixels",
    }
    print_table(
        f"{len(unseen)} held-out digits, {IMAGES_A_CLASS} images a class, {chosen.draws} draws",
        ["way", "accuracy, mean", "lowest", "highest"],
        [
            [
                names[way],
                *(f"{value:.3f}" for value in (statistics.fmean(accuracies), min(accuracies), max(accuracies))),
            ]
            for way, accuracies in ways.items()
        ],
    )
    means = {way: statistics.fmean(accuracies) for way, accuracies in ways.items()}
    figures = {
        "rest_accuracy": means["rest"],
        "rest_defaults_accuracy": means["rest_defaults"],
        "pixels_accuracy": means["pixels"],
        "rest_minus_pixels": means["rest"] - means["pixels"],
        "lowest_rest_minus_pixels": min(a - b for a, b in zip(ways["rest"], ways["pixels"], strict=True)),
    }
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
