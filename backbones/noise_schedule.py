"""Noise levels, noising, and noise that depends only on content and position."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def linear_alphas_cumprod(beta_start: float = 1e-4, beta_end: float = 0.02, steps: int = 1000) -> Tensor:
    """Share of signal left at each step of the linear schedule of DDPM and guided-diffusion.

    Returns (steps,) float64: that code computes in float64 and rounds only when it reads a coefficient.
    Source: Ho et al. (arXiv:2006.11239), section 4; guided-diffusion's `get_named_beta_schedule("linear")`.
    """
    betas = np.linspace(beta_start, beta_end, steps, dtype=np.float64)
    return torch.from_numpy(np.cumprod(1.0 - betas))


def signal_and_noise_levels(alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of clean sample and noise at each timestep: sqrt(abar) and sqrt(1 - abar).

    alphas_cumprod: any shape.
    Returns two tensors of that shape, their roots taken in its number type.
    Source: DDPM (arXiv:2006.11239), equation 4.
    """
    return alphas_cumprod**0.5, (1.0 - alphas_cumprod) ** 0.5


def add_noise(clean: Tensor, noise: Tensor, alphas_cumprod: Tensor, timestep: int) -> Tensor:
    """The noised sample x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n.

    clean, noise: same shape, same number type. alphas_cumprod: (steps,).
    Returns a tensor shaped like `clean`.
    Source: DDPM (arXiv:2006.11239), equation 4.
    """
    signal, spread = signal_and_noise_levels(alphas_cumprod[timestep])
    return clean * signal.to(clean) + noise * spread.to(clean)


def noise_from_velocity(velocity: Tensor, noised: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """The noise that a v-prediction implies: eps = sqrt(abar_t) v + sqrt(1 - abar_t) x_t, in float32.

    velocity, noised: (B, C, h, w). alphas_cumprod: (steps,). timesteps: (B,) int64.
    Returns (B, C, h, w) in the number type of `velocity`.
    Source: Salimans and Ho, Progressive Distillation (arXiv:2202.00512), appendix D.
    """
    alpha = alphas_cumprod.to(velocity.device, torch.float32)[timesteps.to(velocity.device)].view(-1, 1, 1, 1)
    noise = alpha.sqrt() * velocity.float() + (1.0 - alpha).sqrt() * noised.float()
    return noise.to(velocity.dtype)


def content_key(array: Tensor) -> bytes:
    """A key that two arrays share exactly if they have the same shape and values, for caches and noise.

    array: any shape and number type, on any device.
    Returns 16 bytes.
    """
    host = array.detach().cpu().contiguous()
    digest = hashlib.blake2b(f"{host.dtype}{tuple(host.shape)}".encode(), digest_size=16)
    digest.update(host.reshape(-1).view(torch.uint8).numpy().data if host.numel() else b"")
    return digest.digest()


def make_generator(content: bytes, index: int) -> torch.Generator:
    """A generator on the CPU whose numbers only `content` and `index` decide."""
    seed = hashlib.blake2b(content + index.to_bytes(8, "little"), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)


def draw_noise(content: bytes, index: int, shape: Sequence[int]) -> Tensor:
    """Standard normal noise that only `content` and `index` decide: not the device, the batch, or the order of calls.

    Returns float32 of `shape`, any shape, on the CPU.
    """
    return torch.randn(tuple(shape), generator=make_generator(content, index), dtype=torch.float32)
