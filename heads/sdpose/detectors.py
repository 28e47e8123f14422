"""Find persons with a detector: an object-detection model of transformers, or an ONNX file.

All give boxes of persons as COCO does, x, y, width, height in pixels, best first. None of them is shipped.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backbones.errors import CheckpointError, ModelNotFound

PERSON = "person"
NMS_IOU = 0.7
"""Boxes of a YOLO that overlap more are one person. Detectors of DETR's kind need no such rule."""
_GREY = 114
_NEEDS_PERSON = "give a detector with a class 'person'"
_DEFAULT_SIDE = 640

Boxes = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(N, 4) x, y, width, height in pixels, and scores (N,), best first."""
Find = Callable[[NDArray[np.uint8], float], Boxes]
"""An image (H, W, 3) uint8 RGB and a threshold -> the boxes of at least that score."""


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """name: for answers. find: see `Find`. on_device: whether `find` uses the backbone's device.

    network: the model that `find` runs there; None if it runs on the host.
    """

    name: str
    find: Find
    on_device: bool
    network: nn.Module | None = None


def open_detector(
    source: str, *, device: torch.device | str = "cpu", cache_folder: Path | None = None, offline: bool = False
) -> Detector:
    """The detector in a folder, on the hub, or in an `.onnx` file.

    Raises ModelNotFound if there is none, CheckpointError if it does not load or has no class of persons.
    """
    path = Path(source).expanduser()
    if path.suffix == ".onnx":
        return _open_onnx(path)
    return _open_transformers(str(path) if path.is_dir() else source, torch.device(device), cache_folder, offline)


def _open_transformers(source: str, device: torch.device, cache_folder: Path | None, offline: bool) -> Detector:
    from transformers import AutoModelForObjectDetection

    local = offline or Path(source).is_dir()
    arguments: dict[str, Any] = {"local_files_only": local, "cache_dir": cache_folder}
    try:
        network: Any = AutoModelForObjectDetection.from_pretrained(source, use_safetensors=True, **arguments)
        processor = _processor(source, **arguments)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise _opening_error(source, error) from error
    persons = [index for index, name in network.config.id2label.items() if name.lower() == PERSON]
    if not persons:
        names = ", ".join(list(network.config.id2label.values())[:8])
        raise CheckpointError(source, f"it detects no persons, but: {names}", hint=_NEEDS_PERSON)
    network = network.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def find(image: NDArray[np.uint8], threshold: float) -> Boxes:
        prepared = processor(images=image, return_tensors="pt").to(device)
        outputs = network(**prepared)
        return _persons(processor, outputs, image.shape[:2], threshold, persons)

    return Detector(Path(source).name if local else source, find, on_device=True, network=network)


def _processor(source: str, **arguments: Any) -> Any:
    from transformers import AutoImageProcessor

    # Pillow's; the other kind needs torchvision.
    return AutoImageProcessor.from_pretrained(source, backend="pil", **arguments)  # type: ignore[no-untyped-call]


def _persons(processor: Any, outputs: Any, shape: tuple[int, ...], threshold: float, persons: list[int]) -> Boxes:
    """Boxes (N, 4) and scores (N,) of the persons among a model's outputs, for an image of `shape` (H, W)."""
    detections = processor.post_process_object_detection(outputs, threshold=threshold, target_sizes=[tuple(shape)])[0]
    chosen = torch.isin(detections["labels"].cpu(), torch.tensor(persons))
    corners = detections["boxes"].cpu()[chosen].double().numpy()
    scores = detections["scores"].cpu()[chosen].double().numpy()
    return _best_first(corners, scores)


def _best_first(corners: NDArray[np.float64], scores: NDArray[np.float64]) -> Boxes:
    """(N, 4) x1, y1, x2, y2 -> (N, 4) x, y, width, height with their scores, best first, without empty boxes."""
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).reshape(-1, 4)
    order = np.argsort(-scores, kind="stable")
    order = order[(boxes[order, 2:] > 0).all(axis=1) & np.isfinite(boxes[order]).all(axis=1)]
    return boxes[order], scores[order]


