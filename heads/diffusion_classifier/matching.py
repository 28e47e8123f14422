"""How well each of several captions fits each of several images: the Winoground protocol for any number of either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.noise_schedule import draw_noise
from heads.diffusion_classifier.classify import clean_latents
from heads.diffusion_classifier.losses import Loss
from heads.diffusion_classifier.preprocess import Interpolation
from heads.diffusion_classifier.winoground import caption_errors, correct, evenly_spaced_timesteps
from heads.results import Matching

# One noise a timestep for all images and captions, as the original shares it.
_NOISE = b"image-text matching"


def matching_rows(captions: int, images: int, interval: int, training_steps: int = 1000) -> int:
    """U-Net rows of a matching, in which the empty prompt counts as one more caption."""
    return (captions + 1) * images * len(evenly_spaced_timesteps(interval, training_steps))


async def match(
    engine: Engine,
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    interval: int = 20,
    loss: Loss = "l2",
    interpolation: Interpolation = "bicubic",
) -> Matching:
    """Scores of every caption with every image: minus the mean denoising error over evenly spaced timesteps.

    images: (H, W, 3) uint8 RGB each; their middle squares are used. interval: between timesteps; 1 visits all, as the
    published figures do. The score of the empty prompt is computed too: images differ in how hard they are to denoise,
    so only scores minus this baseline can be compared between images (DiffusionITM, arXiv:2305.16397). Raises
    InvalidInput for an interval or captions that cannot be used.
    Source: Diffusion Classifier (arXiv:2303.16203), section 5.3.
    """
    steps = len(engine.backbone.alphas_cumprod)
    if not 1 <= interval <= steps:
        raise InvalidInput("interval", f"{interval}", hint=f"send 1 to {steps}")
    if not captions or not images:
        raise InvalidInput("captions" if images else "images", "none", hint="send one at least")
    most = engine.backbone.max_tokens
    for caption, ids in zip(captions, await engine.run_on_host(engine.tokenize, captions), strict=True):
        if not caption.strip():
            raise InvalidInput("captions", "a caption is empty", hint="send a sentence for each")
        if len(ids) > most:
            message = f"{caption[:60]!r} has {len(ids)} tokens and the text encoder takes {most}"
            raise InvalidInput("captions", message, hint="shorten the caption")
    contexts = await engine.embed([*captions, ""])
    scores = []
    for image in images:
        latents, _ = await clean_latents(engine, image, interpolation)
        shape = latents.shape
        errors = await caption_errors(
            engine,
            latents,
            contexts,
            lambda row, shape=shape: draw_noise(_NOISE, row, shape),  # type: ignore[misc]
            interval=interval,
            loss=loss,
        )
        scores.append(-errors.mean(dim=(1, 2)))
    table = torch.stack(scores, dim=1).double().numpy()
    return Matching(
        scores=table[:-1],
        baselines=table[-1],
        timesteps=len(evenly_spaced_timesteps(interval, steps)),
        rows=matching_rows(len(captions), len(images), interval, steps),
    )


def verdicts(scores: NDArray[np.float64]) -> dict[str, bool] | None:
    """The text, image and group score of one example, None for any other number of captions and images than two.

    scores: (captions, images), the first caption belonging to the first image.
    """
    if scores.shape != (2, 2):
        return None
    return {name: bool(right.item()) for name, right in correct(torch.from_numpy(scores)[None]).items()}
