"""The terms of the variational bound, at values computed by hand."""

from __future__ import annotations

import torch

from heads.diffusion_classifier.variational import posterior_log_variance, variational_terms

ALPHAS = torch.linspace(0.999, 0.01, 50, dtype=torch.float64)


def test_the_posteriors_variance_lies_below_the_forward_one() -> None:
    log_variance = posterior_log_variance(ALPHAS)
    before = torch.cat([torch.ones(1, dtype=torch.float64), ALPHAS[:-1]])
    betas = 1 - ALPHAS / before
    assert log_variance.shape == (50,)
    assert (log_variance[1:] <= betas[1:].log()).all()
    assert log_variance[0] == log_variance[1]


def test_the_right_noise_with_the_true_variance_costs_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(4, 2, 3, 3, generator=generator) * 2 - 1
    noise = torch.randn(4, 2, 3, 3, generator=generator)
    timesteps = torch.tensor([1, 10, 30, 49])
    share = ALPHAS[timesteps].float().view(-1, 1, 1, 1)
    noised = share.sqrt() * clean + (1 - share).sqrt() * noise
    exact = torch.cat([noise, torch.full_like(noise, -1.0)], dim=1)
    divergence, likelihood = variational_terms(exact, clean, noised, timesteps, ALPHAS)
    torch.testing.assert_close(divergence, torch.zeros(4), atol=1e-4, rtol=0)
    assert likelihood.shape == (4,)
    wrong = torch.cat([noise + 0.5, torch.full_like(noise, -1.0)], dim=1)
    assert (variational_terms(wrong, clean, noised, timesteps, ALPHAS)[0] > divergence + 1e-3).all()