def _open_onnx(path: Path) -> Detector:
    """An ONNX file: of DETR's kind with `preprocessor_config.json` beside it, as optimum exports, or a YOLO.

    Raises ModelNotFound, or CheckpointError if it is neither.
    """
    if not path.is_file():
        raise ModelNotFound(f"{path} is not there", hint="give an .onnx file in DIFFSIGHT_POSE__DETECTOR")
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelNotFound(
            "onnxruntime is not installed", hint="pip install 'diffsight[onnx]', or name a model of transformers"
        ) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but this
        raise _opening_error(str(path), error) from error
    outputs = [node.name for node in session.get_outputs()]
    if {"logits", "pred_boxes"} <= set(outputs):
        return Detector(path.name, _detr_onnx(session, path), on_device=False)
    if len(outputs) == 1 and len(session.get_outputs()[0].shape) == 3:
        return Detector(path.name, _yolo_onnx(session), on_device=False)
    raise CheckpointError(
        path,
        f"its outputs are {', '.join(outputs)}",
        hint="supported are `logits` and `pred_boxes` (optimum's exports of DETR's kind), and YOLO's single output",
    )


def _detr_onnx(session: Any, path: Path) -> Find:
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        persons = [int(index) for index, name in config["id2label"].items() if name.lower() == PERSON]
        processor = _processor(str(path.parent), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            path,
            f"config.json and preprocessor_config.json belong beside it ({error})",
            hint="copy the whole folder that optimum-cli exported",
        ) from error
    if not persons:
        raise CheckpointError(path, "it detects no persons", hint=_NEEDS_PERSON)
    inputs = {node.name for node in session.get_inputs()}

    def find(image: NDArray[np.uint8], threshold: float) -> Boxes:
        prepared = {key: value.numpy() for key, value in processor(images=image, return_tensors="pt").items()}
        arrays = session.run(["logits", "pred_boxes"], {key: prepared[key] for key in prepared.keys() & inputs})
        outputs = SimpleNamespace(logits=torch.from_numpy(arrays[0]), pred_boxes=torch.from_numpy(arrays[1]))
        return _persons(processor, outputs, image.shape[:2], threshold, persons)

    return find


def _yolo_onnx(session: Any) -> Find:
    """A YOLO's single output: (1, 4 + classes, N) centre boxes, or end-to-end (1, N, 6): corners, score, class."""
    entry = session.get_inputs()[0]
    height, width = (side if isinstance(side, int) else _DEFAULT_SIDE for side in entry.shape[2:])
    names = session.get_modelmeta().custom_metadata_map.get("names", "")
    classes: dict[int, str] = ast.literal_eval(names) if names else {0: PERSON}
    persons = [index for index, name in classes.items() if name.lower() == PERSON]

    def find(image: NDArray[np.uint8], threshold: float) -> Boxes:
        pixels, scale, offset = _letterbox(image, width, height)
        output = np.asarray(session.run(None, {entry.name: pixels})[0][0], dtype=np.float64)
        if output.shape[1] == 6 and len(output) != 6:
            chosen = np.isin(output[:, 5], persons) & (output[:, 4] > threshold)
            corners, scores = output[chosen, :4], output[chosen, 4]
        else:
            scores = output[4:][persons].max(axis=0) if persons else np.zeros(output.shape[1])
            chosen = scores > threshold
            centre, size, scores = output[:2, chosen].T, output[2:4, chosen].T, scores[chosen]
            corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
            kept = cv2.dnn.NMSBoxes(
                np.concatenate([corners[:, :2], size], axis=1).tolist(), scores.tolist(), threshold, NMS_IOU
            )
            corners, scores = corners[list(kept)], scores[list(kept)]
        inside = (corners.reshape(-1, 4) - np.tile(offset, 2)) / scale
        limit = np.array([image.shape[1], image.shape[0]] * 2, dtype=np.float64)
        return _best_first(inside.clip(0, limit), scores)

    return find


def _letterbox(
    image: NDArray[np.uint8], width: int, height: int
) -> tuple[NDArray[np.float32], float, NDArray[np.float64]]:
    """The image between grey bars as YOLO takes it, (1, 3, height, width) float32 in 0..1; its scale and (x, y)."""
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.full((height, width, 3), _GREY, dtype=np.uint8)
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    pixels = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
    return pixels, scale, np.array([x, y], dtype=np.float64)


def _opening_error(source: str, error: Exception) -> ModelNotFound | CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    hint = "name a folder or hub id of an object-detection model in safetensors, or an .onnx file"
    if Path(source).exists():
        return CheckpointError(source, f"the detector can not be opened ({reason})", hint=hint)
    return ModelNotFound(f"there is no detector {source!r} ({reason})", hint=hint)
