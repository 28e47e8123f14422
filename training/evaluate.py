"""What an exported pocket can do, measured on digits that its training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch

from training.autoencoder import mean_latents, peak_signal_to_noise, rebuilt_images
from training.datasets.digits import CLASS_PROMPTS, DIGIT_NAMES, Digits
from training.export import Parts, folder_bytes
from training.samples import sampled_images, save_grid
from training.zero_shot import accuracy, evenly_spaced_timesteps, label_errors


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Zero-shot accuracy at one number of timesteps, and what it cost."""

    timesteps: int
    rows_per_image: int
    accuracy: float
    milliseconds_per_image: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measured figures of a model card.

    psnr: dB, of the VAE's reconstructions, 8-bit.
    noise_error: mean squared noise error under each image's own prompt, over the timesteps of the longest run.
    parameters: by part. size_bytes: of the folder without its README.md.
    """

    images: int
    psnr: float
    noise_error: float
    zero_shot: tuple[ZeroShot, ...]
    parameters: dict[str, int]
    size_bytes: int
    threads: int


def evaluate(parts: Parts, folder: Path, digits: Digits, timestep_counts: Sequence[int]) -> Evaluation:
    """Measures the parts that were read from `folder` on all of `digits`."""
    images = [digits.image(index) for index in range(len(digits))]
    rebuilt = rebuilt_images(parts.autoencoder, images)
    latents = mean_latents(parts.autoencoder, images) * parts.autoencoder.config.scaling_factor
    unet = parts.denoiser.unet
    with torch.no_grad():
        contexts = parts.denoiser.contexts(parts.tokenizer, CLASS_PROMPTS)
    zero_shot, noise_error = [], float("nan")
    for count in sorted(timestep_counts):
        began = monotonic()
        errors = label_errors(unet, parts.scheduler, latents, contexts, evenly_spaced_timesteps(count))
        cost = 1000.0 * (monotonic() - began) / len(images)
        zero_shot.append(ZeroShot(count, count * len(contexts), accuracy(errors, digits.labels), cost))
        noise_error = float(errors[np.arange(len(images)), digits.labels].mean())
    counted = {"vae": parts.autoencoder, "text_encoder": parts.denoiser.text_encoder, "unet": unet}
    card = folder / "README.md"
    return Evaluation(
        images=len(images),
        psnr=peak_signal_to_noise(np.stack(images), rebuilt),
        noise_error=noise_error,
        zero_shot=tuple(zero_shot),
        parameters={name: sum(weight.numel() for weight in part.parameters()) for name, part in counted.items()},
        size_bytes=folder_bytes(folder) - (card.stat().st_size if card.exists() else 0),
        threads=torch.get_num_threads(),
    )


def draw_pictures(parts: Parts, digits: Digits, folder: Path) -> None:
    """Writes samples.png (six of each digit, one column a digit) and reconstructions.png (originals over rebuilt)."""
    with torch.no_grad():
        contexts = parts.denoiser.contexts(parts.tokenizer, CLASS_PROMPTS * 6)
        empty = parts.denoiser.contexts(parts.tokenizer, [""])
    drawn = sampled_images(
        parts.autoencoder, parts.denoiser, parts.scheduler, contexts, empty, guidance=3.0, steps=50, seed=0
    )
    save_grid(drawn, len(DIGIT_NAMES), folder / "samples.png")
    shown = np.stack([digits.image(index) for index in range(20)])
    rebuilt = rebuilt_images(parts.autoencoder, list(shown))
    save_grid(np.concatenate([shown[:10], rebuilt[:10], shown[10:], rebuilt[10:]]), 10, folder / "reconstructions.png")
