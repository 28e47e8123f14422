"""What a job can do with each image: one async function a task, and one line in `TASKS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backbones.errors import InvalidInput
from service.api.classify import ClassifyRequest
from service.api.depth import DepthRequest
from service.api.features import FeaturesRequest
from service.api.few_shot import FewShotRequest
from service.api.pose import PoseRequest, body_only, person_answers
from service.api.posteriors import PosteriorAnswer, posterior_fields
from service.api.segmentation import ReferringRequest, SegmentationRequest
from service.api.zero_shot import ZeroShotRequest, check_counts, choose_plan, choose_scheme, way_of
from service.inputs.images import DecodedImage
from service.inputs.request_body import fields_of
from service.jobs import dense_tasks
from service.library.calibration import choose_temperature, read_calibration
from service.models.loading import default_templates
from service.settings.loader import Settings

if TYPE_CHECKING:
    from service.engine.session import Session
    from service.models.loading import Service

Run = Callable[["Session", DecodedImage, Any, Mapping[str, Any], Any], Awaitable[dict[str, Any]]]
"""(engine, image, parameters, what the source says of the image, what was opened) to a result of JSON values."""

# Of a route's request, what belongs to the request and not to the task.
_NOT_OF_THE_TASK = {
    *("image", "images", "priority", "deadline_seconds", "format", "boxes", "box_scores", "coordinates"),
    *("support_images", "support_masks", "name", "expression"),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One task as a job. parameters: what a job may set, with the route's names, bounds and defaults.

    open: (service, parameters) to the revision of all weights, and of all that callers made, which decide a result, and
    to what `run` needs of them, as they are now. Blocks. Raises where the server has no weights for the task.
    """

    parameters: type[BaseModel]
    run: Run
    open: Callable[[Service, Any], tuple[str, Any]]


def parameters_of(request: type[BaseModel]) -> type[BaseModel]:
    """The options of a route's request, without its image."""
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in request.model_fields.items() if name not in _NOT_OF_THE_TASK
    }
    name = request.__name__.replace("Request", "Parameters")
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


class DepthParameters(parameters_of(DepthRequest)):  # type: ignore[misc]
    """Those of depth."""

    maps: bool = Field(
        default=True, description="Keep the map of each image, some bytes a pixel; else its figures only."
    )


class ClassifierParameters(parameters_of(ClassifyRequest)):  # type: ignore[misc]
    """Those of a fitted classifier."""

    classifier: str = Field(min_length=1, max_length=64, description="Its id, from POST /v1/classifiers.")


def with_defaults(task: str, parameters: BaseModel, settings: Settings) -> dict[str, Any]:
    """The parameters as JSON values, what the server decides filled in: a job's results do not change with it."""
    given = parameters.model_dump(mode="json")
    if task == "zero-shot":
        given["templates"] = given["templates"] or default_templates(settings)
        asked = cast(ZeroShotRequest, parameters)
        way = way_of(asked, choose_scheme(asked))
        given["temperature"], _ = choose_temperature(settings, read_calibration(settings), way, asked.temperature)
    if task == "pose":
        for name in ("detector_threshold", "keypoint_threshold"):
            given[name] = getattr(settings.pose, name) if given[name] is None else given[name]
    for name in _NEEDED.get(task, ()):
        if not given[name]:
            raise InvalidInput(name, f"{task} needs {name}", hint=f"send `{name}` among the parameters")
    return given


