"""A stock encoder that computes principal components exactly, and a decoder that begins with the colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.autoencoder import build_autoencoder, mean_latents, pixel_values, rebuilt_images
from training.datasets.captioned import Image
from training.principal import load_components, patch_latents, principal_components, save_components


def clouds(count: int) -> list[Image]:
    """Coloured noise with more of the coarse than of the fine, like pictures."""
    draw = np.random.default_rng(0)
    coarse = np.kron(draw.uniform(0, 255, size=(count, 4, 4, 3)), np.ones((1, 8, 8, 1)))
    middle = np.kron(draw.uniform(-40, 40, size=(count, 8, 8, 3)), np.ones((1, 4, 4, 1)))
    return list(np.clip(coarse + middle + draw.normal(0, 5, size=coarse.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("channels", [4, 8])
def test_the_stock_encoder_computes_what_one_convolution_does(channels: int) -> None:
    torch.manual_seed(0)
    images = clouds(12)
    components = principal_components(images, channels)
    autoencoder = build_autoencoder((16, 32, 64, 64), 32, components)
    expected = patch_latents(components, pixel_values(images))
    torch.testing.assert_close(mean_latents(autoencoder, images), expected, atol=2e-3, rtol=1e-3)
    # The pocket is shipped in half precision.
    torch.testing.assert_close(mean_latents(autoencoder.half().float(), images), expected, atol=2e-2, rtol=1e-2)


def test_components_are_uncorrelated_and_as_loud_as_they_say() -> None:
    images = clouds(40)
    components = principal_components(images, 6)
    latents = patch_latents(components, pixel_values(images)).permute(1, 0, 2, 3).reshape(6, -1).double().numpy()
    covariance = np.cov(latents)
    assert np.allclose(np.sqrt(np.diag(covariance)), components.spread, rtol=1e-2)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2 * covariance.max()
    assert np.allclose(latents.mean(axis=1), 0, atol=1e-3)
    assert (np.diff(components.spread) <= 0).all()


def test_the_decoder_begins_with_each_patch_in_its_colour() -> None:
    torch.manual_seed(0)
    images = clouds(12)
    autoencoder = build_autoencoder((16, 32, 64, 64), 32, principal_components(images, 8))
    rebuilt = rebuilt_images(autoencoder, images).astype(float)
    off = np.abs(
        rebuilt.reshape(12, 4, 8, 4, 8, 3).mean((2, 4)) - np.stack(images).reshape(12, 4, 8, 4, 8, 3).mean((2, 4))
    )
    assert off.mean() < 12


def test_only_the_decoder_learns() -> None:
    autoencoder = build_autoencoder((16, 32, 64, 64), 32, principal_components(clouds(4), 8))
    assert not any(parameter.requires_grad for parameter in autoencoder.encoder.parameters())
    assert all(parameter.requires_grad for parameter in autoencoder.decoder.parameters())


def test_too_narrow_layers_are_refused_with_the_bound() -> None:
    with pytest.raises(ValueError, match="too small for 8 latent channels"):
        build_autoencoder((16, 16, 64, 64), 32, principal_components(clouds(4), 8))


def test_components_are_kept_exactly(tmp_path: Path) -> None:
    components = principal_components(clouds(4), 5)
    save_components(components, tmp_path / "components.safetensors")
    read = load_components(tmp_path / "components.safetensors")
    for name in ("mean", "weights", "spread"):
        assert np.array_equal(getattr(components, name), getattr(read, name))
