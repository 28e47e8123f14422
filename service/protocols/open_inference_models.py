"""Tasks as models of the Open Inference Protocol: a name, versions, input tensors and output tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.results import Posterior
from service.models.slots import Slot
from service.protocols.open_inference_tensors import BYTES, text_array
from service.run_task import Done
from service.state import AppState
from service.tasks import AnyTask

PLATFORM = "diffsight"
IMAGE_NAMES = ("image", "images")
SUPPORTS = ("support_images", "support_masks")


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """An output tensor of a task. shape: -1 if it depends on the request. read: (result) to the array."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    read: Callable[[Done], NDArray[Any]]


def read_answer(done: Done) -> NDArray[Any]:
    """The task's own answer as JSON, (1,) texts."""
    answer = done.work.task.to_answer(done.result, done.work.head, done.work.options)
    return text_array([answer.model_dump_json()])


ANSWER = Output("answer", BYTES, (1,), read_answer)
"""An output of every task: its route's answer, without the fields that all routes share."""


def _read_ranked(read: Callable[[Any], Any], *, texts: bool) -> Callable[[Done], NDArray[Any]]:
    """Labels or probabilities of a posterior, best first."""

    def of(done: Done) -> NDArray[Any]:
        posterior: Posterior = done.result
        answer: Any = done.work.task.to_answer(posterior, done.work.head, done.work.options)
        values = [read(label) for label in answer.posterior]
        return text_array(values) if texts else np.array(values, np.float64)

    return of


def _classes(read: Callable[[Any], Any], *, texts: bool) -> Callable[[Done], NDArray[Any]]:
    """Labels or probabilities of a classifier, (images, classes named)."""

    def of(done: Done) -> NDArray[Any]:
        rows = [[read(score) for score in answer.scores] for answer in done.result]
        flat = [value for row in rows for value in row]
        array = text_array(flat) if texts else np.array(flat, np.float64)
        return array.reshape(len(rows), -1)

    return of


_OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "depth": (Output("depth", "FP32", (-1, -1), lambda done: done.result.metres.astype(np.float32)),),
    "depth-relative": (Output("depth", "FP32", (-1, -1), lambda done: done.result.values),),
    "normals": (Output("normals", "FP32", (-1, -1, 3), lambda done: done.result.vectors),),
    "segmentation": (
        Output("class_map", "UINT16", (-1, -1), lambda done: done.result.class_map),
        Output("probabilities", "FP32", (-1, -1), lambda done: done.result.probabilities.astype(np.float32)),
        Output("classes", BYTES, (-1,), lambda done: text_array(done.result.classes)),
    ),
    "referring": (
        Output("masks", "BOOL", (-1, -1, -1), lambda done: done.result.masks.masks),
        Output("scores", "FP64", (-1,), lambda done: np.array(done.result.masks.scores, np.float64)),
    ),
    "few-shot": (
        Output(
            "masks", "BOOL", (-1, -1, -1), lambda done: np.stack([concept.mask for concept in done.result.concepts])
        ),
        Output(
            "presence", "FP64", (-1,), lambda done: np.array([concept.presence for concept in done.result.concepts])
        ),
        Output("names", BYTES, (-1,), lambda done: text_array(done.result.names)),
    ),
    "pose": (
        Output("keypoints", "FP64", (-1, -1, 2), lambda done: done.result.keypoints.points),
        Output("keypoint_scores", "FP32", (-1, -1), lambda done: done.result.keypoints.scores.astype(np.float32)),
        Output("boxes", "FP64", (-1, 4), lambda done: done.result.keypoints.boxes),
        Output("box_scores", "FP64", (-1,), lambda done: done.result.keypoints.box_scores),
        Output("names", BYTES, (-1,), lambda done: text_array(done.result.keypoints.names)),
    ),
    "zero-shot": (
        Output("labels", BYTES, (-1,), _read_ranked(lambda answer: answer.label, texts=True)),
        Output("probabilities", "FP64", (-1,), _read_ranked(lambda answer: answer.probability, texts=False)),
    ),
    "label-tree": (
        Output("path", BYTES, (-1,), lambda done: text_array(done.result.path)),
        Output("probability", "FP64", (1,), lambda done: np.array([done.result.probability])),
    ),
    "image-text": (Output("scores", "FP64", (-1, -1), lambda done: done.result.scores),),
    "features": (Output("vectors", "FP32", (-1, -1), lambda done: done.result.vectors.astype(np.float32)),),
    "classifier": (
        Output("labels", BYTES, (-1, -1), _classes(lambda answer: answer.label, texts=True)),
        Output("probabilities", "FP64", (-1, -1), _classes(lambda answer: answer.probability, texts=False)),
    ),
}


def default_outputs(task: AnyTask) -> Sequence[Output]:
    """The outputs of a request that names none; the answer as JSON for a task without tensors of its own."""
    return _OUTPUTS.get(task.name, (ANSWER,))


def outputs_of(task: AnyTask) -> dict[str, Output]:
    """All outputs that a request can name, by name."""
    return {output.name: output for output in (*default_outputs(task), ANSWER)}


def image_inputs(task: AnyTask) -> tuple[str, ...]:
    """Names of the inputs that are images."""
    own = IMAGE_NAMES if task.inputs == "images" else IMAGE_NAMES[:1]
    return (*own, *SUPPORTS) if task.inputs == "image_supports" else own


def describe_model(state: AppState, task: AnyTask, version: str | None) -> dict[str, Any]:
    """The metadata of a task. version: a version, or None for all."""
    names = [name for name in image_inputs(task) if name != "images"]
    inputs = [{"name": name, "datatype": BYTES, "shape": [-1]} for name in names]
    properties = task.options.model_json_schema()["properties"].items()
    inputs += [tensor for name, schema in properties if (tensor := _describe_list(name, schema)) is not None]
    outputs = [
        {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        for output in outputs_of(task).values()
    ]
    versions = [version] if version is not None else versions_of(state, task)
    return {"name": task.name, "versions": versions, "platform": PLATFORM, "inputs": inputs, "outputs": outputs}


def _describe_list(name: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """An option that is a list as a tensor; None for any other option, which is a parameter."""
    lists = [alternative for alternative in (schema, *schema.get("anyOf", ())) if alternative.get("type") == "array"]
    if not lists or "items" not in lists[0]:
        return None
    items = lists[0]["items"]
    if items.get("type") == "array":
        return {"name": name, "datatype": "FP64", "shape": [-1, items.get("maxItems", -1)]}
    datatype = {"integer": "INT64", "number": "FP64"}.get(items.get("type", ""), BYTES)
    return {"name": name, "datatype": datatype, "shape": [-1]}


def versions_of(state: AppState, task: AnyTask) -> list[str]:
    """Ids of the models that serve a task, its default first."""
    first = state.models.for_task(task).id
    others = [slot.spec.id for slot in state.models.slots.values() if slot.may_serve(task)]
    return list(dict.fromkeys([first, *others]))


def index_of(state: AppState, *, ready: bool) -> list[dict[str, str]]:
    """Each task with each model that serves it. ready: only those that are loaded."""
    slots: Mapping[str, Slot] = state.models.slots
    return [
        {"name": task.name, "version": slot.spec.id, "state": slot.state, "reason": slot.reason}
        for task in state.tasks
        for slot in slots.values()
        if slot.may_serve(task) and (slot.state == "READY" or not ready)
    ]
