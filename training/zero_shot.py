"""Zero-shot accuracy of a backbone by Diffusion Classifier: the figure that shows whether its U-Net reads text."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from backbones.noise_schedule import content_key, draw_noise, noise_from_velocity
from training.stock import DDIMScheduler, UNet2DConditionModel


def evenly_spaced_timesteps(count: int, steps: int = 1000) -> Tensor:
    """`count` timesteps in the middles of equal parts of the schedule, (count,) int64, ascending.

    Source: Diffusion Classifier's code, `eval_prob_adaptive.py`: step = 1000 // count, from step // 2 on.
    """
    step = steps // count
    return torch.arange(step // 2, steps, step)[:count]


@torch.no_grad()
def label_errors(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: Tensor, contexts: Tensor, timesteps: Tensor
) -> NDArray[np.float32]:
    """Mean squared noise error of every image under every label at every timestep, with the same noise for all labels.

    unet: predicts the velocity. latents: (N, C, h, w) float32, scaled. contexts: (L, T, D) float32, one for each label.
    timesteps: (M,) int64. Returns (N, L, M) float32. Source: Diffusion Classifier (arXiv:2303.16203), algorithm 1.
    """
    labels, count = len(contexts), len(timesteps)
    errors = np.empty((len(latents), labels, count), dtype=np.float32)
    for number, clean in enumerate(
        tqdm(latents, desc=f"zero-shot, {count} timesteps", mininterval=5.0, disable=len(latents) < 10)
    ):
        key = content_key(clean)
        noise = torch.stack([draw_noise(key, int(timestep), clean.shape) for timestep in timesteps])
        noised = scheduler.add_noise(clean.expand_as(noise), noise, timesteps)
        # One batch holds all labels of some timesteps: (timesteps, labels) flattened.
        for part in torch.split(torch.arange(count), max(1, 256 // labels)):
            rows = noised[part].repeat_interleave(labels, dim=0)
            context = contexts.repeat(len(part), 1, 1)
            at = timesteps[part].repeat_interleave(labels)
            velocity = unet(rows, at, context).sample
            noise_pred = noise_from_velocity(velocity, rows, scheduler.alphas_cumprod, at)
            squared = (noise_pred - noise[part].repeat_interleave(labels, dim=0)).square().mean(dim=(1, 2, 3))
            errors[number][:, part.numpy()] = squared.view(len(part), labels).T.numpy()
    return errors


def accuracy(errors: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images whose own label has the smallest mean error over timesteps.

    errors: (N, L, M). labels: (N,).
    """
    return float((errors.mean(axis=2).argmin(axis=1) == labels).mean())
