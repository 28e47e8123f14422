"""Run every head on the embedded backbone, on the served device and number type, and compare with recorded answers.

The record holds the answers of float32 on a CPU, from the code whose heads reproduce the original systems' numbers in
`tests/conformance`. `python -m diffsight.doctor.replay` writes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import training.world
from backbones.engine import DirectEngine, complete
from backbones.errors import DiffsightError
from backbones.loading.source import open_backbone
from backbones.loading.weight_files import read_tensors, write_tensors
from diffsight.doctor.findings import Finding, judge
from heads.inputs import DecodedImage, InputCounts, Inputs
from service.library.library import Library
from service.models.loading import OpenHeads
from service.settings.loader import Settings, load_settings
from service.tasks import TASKS, find_task

RECORD = Path(__file__).with_name("answers.safetensors")
_SCENES = Path(next(iter(training.world.__path__))) / "held_out/scenes"
IMAGE, SUPPORT, SUPPORT_KIND = "000004.png", "000000.png", 11
"""The support is another picture with an object of the same kind."""
LABELS = ["a person", "a cone", "a chair"]

Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One task's replay.

    values: result to the compared values. error: (values, recorded values) to one number. unit: of that number.
    in_full, in_half: the largest error of float32, and of half precision.
    """

    task: str
    options: Mapping[str, Any]
    values: Callable[[Any], Values]
    error: Callable[[Values, Values], float]
    unit: str
    in_full: float
    in_half: float

    def tolerance(self, kind: torch.dtype, *, rounded: bool = False) -> float:
        """The largest error in a number type. rounded: whether float32 is rounded to TF32."""
        return self.in_full if kind == torch.float32 and not rounded else self.in_half


def largest(values: Values, recorded: Values) -> float:
    """The largest difference of two arrays of any one shape."""
    return float(np.abs(values.astype(np.float64) - recorded).max())


def largest_share(values: Values, recorded: Values) -> float:
    """The largest difference of two arrays of one shape as a share of the recorded value."""
    return float((np.abs(values.astype(np.float64) - recorded) / np.abs(recorded)).max())


def share_of_others(values: Values, recorded: Values) -> float:
    """The share of places that differ in two arrays of any one shape."""
    return float((values != recorded).mean())


def beyond_union(values: Values, recorded: Values) -> float:
    """One less the intersection over union of two masks (H, W) of 0 and 1."""
    union = ((values != 0) | (recorded != 0)).sum()
    return 1 - float(((values != 0) & (recorded != 0)).sum() / union) if union else 0.0


def beyond_cosine(values: Values, recorded: Values) -> float:
    """One less the smallest cosine between rows of two arrays (N, D)."""
    a, b = values.astype(np.float64), recorded.astype(np.float64)
    return float(1 - ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


CASES = (
    Case("depth", {}, lambda answer: answer.metres[::4, ::4], largest_share, "of the depth", 1e-3, 0.05),
    Case("segmentation", {}, lambda answer: answer.class_map.astype(np.uint8),
         share_of_others, "of the pixels", 2e-3, 0.03),
    Case("referring", {"expression": "the cone"}, lambda answer: answer.masks.masks[0],
         beyond_union, "of the mask", 0.01, 0.1),
    Case("pose", {"boxes": [[57, 39, 21, 45]]}, lambda answer: answer.keypoints.points, largest, "pixels", 0.01, 1.0),
    Case("few-shot", {}, lambda answer: answer.concepts[0].mask, beyond_union, "of the mask", 0.01, 0.1),
    Case("zero-shot", {"labels": LABELS}, lambda answer: np.array(answer.probabilities),
         largest, "probability", 2e-3, 0.1),
    Case("label-tree", {"tree": {"thing": LABELS}}, lambda answer: np.array(answer.levels[0].posterior.probabilities),
         largest, "probability", 2e-3, 0.1),
    Case("image-text", {"captions": LABELS}, lambda answer: answer.scores - answer.baselines,
         largest, "score", 1e-4, 0.02),
    Case("features", {"timesteps": [100]}, lambda answer: answer.vectors, beyond_cosine, "cosine", 1e-5, 5e-3),
)  # fmt: skip


def check_answers(settings: Settings, device: torch.device, kind: torch.dtype) -> Iterator[Finding]:
    """Compare each head's answer with the recorded one. device, kind: the device and number type of the computation."""
    try:
        recorded = read_tensors(RECORD)
        backbone = open_backbone("pocket", device=str(device), dtype=kind)
    except (DiffsightError, OSError) as error:
        yield Finding("answers", "problem", str(error), "install the package again: its own files are damaged")
        return
    run = make_runner(settings, backbone)
    rounded = settings.tf32 and device.type == "cuda"
    for case in CASES:
        check = f"answer of {case.task}"
        try:
            values = run(case)
        except Exception as error:  # any error here would also occur in a request
            yield Finding(
                check, "problem", f"failed: {error}", "look whether the device works, and try --dtype float32"
            )
            continue
        wanted = recorded[case.task].numpy()
        difference = case.error(values, wanted) if values.shape == wanted.shape else float("inf")
        yield judge(check, difference, case.unit, tolerance=case.tolerance(kind, rounded=rounded))


def record(file: Path = RECORD) -> None:
    """Write the answers of float32 on this CPU."""
    run = make_runner(load_settings(device="cpu", backbone="pocket"), open_backbone("pocket"))
    write_tensors({case.task: torch.from_numpy(np.ascontiguousarray(run(case))) for case in CASES}, file)


def make_runner(settings: Settings, backbone: Any) -> Callable[[Case], Values]:
    """A function that runs a case on a backbone.

    Each head is opened separately, so that a failure affects no other head.
    """
    own = settings.model_copy(update={"backbone": "pocket"})
    heads, engine = OpenHeads(own, backbone, TASKS), DirectEngine(backbone)
    image = _read(IMAGE)
    kinds = np.asarray(Image.open(_SCENES / "semantic" / SUPPORT))
    mask = np.repeat(np.where(kinds == SUPPORT_KIND, 255, 0).astype(np.uint8)[..., None], 3, axis=2)

    def run(case: Case) -> Values:
        task = find_task(TASKS, case.task)
        assert task is not None
        shown = [_read(SUPPORT)] if task.inputs == "image_supports" else []
        inputs = Inputs([image], shown, [DecodedImage(mask)] * len(shown))
        head = heads.require(task)
        counts = InputCounts(1, len(shown), len(shown))
        options = task.complete(task.options(**case.options), head, counts, own.limits)
        if task.prepare is not None:
            head = task.prepare(head, options, Library(own))

        async def answer() -> Any:
            return await task.run(engine, head, inputs, options, None)

        return np.asarray(case.values(complete(answer())))

    return run


def _read(name: str) -> DecodedImage:
    return DecodedImage(np.asarray(Image.open(_SCENES / "images" / name).convert("RGB")))


if __name__ == "__main__":
    record()
