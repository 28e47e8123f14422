"""Which caption belongs to which image: the Winoground protocol of two captions and two images an example."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from backbones.engine import Engine
from heads.diffusion_classifier.losses import Loss
from heads.diffusion_classifier.race import denoising_errors

TAGS = ("Object", "Relation", "Both")


def evenly_spaced_timesteps(interval: int, training_steps: int = 1000) -> list[int]:
    """Timesteps interval // 2, interval // 2 + interval, ... below `training_steps`."""
    return list(range(interval // 2, training_steps, interval))


async def caption_errors(
    engine: Engine,
    latents: Tensor,
    contexts: Sequence[Tensor],
    noise: Callable[[int], Tensor],
    *,
    interval: int,
    trials: int = 1,
    loss: Loss = "l2",
) -> Tensor:
    """Denoising errors of one image under each caption, over all units; minus their mean is the score.

    latents: (C, h, w), scaled and clean. contexts: (T, D) a caption. noise: row number -> (C, h, w), the rows of a
    caption counted with the trials of a timestep innermost.
    Returns (captions, timesteps, trials) float32.
    Source: Diffusion Classifier (arXiv:2303.16203), section 5.3; run_winoground.py of its repository.
    """
    timesteps = evenly_spaced_timesteps(interval, len(engine.backbone.alphas_cumprod))
    units = [timestep for timestep in timesteps for _ in range(trials)]
    errors = await denoising_errors(engine, latents, contexts, units, noise, loss=loss)
    return errors.reshape(len(contexts), len(timesteps), trials)


def correct(scores: Tensor) -> dict[str, Tensor]:
    """Which examples are right in the text, image and group sense; a tie is wrong.

    scores: (examples, 2, 2), caption by image, higher is better.
    Returns (examples,) bool each. Only the text score compares errors of the same image: images differ in how hard they
    are to denoise.
    Source: Winoground (arXiv:2204.03162), equations 1 to 3.
    """
    text = (scores[:, 0, 0] > scores[:, 1, 0]) & (scores[:, 1, 1] > scores[:, 0, 1])
    image = (scores[:, 0, 0] > scores[:, 0, 1]) & (scores[:, 1, 1] > scores[:, 1, 0])
    return {"text": text, "image": image, "group": text & image}


def report(scores: Tensor, tags: Sequence[str]) -> list[str]:
    """The lines that the original prints: each score in percent, with 1.96 standard errors, over all and by tag.

    scores: (examples, 2, 2), caption by image. tags: one of `TAGS` an example; a tag without examples gives no line.
    """
    lines = []
    for group in ("Overall", *TAGS):
        chosen = torch.tensor([group in ("Overall", tag) for tag in tags])
        if not chosen.any():
            continue
        for metric, right in correct(scores[chosen]).items():
            share = right.double().mean().item()
            spread = 1.96 * (share * (1 - share) / len(right)) ** 0.5
            lines.append(f"{group} {metric} score:  {100 * share:.1f} +/-  {100 * spread:.1f}")
    return lines
