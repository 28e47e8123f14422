"""/hf: pipelines of Hugging Face's inference API, as `InferenceClient(model="http://HOST/hf/PIPELINE")` calls them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.outputs import class_masks, mask_png
from service.dependencies import RequestUsage, State
from service.http.openapi import EXAMPLE_IMAGE, foreign_problems, json_body
from service.inputs.files import InputFiles
from service.inputs.request_body import ANY_BYTES, ImageBytes, media_type_of, read_body
from service.protocols.calls import TaskCall, as_list, read_json, require_served, run_call
from service.run_task import Done
from service.threads import ANSWERS, run_in

router = APIRouter(tags=["Hugging Face"])

_JSON = "application/json"
_IMAGE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_ID = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "maxLength": 200},
    "description": "Id of a model from GET /v1/models. For `image-classification`: id of a fitted classifier.",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ZeroShotParameters(_Strict):
    """Body of `zero_shot_image_classification`."""

    candidate_labels: list[str] | Annotated[str, Field(max_length=100_000)] = Field(
        description="Labels to choose from. A single text is split at its commas."
    )
    hypothesis_template: str | None = Field(
        default=None,
        max_length=1000,
        description="A prompt template, in which {} stands for the label. Unset: the server's templates.",
    )


class ClassificationParameters(_Strict):
    """Body of `image_classification`."""

    top_k: int | None = Field(
        default=None, ge=1, le=10_000, description="Number of classes to return, most likely first. Default 5."
    )
    function_to_apply: Literal["softmax"] | None = Field(
        default=None, description="Options of the call. Scores are probabilities over all classes of the classifier."
    )


class SegmentationParameters(_Strict):
    """Body of `image_segmentation`. The options for mask thresholds and overlaps have no effect here, because each
    pixel has exactly one class.
    """

    subtask: Literal["semantic"] | None = Field(default=None, description="Every pixel has one class.")
    threshold: float | None = Field(default=None, ge=0, le=1, description="Lowest score of a returned segment.")
    mask_threshold: float | None = Field(default=None, ge=0, le=1)
    overlap_mask_area_threshold: float | None = Field(default=None, ge=0, le=1)


class DetectionParameters(_Strict):
    """Body of `object_detection`."""

    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score of a returned person. Unset: the server's setting."
    )


def _examples(**fields: Any) -> ConfigDict:
    example = {"inputs": EXAMPLE_IMAGE, **fields}
    return ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_extra={"examples": [example]})


class ZeroShotImageClassification(BaseModel):
    """An image, and the labels to choose from."""

    model_config = _examples(parameters={"candidate_labels": ["a zero", "a one"]})

    inputs: ImageBytes
    parameters: ZeroShotParameters


class ImageClassification(BaseModel):
    """An image for a fitted classifier."""

    model_config = _examples(parameters={"top_k": 3})

    inputs: ImageBytes
    parameters: ClassificationParameters = ClassificationParameters()


class ImageSegmentation(BaseModel):
    """An image to segment into classes."""

    model_config = _examples(parameters={"subtask": "semantic"})

    inputs: ImageBytes
    parameters: SegmentationParameters = SegmentationParameters()


class ObjectDetection(BaseModel):
    """An image in which persons are looked for."""

    model_config = _examples(parameters={"threshold": 0.5})

    inputs: ImageBytes
    parameters: DetectionParameters = DetectionParameters()


class FeatureExtraction(BaseModel):
    """Images to extract features from."""

    model_config = _examples(normalize=True)

    inputs: Annotated[
        list[ImageBytes], BeforeValidator(as_list, json_schema_input_type=list[str] | str), Field(min_length=1)
    ] = Field(description="One image, or a list of images.")
    normalize: bool | None = Field(default=None, description="Scale each vector to length 1.")


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """One pipeline.

    task: that answers it. to_options: (body) to the task's options. to_answer: (result, body) to JSON values.
    """

    task: str
    body: type[BaseModel]
    summary: str
    to_options: Callable[[Any], Mapping[str, Any]]
    to_answer: Callable[[Done, Any], list[Any]]


def _ask_zero_shot(body: ZeroShotImageClassification) -> dict[str, Any]:
    labels, template = body.parameters.candidate_labels, body.parameters.hypothesis_template
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",")]
    return {"labels": labels} | ({} if template is None else {"templates": [template]})


def _answer_zero_shot(done: Done, body: object) -> list[Any]:
    answer: Any = done.work.task.to_answer(done.result, done.work.head, done.work.options)
    return [_label(entry.label, entry.probability) for entry in answer.posterior]


def _ask_classifier(body: ImageClassification) -> dict[str, Any]:
    return {"top": body.parameters.top_k or 5}


def _answer_classifier(done: Done, body: object) -> list[Any]:
    return [_label(score.label, score.probability) for score in done.result[0].scores]


def _answer_segmentation(done: Done, body: ImageSegmentation) -> list[Any]:
    least = body.parameters.threshold or 0.0
    return [
        {**_label(name, score), "mask": base64.b64encode(mask_png(mask)).decode()}
        for mask, name, score in class_masks(done.result)
        if score >= least
    ]


def _ask_persons(body: ObjectDetection) -> dict[str, Any]:
    threshold = body.parameters.threshold
    return {} if threshold is None else {"detector_threshold": threshold}


def _answer_persons(done: Done, body: object) -> list[Any]:
    keypoints = done.result.keypoints
    return [
        {**_label("person", score), "box": _corners(box)}
        for box, score in zip(keypoints.boxes.tolist(), keypoints.box_scores.tolist(), strict=True)
    ]


def _corners(box: Sequence[float]) -> dict[str, int]:
    """A box of x, y, width, height as corners in whole pixels, the client's type."""
    x, y, width, height = box
    return {"xmin": round(x), "ymin": round(y), "xmax": round(x + width), "ymax": round(y + height)}