def task_parameters(
    task: str, given: Mapping[str, Any] | Sequence[tuple[str, str]], settings: Settings
) -> dict[str, Any]:
    """A job's whole parameters from JSON values, or from texts as a form has them. Raises InvalidInput."""
    if task not in TASKS:
        raise InvalidInput("task", f"{task!r} is no task", hint=f"one of {', '.join(TASKS)}")
    model = TASKS[task].parameters
    values = given if isinstance(given, Mapping) else fields_of(model, given)
    try:
        return with_defaults(task, model.model_validate(values), settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "parameters"
        hint = f"the parameters of {task} are {', '.join(model.model_fields)}"
        raise InvalidInput(at, f"{at}: {first['msg']}", hint=hint) from error


async def zero_shot(
    engine: Session, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
) -> dict[str, Any]:
    """The posterior over the labels, best first."""
    hypotheses = check_counts(asked.labels, asked.templates, service.settings.limits)
    steps = len(engine.backbone.alphas_cumprod)
    scheme = choose_scheme(asked)
    plan = choose_plan(asked, scheme, hypotheses, steps, service.settings.limits)
    way = way_of(asked, scheme)
    temperature, calibrated = choose_temperature(service.settings, service.calibration, way, asked.temperature)
    posterior = await plan.classify(
        engine,
        image.array,
        asked.labels,
        templates=asked.templates,
        loss=asked.loss,
        temperature=temperature,
        calibrated=calibrated,
        on_progress=None,
    )
    answer: dict[str, Any] = PosteriorAnswer(**posterior_fields(posterior)).model_dump(mode="json")
    return answer


async def features(
    engine: Session, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
) -> dict[str, Any]:
    """The image's vector, and what stands where in it."""
    from heads.feature_pooling.features import pooled_features

    got = await pooled_features(
        engine,
        [image.array],
        blocks=asked.blocks,
        timesteps=asked.timesteps,
        pool_size=asked.pool_size,
        noise_samples=asked.noise_samples,
        normalise=asked.normalise,
        fit=asked.fit,
    )
    return {"vector": got.vectors[0].tolist(), "blocks": list(got.blocks), "timesteps": list(got.timesteps)}


async def pose(
    engine: Session, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
) -> dict[str, Any]:
    """The persons, in the boxes that the source gives where it gives any."""
    from service.pose import find_poses

    settings = service.settings.pose
    boxes = [one["bbox"] for one in given["boxes"]] if "boxes" in given else None
    got = await find_poses(
        service.poses,
        engine,
        image.array,
        boxes=boxes,
        box_scores=None,
        persons="auto" if boxes is not None else asked.persons,
        detector_threshold=asked.detector_threshold,
        max_persons=settings.max_persons,
        crop=asked.crop,
        flip_test=asked.flip_test,
    )
    found = body_only(got.keypoints) if asked.points == "body" else got.keypoints
    persons = person_answers(found, got.problems, image, normalised=False)
    return {
        "persons": [one.model_dump() for one in persons],
        "boxes_from": found.boxes_from,
        "names": list(found.names),
        "links": [list(link) for link in found.links],
        "keypoint_threshold": asked.keypoint_threshold,
    }


def open_backbone(service: Service, asked: Any) -> tuple[str, Service]:
    """The backbone's revision, and the service."""
    return service.engine.model.description.revision, service


def open_pose(service: Service, asked: Any) -> tuple[str, Service]:
    """The revisions of backbone, pose network and what finds persons, and the service."""
    finder = service.poses.finder
    told = [service.engine.model.description.revision, service.poses.network().revision]
    return "+".join([*told, finder.revision] if finder is not None else told), service


TASKS: Mapping[str, Task] = {
    "zero-shot": Task(parameters_of(ZeroShotRequest), zero_shot, open_backbone),
    "features": Task(parameters_of(FeaturesRequest), features, open_backbone),
    "pose": Task(parameters_of(PoseRequest), pose, open_pose),
    "depth": Task(DepthParameters, dense_tasks.depth, dense_tasks.open_depth),
    "segmentation": Task(parameters_of(SegmentationRequest), dense_tasks.segmentation, dense_tasks.open_segmentation),
    "referring": Task(parameters_of(ReferringRequest), dense_tasks.referring, dense_tasks.open_referring),
    "few-shot": Task(parameters_of(FewShotRequest), dense_tasks.few_shot, dense_tasks.open_few_shot),
    "classifier": Task(ClassifierParameters, dense_tasks.classifier, dense_tasks.open_classifier),
}
# What a route's request may say in two ways, and a job in one only.
_NEEDED = {"referring": ("expressions",), "few-shot": ("concepts",)}
