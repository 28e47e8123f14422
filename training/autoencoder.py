"""The VAE of `pocket`: a computed encoder, a trained decoder, and the quality of reconstructed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.datasets.captioned import CaptionSource, Image
from training.loop import Draw
from training.principal import Components, patch_latents, set_decoder_start, set_encoder
from training.stock import AutoencoderKL


def build_autoencoder(widths: Sequence[int], image_size: int, components: Components) -> AutoencoderKL:
    """A Stable Diffusion VAE of four levels, 8 pixels a latent element, whose encoder computes `components`.

    The decoder begins with the colour of each patch.
    """
    levels = len(widths)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=len(components.weights),
        norm_num_groups=4,
        sample_size=image_size,
    )
    set_encoder(autoencoder, components)
    set_decoder_start(autoencoder, components)
    return autoencoder


def pixel_values(images: Sequence[Image]) -> Tensor:
    """images: (H, W, 3) uint8 RGB each. Returns (B, 3, H, W) float32, -1..1."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def images_of(pixels: Tensor) -> NDArray[np.uint8]:
    """pixels: (B, 3, H, W), -1..1, clipped. Returns (B, H, W, 3) uint8 RGB."""
    levels = pixels.detach().float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def decoder_losses(
    autoencoder: AutoencoderKL,
    components: Components,
    sources: Sequence[CaptionSource],
    *,
    batch: int,
    noise: float,
) -> Callable[[Draw], dict[str, Tensor]]:
    """A function that draws a batch of images and returns the decoder's loss on it.

    noise: standard deviation of the noise that is added to the latents, so that the decoder tolerates errors of a
    U-Net. Half of the images are mirrored, because a decoder reads no sentences. The loss is mean absolute error plus
    mean squared error, in -1..1 units.
    """
    shares = np.array([source.share for source in sources])

    def losses(draw: Draw) -> dict[str, Tensor]:
        chosen = [
            sources[which].images for which in draw.numpy.choice(len(sources), size=batch, p=shares / shares.sum())
        ]
        shown = [images.augment(int(draw.numpy.integers(len(images))), draw.numpy) for images in chosen]
        mirrored = [image[:, ::-1] if draw.numpy.random() < 0.5 else image for image in shown]
        pixels = pixel_values(mirrored)
        latents = patch_latents(components, pixels)
        latents = latents + noise * torch.randn(latents.shape, generator=draw.torch)
        rebuilt = autoencoder.decode(latents.contiguous(memory_format=torch.channels_last)).sample
        absolute, squared = functional.l1_loss(rebuilt, pixels), functional.mse_loss(rebuilt, pixels)
        return {"loss": absolute + squared, "squared": squared}

    return losses


@torch.no_grad()
def mean_latents(autoencoder: AutoencoderKL, images: Sequence[Image]) -> Tensor:
    """The mean of the VAE's posterior, unscaled: (B, C, H / 8, W / 8) float32."""
    mean: Tensor = autoencoder.encode(pixel_values(images)).latent_dist.mean
    return mean


@torch.no_grad()
def rebuilt_images(autoencoder: AutoencoderKL, images: Sequence[Image]) -> NDArray[np.uint8]:
    """The images after encoding (the mean of the latents, not a sample) and decoding: (B, H, W, 3) uint8 RGB."""
    return images_of(autoencoder.decode(mean_latents(autoencoder, images)).sample)


def peak_signal_to_noise(images: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images, from the mean squared error over all of them.

    images, rebuilt: (B, H, W, 3) uint8. Equal images give infinity.
    """
    squared = np.square(images.astype(np.float64) - rebuilt.astype(np.float64)).mean()
    return float("inf") if squared == 0 else float(10.0 * np.log10(255.0**2 / squared))
