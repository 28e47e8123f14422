"""Answers of the tasks' own routes to the calls of docs/protocols.md, and the comparison of both."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heads.outputs import Rle, decode_rle
from service.protocols.roboflow_answers import nearness

IMAGES = Path(__file__).parents[2] / "training" / "world" / "held_out" / "scenes" / "images"
IMAGE = IMAGES / "000000.png"
LABELS = ["a person", "a ball"]


def picture(path: Path = IMAGE) -> str:
    """An image file in base64."""
    return base64.b64encode(path.read_bytes()).decode()


@dataclass(frozen=True, slots=True)
class Native:
    """A server's own routes. classifier: the id of a classifier on the server. answers: earlier answers."""

    client: httpx2.Client
    classifier: str
    answers: dict[str, Any] = field(default_factory=dict)

    def ask(self, route: str, *, alone: bool = True, **options: Any) -> Any:
        """The answer of a route about the image: JSON, or the array or picture of the requested form."""
        body = {"image": picture(), **options} if alone else options
        key = json.dumps([route, body], sort_keys=True)
        if key not in self.answers:
            self.answers[key] = self._ask(route, body)
        return self.answers[key]

    def _ask(self, route: str, body: dict[str, Any]) -> Any:
        response = self.client.post(f"/v1/{route}", json=body)
        assert response.status_code == 200, response.text
        kind = response.headers["content-type"]
        if kind == "application/json":
            return response.json()
        return (
            np.load(BytesIO(response.content)) if "npy" in kind else np.asarray(Image.open(BytesIO(response.content)))
        )


def fit_classifier(client: httpx2.Client) -> str:
    """The id of a classifier over a few images of the world."""
    images = [picture(path) for path in sorted(IMAGES.iterdir())[:6]]
    fitted = client.post("/v1/classifiers", json={"images": images, "labels": ["left", "right"] * 3})
    assert fitted.status_code in (200, 201), fitted.text
    return str(fitted.json()["id"])


def assert_near(actual: Any, expected: Any, within: float = 1e-4) -> None:
    """Raise AssertionError unless numbers are nearly equal: rows may be in other batches."""
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), np.asarray(expected, np.float64), rtol=within, atol=within
    )


def texts(array: Any) -> list[str]:
    """The texts of a BYTES tensor."""
    return [text.decode() for text in array.ravel().tolist()]


def masks_of(answer: list[dict[str, Any]]) -> dict[str, NDArray[np.bool_]]:
    """Masks of an answer by their names."""
    return {entry["name"]: decode_rle(Rle(**entry["rle"])) for entry in answer}


def posterior(native: Native) -> dict[str, float]:
    """Probabilities by label, best first."""
    answer = native.ask("classify/zero-shot", labels=LABELS)
    return {entry["label"]: entry["probability"] for entry in answer["posterior"]}


def classes(native: Native, top: int = 5) -> dict[str, float]:
    """Probabilities by class, likeliest first."""
    (answer,) = native.ask(f"classify/{native.classifier}", top=top)["answers"]
    return {score["label"]: score["probability"] for score in answer["scores"]}