def _answer_features(done: Done, body: object) -> list[Any]:
    vectors: list[Any] = done.result.vectors.tolist()
    return vectors


def _label(label: str, score: float) -> dict[str, Any]:
    return {"label": label, "score": score}


PIPELINES: Mapping[str, Pipeline] = {
    "zero-shot-image-classification": Pipeline(
        "zero-shot", ZeroShotImageClassification, "Classify by labels of your own", _ask_zero_shot, _answer_zero_shot
    ),
    "image-classification": Pipeline(
        "classifier", ImageClassification, "Classify images by a fitted classifier", _ask_classifier, _answer_classifier
    ),
    "image-segmentation": Pipeline(
        "segmentation", ImageSegmentation, "Segment an image into classes", lambda body: {}, _answer_segmentation
    ),
    "object-detection": Pipeline("pose", ObjectDetection, "Detect persons", _ask_persons, _answer_persons),
    "feature-extraction": Pipeline(
        "features",
        FeatureExtraction,
        "Extract feature vectors of images",
        lambda body: {"normalise": bool(body.normalize)},
        _answer_features,
    ),
}


def _add_routes(name: str, pipeline: Pipeline) -> None:
    async def answer(request: Request, state: State, usage: RequestUsage) -> Response:
        model = request.path_params.get("model")
        classifier = model if pipeline.task == "classifier" else None
        model = None if pipeline.task == "classifier" else model
        task = require_served(state, pipeline.task, model)
        body: Any = await _read_body(request, state, pipeline.body)
        options = dict(pipeline.to_options(body))
        if pipeline.task == "classifier":
            if classifier is None:
                raise InvalidInput(
                    "model",
                    "the request names no classifier",
                    hint=f"send it to /hf/{name}/ID, with the id of a classifier",
                )
            options["classifier"] = classifier
        images = body.inputs if isinstance(body.inputs, list) else [body.inputs]
        (done,) = await run_call(request, state, usage, TaskCall(task, options, InputFiles(images), model))
        content = await run_in(ANSWERS, lambda: to_json(pipeline.to_answer(done, body)))
        return Response(content, media_type=_JSON)

    async def health(request: Request, state: State) -> dict[str, str]:
        model = None if pipeline.task == "classifier" else request.path_params.get("model")
        return {"status": "ok", "task": require_served(state, pipeline.task, model).name}

    document = json_body(pipeline.body, {ANY_BYTES: _IMAGE})
    for path, suffix, parameters in ((f"/hf/{name}", "", []), (f"/hf/{name}/{{model}}", "_by_model", [_ID])):
        router.add_api_route(
            path,
            answer,
            methods=["POST"],
            name=f"huggingface_{name.replace('-', '_')}{suffix}",
            summary=pipeline.summary,
            description="The body is the image itself, or JSON with the image in base64 as `inputs`.",
            response_model=list[Any],
            responses=foreign_problems(),
            openapi_extra={**document, "parameters": parameters},
        )
        # For the client's health_check(), which reads only the status.
        router.add_api_route(f"{path}/health", health, methods=["GET"], include_in_schema=False)


async def _read_body(request: Request, state: State, model: type[BaseModel]) -> BaseModel:
    """The body as JSON, or as an image alone.

    The client sends unknown types of images as `application/json`: the first byte distinguishes them.
    """
    media_type = media_type_of(request)
    content = bytes(await read_body(request))
    if media_type.startswith("image/") or content.lstrip()[:1] not in (b"{", b""):
        return await read_json(state, {"inputs": content}, model)
    return await read_json(state, content, model)


for _name, _pipeline in PIPELINES.items():
    _add_routes(_name, _pipeline)
