"""Zero-shot classification over the caller's own labels, by the published adaptive algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.noise_schedule import content_key, seeded_noise
from heads.diffusion_classifier.losses import Loss
from heads.diffusion_classifier.preprocess import Interpolation, pixel_values, square
from heads.diffusion_classifier.race import Round, paired_gaps, race
from heads.diffusion_classifier.schedule import Schedule, check_schedule, default_schedule
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
    interpolation: Interpolation = "bicubic",
) -> Posterior:
    """Which label's prompt lets the network predict the noise best.

    image: (H, W, 3) uint8 RGB; its middle square is looked at. labels: distinct texts. templates: each holds "{}" once;
    every label in every template is a hypothesis of its own, and the label of the best one wins.
    schedule: None for `default_schedule`. temperature: what the posterior's logits are divided by.
    The noise depends on the picture's pixels and its position alone: the same request always gets the same answer.
    Raises InvalidInput for labels, templates or a schedule that can not be used.
    """
    prompts = await engine.run_on_host(check_prompts, engine, labels, templates)
    chosen = schedule or default_schedule(len(prompts))
    check_schedule(chosen, len(prompts), len(engine.backbone.alphas_cumprod))
    if trials < 1:
        raise InvalidInput("trials", f"{trials}", hint="send 1 or more")
    if temperature <= 0:
        raise InvalidInput("temperature", f"{temperature}", hint="send a number above 0")
    pixels = await engine.run_on_host(_prepared, image, engine.backbone.image_size, interpolation)
    noise = partial(seeded_noise, await engine.run_on_host(content_key, pixels))
    latents = (await engine.encode([pixels]))[0] * engine.backbone.scaling_factor
    contexts = await engine.embed(prompts)
    rounds = await race(
        engine, latents, contexts, lambda index: noise(index, latents.shape), chosen, loss=loss, trials=trials
    )
    return posterior(rounds, labels, len(templates), latents.numel() / temperature)


def check_prompts(engine: Engine, labels: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The prompts of all hypotheses, label-major. Raises InvalidInput where two are one text, or one is too long."""
    if not labels:
        raise InvalidInput("labels", "no labels", hint="send one text for each class, such as ['cat', 'dog']")
    if not templates:
        raise InvalidInput("templates", "no templates", hint="send one at least, such as 'a photo of a {}.'")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidInput("templates", f"{template!r} does not hold {{}} once", hint="such as 'a photo of a {}.'")
    for label in labels:
        if not label.strip():
            raise InvalidInput("labels", f"label {label!r} is empty", hint="send a word or a phrase for each class")
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    known: dict[tuple[int, ...], int] = {}
    for index, ids in enumerate(engine.tokenize(prompts)):
        label = labels[index // len(templates)]
        most = engine.backbone.max_tokens
        if len(ids) > most:
            raise InvalidInput(
                "labels",
                f"the prompt of label {label[:60]!r} has {len(ids)} tokens and the text encoder takes {most}",
                hint="shorten the label or the template",
            )
        twin = known.setdefault(ids, index)
        if twin != index:
            other = labels[twin // len(templates)]
            raise InvalidInput(
                "labels" if label != other or labels.count(label) > 1 else "templates",
                f"{prompts[twin]!r} and {prompts[index]!r} are the same text to the network and would tie",
                hint="send each label and each template once",
            )
    return prompts


def posterior(rounds: Sequence[Round], labels: Sequence[str], templates: int, sharpness: float) -> Posterior:
    """The race's outcome as a distribution: softmax of minus `sharpness` times each label's paired gap to the winner.

    A label's gap is that of its best prompt. sharpness: the number of latent elements over the temperature, so that a
    gap counts as the difference of summed squared errors that the evidence lower bound is made of.
    """
    gaps = paired_gaps(rounds)
    survived = [sum(index in one.kept for one in rounds) for index in gaps]
    last_means = {
        index: mean for one in rounds for index, mean in zip(one.candidates, one.mean_errors.tolist(), strict=True)
    }
    # The prompt that stands for a label: the one that lasted longest, and of those the closest to the winner.
    best = [
        min(range(at * templates, (at + 1) * templates), key=lambda index: (-survived[index], gaps[index]))
        for at in range(len(labels))
    ]
    winner = rounds[-1].kept[0] // templates
    logits = torch.tensor([-sharpness * gaps[index] for index in best], dtype=torch.float64)
    return Posterior(
        labels=tuple(labels),
        probabilities=tuple(torch.softmax(logits, dim=0).tolist()),
        calibrated=False,
        mean_errors=tuple(last_means[index] for index in best),
        rounds_survived=tuple(survived[index] for index in best),
        rows=sum(one.errors.numel() for one in rounds),
        label=labels[winner],
    )


def _prepared(image: NDArray[np.uint8], size: int, interpolation: Interpolation) -> Tensor:
    return pixel_values(square(Image.fromarray(image), size, interpolation))
