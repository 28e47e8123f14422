"""GET /v1/models: which network answers, on what, and how busy it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.http.openapi import keyed, not_ready
from service.library.calibration import Way, choose_temperature
from service.models.loading import default_templates, service_of
from service.settings.loader import Settings

if TYPE_CHECKING:
    from service.dense import DenseHeads
    from service.pose import PoseService

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

    task: str
    route: str
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


def few_shot_task(variants: Sequence[str]) -> list[TaskDescription]:
    """The few-shot task, where its weights are loaded."""
    from heads.diffews.bank import VARIANT

    defaults = {"threshold": "relative", "threshold_value": 0.25, "support_sampling": False}
    route = "/v1/segmentation/few-shot"
    return [TaskDescription(task="few_shot", route=route, defaults=defaults)] if VARIANT in variants else []


FEATURES = TaskDescription(
    task="features",
    route="/v1/features",
    defaults={"timesteps": [100], "pool_size": 1, "noise_samples": 1, "normalise": False, "fit": "crop"},
)


def dense_tasks(heads: DenseHeads) -> list[TaskDescription]:
    """Depth, segmentation and referring, as far as there are heads for them."""
    tasks = []
    if (depth := heads.depth) is not None:
        told = {"head": depth.name, "size": depth.size, "max_metres": depth.max_metres, "protocol": "fast"}
        tasks.append(TaskDescription(task="depth", route="/v1/depth", defaults=told))
    if (classes := heads.segmentation) is not None:
        told = {"head": classes.name, "size": classes.size, "classes": list(classes.classes), "protocol": "fast"}
        tasks.append(TaskDescription(task="segmentation", route="/v1/segmentation", defaults=told))
    if (masks := heads.referring) is not None:
        told = {"head": masks.name, "size": masks.size, "tokens": masks.tokens}
        tasks.append(TaskDescription(task="referring", route="/v1/segmentation/referring", defaults=told))
    return tasks


@router.get("/v1/models", summary="What is loaded, and how busy it is", responses={**keyed(), **not_ready()})
async def models(request: Request) -> ModelsAnswer:
    """The backbone, each task's defaults, and the engine's state."""
    service = service_of(request)
    settings = service.settings
    now = service.engine.figures()
    model = service.engine.model.description
    temperature, calibrated = choose_temperature(
        settings, service.calibration, Way(scheme="schedule", schedule="default"), None
    )
    return ModelsAnswer(
        backbone=BackboneDescription(
            name=model.name,
            source=settings.backbone,
            revision=model.revision,
            image_size=model.image_size,
            latent_size=model.image_size // model.downscale,
            latent_channels=model.latent_channels,
            prediction_type=model.prediction_type,
            training_steps=len(model.alphas_cumprod),
            max_tokens=model.max_tokens,
            num_class_labels=model.num_class_labels,
            class_names=list(model.class_names),
            variants=list(model.variants),
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
        ),
        tasks=[
            TaskDescription(
                task="zero_shot",
                route="/v1/classify/zero-shot",
                defaults={
                    "templates": default_templates(settings),
                    "schedule": "default",
                    "loss": "l2",
                    "temperature": temperature,
                    "calibrated": calibrated,
                    "trials": 1,
                },
            ),
            *([FEATURES] if model.sub_blocks else []),
            *dense_tasks(service.dense),
            *few_shot_task(model.variants),
            *([pose_task(service.poses, settings)] if service.poses.model is not None else []),
        ],
        engine=EngineState(
            queue_fraction=round(now.waiting_rows / settings.engine.max_waiting_rows, 6),
            waiting_rows=now.waiting_rows,
            running_rows=now.running_rows,
            open_requests=now.requests_open,
            max_waiting_rows=settings.engine.max_waiting_rows,
            max_batch_rows=settings.engine.max_batch_rows,
        ),
    )


def pose_task(poses: PoseService, settings: Settings) -> TaskDescription:
    """What is told of keypoints where a network for them is loaded."""
    network = poses.network()
    return TaskDescription(
        task="pose",
        route="/v1/pose",
        defaults={
            "network": network.name,
            "revision": network.revision,
            "points": len(network.skeleton),
            "detector": poses.finder.name if poses.finder is not None else "",
            "detector_threshold": settings.pose.detector_threshold,
            "keypoint_threshold": settings.pose.keypoint_threshold,
            "crop": "affine",
            "flip_test": False,
        },
    )
