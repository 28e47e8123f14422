"""Zero-shot classification over the caller's own labels: by the published schedule, or by a race of known error."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.noise_schedule import content_key, draw_noise
from heads.diffusion_classifier.anytime import Budget, ErrorsOf, Race, anytime_race
from heads.diffusion_classifier.hypotheses import Combine, Hypotheses, conditions, make_hypotheses
from heads.diffusion_classifier.losses import Loss
from heads.diffusion_classifier.posterior import Scale, compute_race_posterior, compute_schedule_posterior
from heads.diffusion_classifier.preprocess import Interpolation, halve_to_square, pixel_values, square
from heads.diffusion_classifier.race import Condition, Round, denoising_errors, race
from heads.diffusion_classifier.schedule import Schedule, check_schedule, default_schedule, fit_schedule
from heads.diffusion_classifier.units import Layout, check_layout, default_layout, timestep_of, visiting_order
from heads.results import Posterior


async def classify(
    engine: Engine,
    image: NDArray[np.uint8],
    labels: Sequence[str],
    *,
    templates: Sequence[str] = ("a photo of a {}.",),
    schedule: Schedule | None = None,
    loss: Loss = "l2",
    trials: int = 1,
    temperature: float = 1.0,
    calibrated: bool = False,
    interpolation: Interpolation = "bicubic",
    on_progress: Callable[[Posterior], None] | None = None,
) -> Posterior:
    """Which label's prompt lets the network predict the noise best, by the published adaptive algorithm.

    image: (H, W, 3) uint8 RGB; its middle square is used. labels: texts; those with equal token ids are merged and tie.
    templates: each holds "{}" once; every label in every template is a hypothesis of its own, and the label of the best
    one wins. For a class-conditional network: names or numbers of its classes, and ("{}",). schedule: None for
    `default_schedule`. temperature: what the posterior's logits are divided by. calibrated: whether that was fitted to
    labelled data. on_progress: called with the posterior after each round. The noise depends on the picture's pixels
    and its position alone: the same request always gets the same answer.
    Raises InvalidInput for labels, templates or a schedule that cannot be used.
    """
    check_numbers(temperature)
    if trials < 1:
        raise InvalidInput("trials", f"{trials}", hint="send 1 or more")
    hypotheses = await engine.run_on_host(make_hypotheses, engine, labels, templates)
    written = len(labels) * len(templates)
    chosen = schedule or default_schedule(written)
    check_schedule(chosen, written, len(engine.backbone.alphas_cumprod))
    latents, key = await clean_latents(engine, image, interpolation)
    scale = Scale(latents.numel(), temperature, calibrated)

    def report(rounds: Sequence[Round]) -> None:
        if on_progress is not None:
            on_progress(compute_schedule_posterior(rounds, hypotheses, labels, scale))

    rounds = await race(
        engine,
        latents,
        await conditions(engine, hypotheses),
        lambda index: draw_noise(key, index, latents.shape),
        fit_schedule(chosen, len(hypotheses.prompts)),
        loss=loss,
        trials=trials,
        on_round=report,
    )
    return compute_schedule_posterior(rounds, hypotheses, labels, scale)


async def classify_anytime(
    engine: Engine,
    image: NDArray[np.uint8],
    labels: Sequence[str],
    *,
    templates: Sequence[str] = ("a photo of a {}.",),
    combine: Combine = "mean",
    confidence: float = 0.95,
    budget: Budget | None = None,
    indifference: float = 0.0,
    layout: Layout | None = None,
    loss: Loss = "l2",
    temperature: float = 1.0,
    calibrated: bool = False,
    interpolation: Interpolation = "bicubic",
    on_progress: Callable[[Posterior], None] | None = None,
) -> Posterior:
    """The label with the smallest mean error over all units, with as few rows as possible.

    image: (H, W, 3) uint8 RGB. labels, templates, temperature, calibrated: as in `classify`. combine: how a label's
    templates are put together. confidence: about the probability, over the order of units, that the answer equals that
    of all labels on all units; 1 evaluates all of them. budget: stops the race before that. indifference: a mean error
    by which the answer may be worse than the best. layout: None for `default_layout`. on_progress: called with the
    posterior after each look. Without a time limit the same request always gets the same answer.
    Raises InvalidInput for labels, templates or numbers that cannot be used.
    """
    started = time.perf_counter()
    check_numbers(temperature, confidence, indifference)
    hypotheses = await engine.run_on_host(partial(make_hypotheses, combine=combine), engine, labels, templates)
    latents, key = await clean_latents(engine, image, interpolation)
    return await run_race(
        engine,
        latents,
        key,
        hypotheses,
        labels,
        error_rate=1 - confidence,
        budget=budget,
        started=started,
        indifference=indifference,
        layout=layout,
        loss=loss,
        scale=Scale(latents.numel(), temperature, calibrated),
        on_progress=on_progress,
    )


async def run_race(
    engine: Engine,
    latents: Tensor,
    key: bytes,
    hypotheses: Hypotheses,
    labels: Sequence[str],
    *,
    error_rate: float,
    budget: Budget | None = None,
    started: float | None = None,
    indifference: float = 0.0,
    layout: Layout | None = None,
    loss: Loss = "l2",
    scale: Scale,
    on_progress: Callable[[Posterior], None] | None = None,
) -> Posterior:
    """One race among the hypotheses of `labels`, on an image that has been encoded.

    latents, key: (C, h, w) and what seeds all noise, from `clean_latents`. error_rate, started: as in `anytime_race`.
    Other arguments as in `classify_anytime`.
    Raises InvalidInput for a wrong layout, and for a budget below one block.
    """
    steps = len(engine.backbone.alphas_cumprod)
    layout = layout or default_layout(len(hypotheses.members), steps)
    check_layout(layout, steps)

    def report(race: Race) -> None:
        if on_progress is not None:
            on_progress(compute_race_posterior(race, hypotheses, labels, scale))

    race = await anytime_race(
        evidence(engine, latents, await conditions(engine, hypotheses), key, layout.units, loss),
        hypotheses.members,
        layout,
        visiting_order(key, layout.blocks),
        error_rate=error_rate,
        budget=budget,
        started=started,
        indifference=indifference,
        answers=hypotheses.answers,
        on_look=report,
    )
    return compute_race_posterior(race, hypotheses, labels, scale)


def evidence(
    engine: Engine, latents: Tensor, conditions: Sequence[Condition], key: bytes, units: int, loss: Loss = "l2"
) -> ErrorsOf:
    """The function that computes a race's errors over `units`, with noise seeded by `key` and the unit.

    latents: (C, h, w), scaled and clean. conditions: text contexts (T, D), or class labels.
    """
    steps = len(engine.backbone.alphas_cumprod)

    async def errors_of(candidates: Sequence[int], of_units: Sequence[int]) -> Tensor:
        return await denoising_errors(
            engine,
            latents,
            [conditions[candidate] for candidate in candidates],
            [timestep_of(unit, units, steps) for unit in of_units],
            lambda place: draw_noise(key, of_units[place], latents.shape),
            loss=loss,
        )

    return errors_of


async def clean_latents(engine: Engine, image: NDArray[np.uint8], interpolation: Interpolation) -> tuple[Tensor, bytes]:
    """The scaled latents (C, h, w) of the image's middle square, and the key of its pixels that seeds all noise.

    image: (H, W, 3) uint8 RGB. A class-conditional network gets the crop that it was trained on, whatever
    the interpolation.
    """
    backbone = engine.backbone
    crop = halve_to_square if backbone.class_conditional else partial(square, interpolation=interpolation)
    pixels = await engine.run_on_host(_prepare, image, backbone.image_size, crop)
    key = await engine.run_on_host(content_key, pixels)
    (latents,) = await engine.encode([pixels])
    return await engine.run(torch.mul, latents, backbone.scaling_factor), key


def check_numbers(temperature: float, confidence: float = 1.0, indifference: float = 0.0) -> None:
    """Raises InvalidInput for a temperature that is not above 0, and for numbers of a race that it cannot use."""
    if temperature <= 0:
        raise InvalidInput("temperature", f"{temperature}", hint="send a number above 0")
    if not 0 < confidence <= 1:
        raise InvalidInput("confidence", f"{confidence}", hint="send a number above 0 and up to 1")
    if indifference < 0:
        raise InvalidInput("indifference", f"{indifference}", hint="send 0 or more")


def _prepare(image: NDArray[np.uint8], size: int, crop: Callable[[Image.Image, int], Image.Image]) -> Tensor:
    return pixel_values(crop(Image.fromarray(image), size))
