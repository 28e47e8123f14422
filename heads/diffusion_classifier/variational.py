"""The terms of the variational bound that a network with a learned variance gives, beside the plain errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def posterior_log_variance(alphas_cumprod: Tensor) -> Tensor:
    """Log of the variance of q(x_{t-1} | x_t, x_0), the entry of t = 0 replaced by that of 1. (steps,) as given.

    Source: DDPM (arXiv:2006.11239), equation 7; `posterior_log_variance_clipped` of guided-diffusion and DiT.
    """
    betas, before = _betas(alphas_cumprod)
    variance = betas * (1 - before) / (1 - alphas_cumprod)
    return torch.cat([variance[1:2], variance[1:]]).log()


def variational_terms(
    output: Tensor, clean: Tensor, noised: Tensor, timesteps: Tensor, alphas_cumprod: Tensor
) -> tuple[Tensor, Tensor]:
    """KL(q(x_{t-1} | x_t, x_0) || p) and the decoder's negative log-likelihood of x_0, in bits per element, at every t.

    output: (B, 2C, h, w), predicted noise and then the interpolation of the log-variance. clean, noised: (B, C, h, w).
    timesteps: (B,) int64. alphas_cumprod: (steps,) float64.
    Returns (B,) float32 each.
    Source: Improved DDPM (arXiv:2102.09672), equation 15; DiT's `_vb_terms_bpd`.
    """
    noise_pred, share = output.float().chunk(2, dim=1)
    abar = alphas_cumprod
    betas, before = _betas(abar)
    floor = posterior_log_variance(abar)

    def at(table: Tensor) -> Tensor:
        return table[timesteps].float().view(-1, 1, 1, 1).to(output.device)

    from_clean, from_noised = betas * before.sqrt() / (1 - abar), (1 - before) * (1 - betas).sqrt() / (1 - abar)
    true_mean = at(from_clean) * clean + at(from_noised) * noised
    guess = at((1 / abar).sqrt()) * noised - at((1 / abar - 1).sqrt()) * noise_pred
    mean = at(from_clean) * guess + at(from_noised) * noised
    weight = (share + 1) / 2
    log_variance = weight * at(betas.log()) + (1 - weight) * at(floor)
    true_log_variance = at(floor)
    divergence = 0.5 * (
        -1
        + log_variance
        - true_log_variance
        + (true_log_variance - log_variance).exp()
        + (true_mean - mean).square() * (-log_variance).exp()
    )
    likelihood = _discretised_log_likelihood(clean, mean, 0.5 * log_variance)
    bits = 1 / math.log(2)
    return divergence.mean(dim=(1, 2, 3)) * bits, -likelihood.mean(dim=(1, 2, 3)) * bits


def _betas(alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """beta_t, and the share of signal one step before; 1 before the first."""
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    return 1 - alphas_cumprod / before, before


def _discretised_log_likelihood(values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log-probability of bins of half-width 1/255 under Gaussians, the outermost bins open."""
    centred, sharpness = values - means, (-log_scales).exp()
    above = _normal_cdf((centred + 1 / 255) * sharpness)
    below = _normal_cdf((centred - 1 / 255) * sharpness)
    tiny = 1e-12
    inside = (above - below).clamp(min=tiny).log()
    lowest, highest = above.clamp(min=tiny).log(), (1 - below).clamp(min=tiny).log()
    return torch.where(values < -0.999, lowest, torch.where(values > 0.999, highest, inside))


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
