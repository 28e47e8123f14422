"""GET /v1/models: which models there are, what serves each task, how busy the device is; and to load and unload one."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backbones.errors import ModelNotFound
from service.dependencies import State
from service.http.openapi import keyed, not_ready, task_problems
from service.models.slots import Slot
from service.state import AppState
from service.tasks import AnyTask

router = APIRouter(tags=["server"])


class BackboneDescription(BaseModel):
    """The default Stable Diffusion, or class-conditional transformer: the first of `models` that was loaded."""

    name: str
    source: str = Field(description="What opened it: a name, a path or a hub id.")
    revision: str = Field(description="Digest of the weights: it changes when any answer could.")
    image_size: int = Field(description="Native height and width in pixels.")
    latent_size: int = Field(description="Height and width of its latents.")
    latent_channels: int
    prediction_type: str
    training_steps: int = Field(description="Timesteps are 0 to one less.")
    max_tokens: int = Field(description="Longest prompt in tokens, start and end included; 0 without text.")
    num_class_labels: int = Field(description="Size of its class embedding, 0 without one.")
    class_names: list[str] = Field(description="What its classes are called, by number; empty without classes.")
    variants: list[str] = Field(description="Fine-tuned U-Nets beside its own.")
    dtype: str
    tf32: bool = Field(description="Whether factors of float32 products are rounded to 10 bits, on CUDA only.")
    device: str


class TaskDescription(BaseModel):
    """One task and what it does where a request leaves it open."""

    task: str = Field(description="Its one name, in routes, jobs, metrics and commands.")
    model: str = Field(description="Id of the model that answers where a request names none.")
    models: list[str] = Field(description="Ids of all models that serve it.")
    route: str
    summary: str
    source: str = Field(description="The system that it reproduces.")
    inputs: str = Field(description="`image`, `images`, `image_supports` or `image_texts`.")
    formats: list[str] = Field(description="Forms of the route's answer.")
    exports: list[str] = Field(description="Forms of a job's results, beside `jsonl`.")
    revision: str = Field(description="Digest of all weights that decide its answers; empty until they are loaded.")
    defaults: dict[str, Any]


class ModelDescription(BaseModel):
    """One model of the catalogue."""

    id: str = Field(description="What requests send as `model`.")
    state: Literal["READY", "LOADING", "UNAVAILABLE"] = Field(
        description="A request for a model that is UNAVAILABLE loads it, unless `reason` says why it cannot be."
    )
    reason: str = Field(description="Why it is not READY; empty where it is.")
    task: str = Field(description="The task that it was trained for; empty for a backbone.")
    backbone: str = Field(description="Id of the backbone that it runs on; its own for a backbone.")
    revision: str = Field(description="Digest of a backbone's weights; empty until it was loaded, and for others.")
    dtype: str = Field(description="Number type of its weights; empty until it was loaded.")
    bytes: int = Field(description="Device memory that it takes, or will take.")
    users: int = Field(description="Requests and jobs that use it now. It does not leave while there are any.")
    pinned: bool = Field(description="Whether it never leaves for others.")
    host_bytes: int = Field(description="Host memory that keeps its weights while they are not on the device.")
    loads: int = Field(description="How often it was loaded since the start.")
    loads_from_host: int = Field(description="How many of these copied it from host memory, and read no file.")
    load_seconds: float = Field(description="How long its last load took; 0 before the first.")


class EngineState(BaseModel):
    """How busy the device is now."""

    queue_fraction: float = Field(description="Waiting rows over the bound past which requests are refused.")
    waiting_rows: int
    running_rows: int
    open_requests: int
    max_waiting_rows: int
    max_batch_rows: int = Field(description="Items of the largest batch by setting; 0 leaves it to memory and time.")


class ModelsAnswer(BaseModel):
    """What this server serves."""

    backbone: BackboneDescription
    models: list[ModelDescription]
    memory_bytes: int = Field(description="What the weights of all loaded models together may take on the device.")
    host_memory_bytes: int = Field(description="What those of models that left it may take of the host's memory.")
    tasks: list[TaskDescription]
    not_served: dict[str, str] = Field(description="Tasks that no model here serves, each with what brings one.")
    engine: EngineState


@router.get("/v1/models", summary="What is loaded, and how busy it is", responses={**keyed(), **not_ready()})
async def models(state: State) -> ModelsAnswer:
    """The backbone, each task's defaults, and the engine's state."""
    settings, store, backbone = state.settings, state.models, state.models.backbone
    now = store.worker.figures()
    return ModelsAnswer(
        backbone=BackboneDescription(
            name=backbone.name,
            source=next(one.spec.source for one in store.slots.values() if one.description is backbone),
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
    """Waits until it is READY; others that nobody uses leave for it where there is no room."""
    await state.models.load(model, state.settings.limits.deadline_seconds)
    return describe_model(state, state.models.find(model))


@router.post("/v1/models/{model}/unload", summary="Let go of a model", responses=task_problems())
async def unload_model(state: State, model: str) -> ModelDescription:
    """A backbone goes with all that runs on it, from host memory too. The next request for it reads it again."""
    _ = state.models.worker
    state.models.unload(model)
    return describe_model(state, state.models.find(model))


def describe_model(state: AppState, slot: Slot) -> ModelDescription:
    """A model of the catalogue as it is now."""
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
    """Why no model serves a task, and what brings one; empty where one does."""
    try:
        state.models.for_task(task)
    except ModelNotFound as error:
        return str(error)
    return ""


def describe_task(state: AppState, task: AnyTask) -> TaskDescription | None:
    """A task with its default model, and the options of a request that gives none; None where no model serves it."""
    store = state.models
    able = [slot.spec.id for slot in store.slots.values() if slot.may_serve(task)]
    if not able:
        return None
    slot = store.find(store.for_task(task).id)
    opened = store.opened(task) if slot.state == "READY" else None
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
