"""The quality of an exported `pocket`, measured on held-out scenes and digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.autoencoder import mean_latents, peak_signal_to_noise, rebuilt_images
from training.datasets.captioned import Image
from training.datasets.digits import CLASS_PROMPTS, Digits, load_held_out_digits
from training.datasets.world import WorldImages
from training.export import NetworkParts, folder_bytes
from training.samples import sample_images, save_grid
from training.world import vocabulary
from training.world.vocabulary import QUESTION, QUESTION_TEMPLATE
from training.zero_shot import accuracy, evenly_spaced_timesteps, label_errors

DIGITS = 120
"""Number of held-out digits for a card's figures: the first ones, a hundred rows each."""

GUIDANCE = 2.0
"""Classifier-free guidance of the drawn samples."""

QUESTION_PROMPTS = tuple(QUESTION_TEMPLATE.format(kind) for kind in QUESTION)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out data: scenes with kinds of things that are in the training data, and digits."""

    scenes: WorldImages
    digits: Digits


def load_held_out() -> HeldOut:
    """The 200 scenes and 360 digits of the package."""
    folder = Path(vocabulary.__file__).parent / "held_out" / "scenes"
    return HeldOut(WorldImages(folder, name="held-out"), load_held_out_digits())


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Zero-shot accuracy at one number of timesteps, and its cost."""

    timesteps: int
    rows_per_image: int
    accuracy: float
    images: int
    milliseconds_per_image: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measured figures of a model card.

    scenes, digits: how many were held out. psnr, digits_psnr: dB, of the VAE's reconstructions, 8-bit.
    noise_error: mean squared noise error of scenes under their first sentence, 10 evenly spaced timesteps.
    question: "which thing is this", ten labels, on scenes with one thing. relations: share of the scenes with a plain
    left and right, `related` of them, in which the true sentence has the smaller error of the two.
    digit_question: the ten digits. parameters: by part. size_bytes: of the folder without its README.md.
    """

    scenes: int
    digits: int
    psnr: float
    digits_psnr: float
    noise_error: float
    question: tuple[ZeroShot, ...]
    relations: float
    related: int
    digit_question: tuple[ZeroShot, ...]
    parameters: dict[str, int]
    size_bytes: int
    threads: int


def evaluate(parts: NetworkParts, folder: Path, data: HeldOut, timestep_counts: Sequence[int]) -> Evaluation:
    """Measures the parts that were read from `folder` on all held-out data."""
    scenes = [data.scenes.image(index) for index in range(len(data.scenes))]
    digits = [data.digits.image(index) for index in range(DIGITS)]
    chosen, kinds = data.scenes.questions()
    relations = relation_verdicts(parts, data.scenes)
    counted = {"vae": parts.autoencoder, "text_encoder": parts.denoiser.text_encoder, "unet": parts.denoiser.unet}
    card = folder / "README.md"
    return Evaluation(
        scenes=len(scenes),
        digits=len(digits),
        psnr=reconstruction_psnr(parts, scenes),
        digits_psnr=reconstruction_psnr(parts, digits),
        noise_error=_noise_error(parts, data.scenes),
        question=zero_shot(parts, [scenes[index] for index in chosen], kinds, QUESTION_PROMPTS, timestep_counts),
        relations=float(np.mean(relations)),
        related=len(relations),
        digit_question=zero_shot(parts, digits, data.digits.labels[:DIGITS], CLASS_PROMPTS, timestep_counts[:1]),
        parameters={name: sum(weight.numel() for weight in part.parameters()) for name, part in counted.items()},
        size_bytes=folder_bytes(folder) - (card.stat().st_size if card.exists() else 0),
        threads=torch.get_num_threads(),
    )


def reconstruction_psnr(parts: NetworkParts, images: Sequence[Image]) -> float:
    """dB of the reconstructed images, from the mean squared error over all of them."""
    rebuilt = [rebuilt_images(parts.autoencoder, images[at : at + 20]) for at in range(0, len(images), 20)]
    return peak_signal_to_noise(np.stack(images), np.concatenate(rebuilt))


def zero_shot(
    parts: NetworkParts,
    images: Sequence[Image],
    labels: NDArray[np.int64],
    prompts: Sequence[str],
    timestep_counts: Sequence[int],
) -> tuple[ZeroShot, ...]:
    """Accuracy of Diffusion Classifier with a prompt for each label, at each number of evenly spaced timesteps."""
    latents = _encode_images(parts, images)
    with torch.no_grad():
        contexts = parts.denoiser.contexts(parts.tokenizer, prompts)
    results = []
    for count in sorted(timestep_counts):
        began = monotonic()
        errors = label_errors(parts.denoiser.unet, parts.scheduler, latents, contexts, evenly_spaced_timesteps(count))
        cost = 1000.0 * (monotonic() - began) / len(images)
        results.append(ZeroShot(count, count * len(prompts), accuracy(errors, labels), len(images), cost))
    return tuple(results)


def relation_verdicts(parts: NetworkParts, scenes: WorldImages, timesteps: int = 10) -> list[bool]:
    """For each scene with a plain left and right: whether "left of" and "right of" are distinguished.

    The first such sentence about kinds alone is compared with itself after the exchange of left and right.
    """
    verdicts = []
    for index in range(len(scenes)):
        kinds = set(scenes.kinds(index))
        sentences = [
            sentence
            for sentence in scenes.captions(index)
            if " of " in sentence and len(kinds) > 1 and set(sentence.split()) <= kinds | {"a", "left", "right", "of"}
        ]
        if not sentences:
            continue
        true = sentences[0]
        false = true.replace("left", "?").replace("right", "left").replace("?", "right")
        with torch.no_grad():
            contexts = parts.denoiser.contexts(parts.tokenizer, [true, false])
        latents = _encode_images(parts, [scenes.image(index)])
        steps = evenly_spaced_timesteps(timesteps)
        errors = label_errors(parts.denoiser.unet, parts.scheduler, latents, contexts, steps)
        verdicts.append(bool(errors.mean(axis=2).argmin(axis=1)[0] == 0))
    return verdicts


def draw_pictures(parts: NetworkParts, data: HeldOut, folder: Path) -> None:
    """Writes samples.png (five of each thing and one row of digits) and reconstructions.png (originals, rebuilt)."""
    prompts = [*QUESTION_PROMPTS * 5, *CLASS_PROMPTS]
    with torch.no_grad():
        contexts = parts.denoiser.contexts(parts.tokenizer, prompts)
        empty = parts.denoiser.contexts(parts.tokenizer, [""])
    drawn = sample_images(
        parts.autoencoder, parts.denoiser, parts.scheduler, contexts, empty, guidance=GUIDANCE, steps=50, seed=0
    )
    save_grid(drawn, len(QUESTION), folder / "samples.png")
    shown = [data.scenes.image(index) for index in range(16)] + [data.digits.image(index) for index in range(4)]
    rebuilt = rebuilt_images(parts.autoencoder, shown)
    originals = np.stack(shown)
    rows = [originals[:10], rebuilt[:10], originals[10:], rebuilt[10:]]
    save_grid(np.concatenate(rows), 10, folder / "reconstructions.png")


def _noise_error(parts: NetworkParts, scenes: WorldImages) -> float:
    errors = []
    for index in range(len(scenes)):
        with torch.no_grad():
            context = parts.denoiser.contexts(parts.tokenizer, [scenes.captions(index)[0]])
        latents = _encode_images(parts, [scenes.image(index)])
        steps = evenly_spaced_timesteps(10)
        errors.append(label_errors(parts.denoiser.unet, parts.scheduler, latents, context, steps).mean())
    return float(np.mean(errors))


def _encode_images(parts: NetworkParts, images: Sequence[Image]) -> Tensor:
    parted = [mean_latents(parts.autoencoder, images[at : at + 20]) for at in range(0, len(images), 20)]
    return torch.cat(parted) * float(parts.autoencoder.config.scaling_factor)