def check_ranking(answer: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert list(answer) == list(expected)
    assert_near(list(answer.values()), list(expected.values()))


# Hugging Face


def check_hf_labels(answer: Any, native: Native) -> None:
    check_ranking({entry.label: entry.score for entry in answer}, posterior(native))


def check_hf_classes(answer: Any, native: Native) -> None:
    check_ranking({entry.label: entry.score for entry in answer}, classes(native, 2))


def check_hf_segments(answer: Any, native: Native) -> None:
    segments = native.ask("segmentation")["segments"]
    masks = masks_of(segments)
    check_ranking(
        {entry.label: entry.score for entry in answer}, {segment["name"]: segment["score"] for segment in segments}
    )
    assert all((np.asarray(entry.mask) == masks[entry.label] * 255).all() for entry in answer)


def check_hf_persons(answer: Any, native: Native) -> None:
    persons = native.ask("pose", detector_threshold=0.4)["persons"]
    assert len(answer) == len(persons) > 0
    for entry, person in zip(answer, persons, strict=True):
        x, y, width, height = person["bbox"]
        assert_near(
            [entry.box.xmin, entry.box.ymin, entry.box.xmax, entry.box.ymax], [x, y, x + width, y + height], 0.51
        )
        assert_near(entry.score, person["bbox_score"])


def check_hf_depth(answer: Any, native: Native) -> None:
    assert np.abs(np.asarray(answer).astype(int) - native.ask("depth", format="png16").astype(int)).max() <= 1


def check_hf_features(answer: Any, native: Native) -> None:
    assert_near(answer, native.ask("features", normalise=True)["vectors"])


# Open Inference Protocol


def check_oip_labels(answer: Any, native: Native) -> None:
    pairs = zip(texts(answer.as_numpy("labels")), answer.as_numpy("probabilities").tolist(), strict=True)
    check_ranking(dict(pairs), posterior(native))


def check_oip_classes(answer: Any, native: Native) -> None:
    pairs = zip(texts(answer.as_numpy("labels")), answer.as_numpy("probabilities").ravel().tolist(), strict=True)
    check_ranking(dict(pairs), classes(native, 2))


def check_oip_segments(answer: Any, native: Native) -> None:
    assert (answer.as_numpy("class_map") == native.ask("segmentation", format="npy")).all()
    assert texts(answer.as_numpy("classes")) == native.ask("segmentation")["classes"]


def check_oip_referring(answer: Any, native: Native) -> None:
    masks = native.ask("segmentation/referring", expression="the person", format="npy")
    assert (answer.as_numpy("masks") == masks).all()
    assert masks.any()


def check_oip_concept(answer: Any, native: Native) -> None:
    support, mask = IMAGES / "000001.png", IMAGES.parent / "semantic" / "000001.png"
    (concept,) = native.ask("segmentation/few-shot", support_images=[picture(support)], support_masks=[picture(mask)])[
        "concepts"
    ]
    assert (answer.as_numpy("masks")[0] == decode_rle(Rle(**concept["mask"]["rle"]))).all()


def check_oip_persons(answer: Any, native: Native) -> None:
    persons = native.ask("pose")
    for name, key in (("keypoints", "keypoints"), ("keypoint_scores", "keypoint_scores"), ("boxes", "bbox")):
        assert_near(answer.as_numpy(name), [person[key] for person in persons["persons"]], 2e-3)
    assert texts(answer.as_numpy("names")) == persons["names"]


def check_oip_depth(answer: Any, native: Native) -> None:
    assert_near(answer.as_numpy("depth"), native.ask("depth", format="npy"))


def check_oip_features(answer: Any, native: Native) -> None:
    images = [picture(), picture(IMAGES / "000001.png")]
    assert_near(
        answer.as_numpy("vectors"), native.ask("features", alone=False, images=images, timesteps=[50, 100])["vectors"]
    )


def check_oip_path(answer: Any, native: Native) -> None:
    tree = {"thing": ["a ball", "a cube"], "being": ["a person", "an animal"]}
    expected = native.ask("classify/label-tree", tree=tree, budget=40)
    assert texts(answer.as_numpy("path")) == expected["path"]
    assert_near(answer.as_numpy("probability"), [expected["probability"]])


def check_oip_scores(answer: Any, native: Native) -> None:
    captions = ["a person stands", "a ball lies"]
    expected = native.ask("match/image-text", alone=False, images=[picture()], captions=captions, interval=100)
    assert_near(answer.as_numpy("scores"), expected["scores"])


# Roboflow, as JSON


def check_sdk_similarity(answer: Any, native: Native) -> None:
    expected = posterior(native)
    assert_near(answer["similarity"], [expected[label] for label in LABELS])


def check_sdk_classes(answer: Any, native: Native) -> None:
    expected = classes(native)
    check_ranking({prediction["class"]: prediction["confidence"] for prediction in answer["predictions"]}, expected)
    assert answer["top"] == next(iter(expected))


def check_sdk_segments(answer: Any, native: Native) -> None:
    _check_sdk_masks(answer, native.ask("segmentation")["segments"])


def check_sdk_referring(answer: Any, native: Native) -> None:
    _check_sdk_masks(answer, native.ask("segmentation/referring", expression="the person")["masks"])


def _check_sdk_masks(answer: Any, expected: list[dict[str, Any]]) -> None:
    masks = masks_of(expected)
    masks_of_sdk = {prediction["class"]: decode_rle(Rle(**prediction["rle"])) for prediction in answer["predictions"]}
    assert list(masks_of_sdk) == list(masks)
    assert all((masks_of_sdk[name] == masks[name]).all() for name in masks)


def check_sdk_persons(answer: Any, native: Native) -> None:
    persons = native.ask("pose")["persons"]
    assert len(answer["predictions"]) == len(persons) > 0
    for prediction, person in zip(answer["predictions"], persons, strict=True):
        assert_near([[point["x"], point["y"]] for point in prediction["keypoints"]], person["keypoints"], 2e-3)
        left, top = prediction["x"] - prediction["width"] / 2, prediction["y"] - prediction["height"] / 2
        assert_near([left, top, prediction["width"], prediction["height"]], person["bbox"])


def check_sdk_depth(answer: Any, native: Native) -> None:
    assert_near(answer["normalized_depth"], nearness(native.ask("depth", format="npy")), 1e-3)


# Roboflow, as supervision reads it


def check_sv_segments(answer: Any, native: Native) -> None:
    masks = masks_of(native.ask("segmentation")["segments"])
    assert answer.data["class_name"].tolist() == list(masks)
    assert (answer.mask == np.stack(list(masks.values()))).all()


def check_sv_referring(answer: Any, native: Native) -> None:
    """Outlines, which together are the mask: the person's has no holes."""
    masks = native.ask("segmentation/referring", expression="the person", format="npy")
    assert (answer.mask.any(axis=0) == masks[0]).all()


def check_sv_persons(answer: Any, native: Native) -> None:
    persons = native.ask("pose")["persons"]
    assert_near(answer.xy, [person["keypoints"] for person in persons], 2e-3)
    assert_near(answer.keypoint_confidence, [person["keypoint_scores"] for person in persons])
    assert_near(answer.detection_confidence, [person["bbox_score"] for person in persons])


def check_sv_depth(answer: Any, native: Native) -> None:
    assert_near(answer.values, nearness(native.ask("depth", format="npy")), 1e-3)


CHECKS: Mapping[tuple[str, str], Callable[[Any, Native], None]] = {
    ("Hugging Face", "zero-shot"): check_hf_labels,
    ("Hugging Face", "classifier"): check_hf_classes,
    ("Hugging Face", "segmentation"): check_hf_segments,
    ("Hugging Face", "pose"): check_hf_persons,
    ("Hugging Face", "depth"): check_hf_depth,
    ("Hugging Face", "features"): check_hf_features,
    ("Open Inference Protocol", "zero-shot"): check_oip_labels,
    ("Open Inference Protocol", "classifier"): check_oip_classes,
    ("Open Inference Protocol", "segmentation"): check_oip_segments,
    ("Open Inference Protocol", "referring"): check_oip_referring,
    ("Open Inference Protocol", "few-shot"): check_oip_concept,
    ("Open Inference Protocol", "pose"): check_oip_persons,
    ("Open Inference Protocol", "depth"): check_oip_depth,
    ("Open Inference Protocol", "features"): check_oip_features,
    ("Open Inference Protocol", "label-tree"): check_oip_path,
    ("Open Inference Protocol", "image-text"): check_oip_scores,
    ("Roboflow", "zero-shot"): check_sdk_similarity,
    ("Roboflow", "classifier"): check_sdk_classes,
    ("Roboflow", "segmentation"): check_sdk_segments,
    ("Roboflow", "referring"): check_sdk_referring,
    ("Roboflow", "pose"): check_sdk_persons,
    ("Roboflow", "depth"): check_sdk_depth,
    ("supervision", "segmentation"): check_sv_segments,
    ("supervision", "referring"): check_sv_referring,
    ("supervision", "pose"): check_sv_persons,
    ("supervision", "depth"): check_sv_depth,
}
"""Whether a call of the page, by client and task, answers as the task's own route."""
