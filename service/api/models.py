"""GET /v1/models: list models and tasks, and the load of the device; load and unload models."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backbones.errors import ModelNotFound
from service.dependencies import State
from service.http.openapi import key_problems, not_ready, task_problems
from service.models.slots import Slot
from service.state import AppState
from service.tasks import AnyTask

router = APIRouter(tags=["server"])


class BackboneDescription(BaseModel):
    """The backbone that requests run on by default: the first backbone in `models` that is loaded."""

    name: str
    source: str = Field(description="Where the weights were loaded from: a name, a path or a hub id.")
    revision: str = Field(description="Digest of the weights. If it is unchanged, answers are unchanged.")
    image_size: int = Field(
        description="Height and width in pixels of the square images that the network was trained on."
    )
    latent_size: int = Field(description="Height and width of the latents.")
    latent_channels: int
    prediction_type: str
    training_steps: int = Field(
        description="Number of timesteps of the noise schedule. Valid timesteps are 0 to this number minus 1."
    )
    max_tokens: int = Field(
        description="Maximum length of a prompt in tokens, start and end tokens included; 0 for a network "
        "without a text encoder."
    )
    num_class_labels: int = Field(description="Number of classes of its class embedding; 0 for a network without one.")
    class_names: list[str] = Field(
        description="Names of its classes, in the order of their indices; empty for a network without classes."
    )
    variants: list[str] = Field(description="Names of fine-tuned U-Nets that are loaded beside the backbone's own.")
    dtype: str
    tf32: bool = Field(
        description="Whether float32 matrix products use TF32, which rounds factors to 10 bits of mantissa. "
        "Only on CUDA."
    )
    device: str


class TaskDescription(BaseModel):
    """One task, the models that serve it, and the defaults of its options."""

    task: str = Field(description="Name of the task, the same in routes, jobs, metrics and commands.")
    model: str = Field(description="Id of the model that is used if a request names no model.")
    models: list[str] = Field(description="Ids of all models that serve the task.")
    route: str
    summary: str
    source: str = Field(description="The published system that the task reproduces.")
    inputs: str = Field(
        description="What a request contains: `image`, `images`, `image_supports` (with support images and "
        "masks) or `image_texts` (with labels or expressions)."
    )
    formats: list[str] = Field(description="Values of `format` that the route accepts.")
    exports: list[str] = Field(description="Formats in which a job's results can be exported, besides `jsonl`.")
    revision: str = Field(description="Digest of all weights that its answers depend on; empty until they are loaded.")
    defaults: dict[str, Any]


class ModelDescription(BaseModel):
    """One model of the catalogue."""

    id: str = Field(description="The value that requests send as `model`.")
    state: Literal["READY", "LOADING", "UNAVAILABLE"] = Field(
        description="READY: loaded. LOADING: being loaded. UNAVAILABLE: not loaded. A request for an "
        "UNAVAILABLE model loads it, unless `reason` says why it cannot be loaded."
    )
    reason: str = Field(description="Why the model is not READY; empty for a READY model.")
    task: str = Field(description="The task that the model was trained for; empty for a backbone.")
    backbone: str = Field(description="Id of the backbone that the model runs on. For a backbone, its own id.")
    revision: str = Field(
        description="Digest of a backbone's weights; empty until it is loaded, and for models that are no backbones."
    )
    dtype: str = Field(description="Number type of the weights, such as `float16`; empty until the model is loaded.")
    bytes: int = Field(description="Device memory in bytes that the model takes, or will take when it is loaded.")
    users: int = Field(
        description="Number of requests and jobs that use the model now. A model in use is not unloaded to make room."
    )
    pinned: bool = Field(description="Whether the model is never unloaded to make room for other models.")
    host_bytes: int = Field(description="Bytes of host memory that keep the weights while they are not on the device.")
    loads: int = Field(description="Number of times the model was loaded since the server started.")
    loads_from_host: int = Field(
        description="How many of these loads copied the weights from host memory instead of reading files."
    )
    load_seconds: float = Field(description="Duration of the last load in seconds; 0 before the first.")


class EngineState(BaseModel):
    """How busy the device is at the moment."""

    queue_fraction: float = Field(
        description="Waiting rows divided by `max_waiting_rows`. At 1, new requests are refused."
    )
    waiting_rows: int
    running_rows: int
    open_requests: int
    max_waiting_rows: int
    max_batch_rows: int = Field(
        description="Largest batch that the settings allow, in rows; 0 means that memory and time decide."
    )


class ModelsAnswer(BaseModel):
    """The models and tasks of this server."""

    backbone: BackboneDescription
    models: list[ModelDescription]
    memory_bytes: int = Field(
        description="Device memory in bytes that the weights of all loaded models may take together."
    )
    host_memory_bytes: int = Field(
        description="Host memory in bytes that the weights of unloaded models may take together."
    )
    tasks: list[TaskDescription]
    not_served: dict[str, str] = Field(
        description="Tasks that no model of this server serves, each with how to add one."
    )
    engine: EngineState


@router.get(
    "/v1/models",
    summary="List models and tasks, and the load of the device",
    responses={**key_problems(), **not_ready()},
)
async def models(state: State) -> ModelsAnswer:
    """The models of the server, the tasks with their defaults, and the load of the device."""
    settings, store, backbone = state.settings, state.models, state.models.backbone
    now = store.worker.figures()
    return ModelsAnswer(
        backbone=BackboneDescription(
            name=backbone.name,
            source=next(slot.spec.source for slot in store.slots.values() if slot.description is backbone),
            revision=backbone.revision,
            image_size=backbone.image_size,
            latent_size=backbone.image_size // backbone.downscale,
            latent_channels=backbone.latent_channels,
            prediction_type=backbone.prediction_type,
            training_steps=len(backbone.alphas_cumprod),
            max_tokens=backbone.max_tokens,
            num_class_labels=backbone.num_class_labels,
            class_names=list(backbone.class_names),
            variants=list(backbone.variants),
            dtype=str(backbone.dtype).removeprefix("torch."),
            tf32=settings.tf32 and backbone.device.type == "cuda",
            device=str(backbone.device),
        ),
        models=[describe_model(state, slot) for slot in store.slots.values()],
        memory_bytes=store.budget_bytes,
        host_memory_bytes=store.host.budget_bytes,
        tasks=[answer for task in state.tasks if (answer := describe_task(state, task)) is not None],
        not_served={task.name: reason for task in state.tasks if (reason := why_not_served(state, task))},
        engine=EngineState(
            queue_fraction=round(now.waiting_rows / settings.engine.max_waiting_rows, 6),
            waiting_rows=now.waiting_rows,
            running_rows=now.running_rows,
            open_requests=now.requests_open,
            max_waiting_rows=settings.engine.max_waiting_rows,
            max_batch_rows=settings.engine.max_batch_rows,
        ),
    )


@router.post("/v1/models/{model}/load", summary="Load a model now", responses=task_problems())
async def load_model(state: State, model: str) -> ModelDescription:
    """Answers when the model is READY. If there is no room, models that are not in use are unloaded first."""
    await state.models.load(model, state.settings.limits.deadline_seconds)
    return describe_model(state, state.models.find(model))


@router.post("/v1/models/{model}/unload", summary="Unload a model", responses=task_problems())
async def unload_model(state: State, model: str) -> ModelDescription:
    """Frees device and host memory. Unloading a backbone also unloads all models that run on it. The next request
    for the model reads its files again.
    """
    _ = state.models.worker
    state.models.unload(model)
    return describe_model(state, state.models.find(model))


def describe_model(state: AppState, slot: Slot) -> ModelDescription:
    """The state of a model of the catalogue."""
    description = state.models.backbone_of(slot).description
    return ModelDescription(
        id=slot.spec.id,
        state=slot.state,
        reason=slot.reason,
        task=slot.spec.task,
        backbone=slot.spec.backbone,
        revision=slot.revision,
        dtype="" if description is None else str(description.dtype).removeprefix("torch."),
        bytes=slot.bytes,
        users=slot.users,
        pinned=slot.spec.pinned,
        host_bytes=state.models.host.bytes_of(slot.spec.id),
        loads=slot.loads,
        loads_from_host=slot.loads_from_host,
        load_seconds=round(slot.load_seconds, 3),
    )


def why_not_served(state: AppState, task: AnyTask) -> str:
    """Why no model serves a task, and how to add one; empty if a model serves it."""
    try:
        state.models.for_task(task)
    except ModelNotFound as error:
        return str(error)
    return ""


def describe_task(state: AppState, task: AnyTask) -> TaskDescription | None:
    """A task with its default model and default options; None if no model serves it."""
    store = state.models
    able = [slot.spec.id for slot in store.slots.values() if slot.may_serve(task)]
    if not able:
        return None
    slot = store.find(store.for_task(task).id)
    opened = store.get_open(task) if slot.state == "READY" else None
    fields = task.options.model_fields.items()
    defaults = {name: field.get_default() for name, field in fields if not field.is_required()}
    return TaskDescription(
        task=task.name,
        model=slot.spec.id,
        models=able,
        route=task.route,
        summary=task.summary,
        source=task.source,
        inputs=task.inputs,
        formats=["json", *task.forms],
        exports=sorted(task.exports),
        revision="" if opened is None else opened.head.revision,
        defaults={name: value for name, value in defaults.items() if value is not None}
        | ({} if opened is None else dict(task.describe(opened.head))),
    )
