"""GET /v1/models: which network answers, which tasks it serves, and how busy it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.dependencies import State
from service.http.openapi import keyed, not_ready
from service.models.store import Loaded

router = APIRouter(tags=["server"])


class BackboneDescription(BaseModel):
    """The Stable Diffusion, or class-conditional transformer, that is loaded."""

    name: str
    source: str = Field(description="What the setting `backbone` says.")
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
    device: str


class TaskDescription(BaseModel):
    """One task and what it does where a request leaves it open."""

    task: str = Field(description="Its one name, in routes, jobs, metrics and commands.")
    route: str
    summary: str
    source: str = Field(description="The system that it reproduces.")
    inputs: str = Field(description="`image`, `images`, `image_supports` or `image_texts`.")
    formats: list[str] = Field(description="Forms of the route's answer.")
    exports: list[str] = Field(description="Forms of a job's results, beside `jsonl`.")
    revision: str = Field(description="Digest of all weights that decide its answers.")
    defaults: dict[str, Any]


class EngineState(BaseModel):
    """How busy the device is now."""

    queue_fraction: float = Field(description="Waiting rows over the bound past which requests are refused.")
    waiting_rows: int
    running_rows: int
    open_requests: int
    max_waiting_rows: int
    max_batch_rows: int


class ModelsAnswer(BaseModel):
    """What this server serves."""

    backbone: BackboneDescription
    tasks: list[TaskDescription]
    engine: EngineState


@router.get("/v1/models", summary="What is loaded, and how busy it is", responses={**keyed(), **not_ready()})
async def models(state: State) -> ModelsAnswer:
    """The backbone, each task's defaults, and the engine's state."""
    settings, backbone = state.settings, state.models.backbone
    now = state.models.worker.figures()
    return ModelsAnswer(
        backbone=BackboneDescription(
            name=backbone.name,
            source=settings.backbone,
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
            device=str(backbone.device),
        ),
        tasks=[describe_task(loaded) for loaded in state.models.loaded()],
        engine=EngineState(
            queue_fraction=round(now.waiting_rows / settings.engine.max_waiting_rows, 6),
            waiting_rows=now.waiting_rows,
            running_rows=now.running_rows,
            open_requests=now.requests_open,
            max_waiting_rows=settings.engine.max_waiting_rows,
            max_batch_rows=settings.engine.max_batch_rows,
        ),
    )


def describe_task(loaded: Loaded) -> TaskDescription:
    """A task with its model, and the options of a request that gives none."""
    task = loaded.task
    fields = task.options.model_fields.items()
    defaults = {name: field.get_default() for name, field in fields if not field.is_required()}
    return TaskDescription(
        task=task.name,
        route=task.route,
        summary=task.summary,
        source=task.source,
        inputs=task.inputs,
        formats=["json", *task.forms],
        exports=sorted(task.exports),
        revision=loaded.head.revision,
        defaults={name: value for name, value in defaults.items() if value is not None}
        | dict(task.describe(loaded.head)),
    )
