"""What a job can do with each image: one async function a task, and one line in `TASKS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from backbones.errors import InvalidInput
from service.api.features import FeaturesRequest
from service.api.inputs import fields_of
from service.api.pose import PoseRequest, body_only, person_answers
from service.api.posteriors import PosteriorAnswer, posterior_fields
from service.api.zero_shot import ZeroShotRequest, check_counts, choose_plan, choose_scheme, way_of
from service.calibration import choose_temperature, read_calibration
from service.images import DecodedImage
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.worker import RequestEngine
    from service.startup import Service

Run = Callable[["RequestEngine", DecodedImage, Any, Mapping[str, Any], "Service"], Awaitable[dict[str, Any]]]
"""(engine, image, parameters, what the source says of the image, service) to a result of JSON values."""

# Of a route's request, what belongs to the request and not to the task.
_NOT_OF_THE_TASK = ("image", "images", "priority", "deadline_seconds", "format", "boxes", "box_scores", "coordinates")


@dataclass(frozen=True, slots=True)
class Task:
    """One task as a job. parameters: what a job may set, with the route's names, bounds and defaults.

    revision: of all weights that decide a result. Raises where the server has none for the task.
    """

    parameters: type[BaseModel]
    run: Run
    revision: Callable[[Service], str] = lambda service: service.engine.model.description.revision


def parameters_of(request: type[BaseModel]) -> type[BaseModel]:
    """The options of a route's request, without its image."""
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in request.model_fields.items() if name not in _NOT_OF_THE_TASK
    }
    name = request.__name__.replace("Request", "Parameters")
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def with_defaults(task: str, parameters: BaseModel, settings: Settings) -> dict[str, Any]:
    """The parameters as JSON values, what the server decides filled in: a job's results do not change with it."""
    given = parameters.model_dump(mode="json")
    if task == "zero-shot":
        given["templates"] = given["templates"] or [settings.zero_shot_template]
        asked = cast(ZeroShotRequest, parameters)
        way = way_of(asked, choose_scheme(asked))
        given["temperature"], _ = choose_temperature(settings, read_calibration(settings), way, asked.temperature)
    if task == "pose":
        for name in ("detector_threshold", "keypoint_threshold"):
            given[name] = getattr(settings.pose, name) if given[name] is None else given[name]
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
    engine: RequestEngine, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
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
    engine: RequestEngine, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
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
    engine: RequestEngine, image: DecodedImage, asked: Any, given: Mapping[str, Any], service: Service
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


def pose_revision(service: Service) -> str:
    """The backbone's and the pose network's, and the detector's name."""
    detector = service.poses.detector
    told = [service.engine.model.description.revision, service.poses.network().revision]
    return "+".join([*told, detector.name] if detector is not None else told)


TASKS: Mapping[str, Task] = {
    "zero-shot": Task(parameters_of(ZeroShotRequest), zero_shot),
    "features": Task(parameters_of(FeaturesRequest), features),
    "pose": Task(parameters_of(PoseRequest), pose, pose_revision),
}
