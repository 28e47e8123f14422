"""Denoise predictions with the latents of their image: each member of an ensemble is a row of every step.

Source: Marigold (arXiv:2312.02145), section 3; diffusers' `MarigoldDepthPipeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine, embed_unpadded
from backbones.noise_schedule import content_key, make_generator
from backbones.rows import Capture, Captures, UNetRow
from heads.images import check_image
from heads.marigold.model import PAIR, MarigoldModel
from heads.marigold.options import MarigoldOptions
from heads.marigold.preprocess import check_members, choose_working_size, content_of, fit_image

Watch = Callable[[int, Tensor], None]
"""Gets the timestep and the predictions' latents (E, C, h, w) after each step."""


async def paint_image(
    engine: Engine, model: MarigoldModel, image: NDArray[np.uint8], options: MarigoldOptions
) -> Tensor:
    """The network's pictures for an image with a request's options, (E, 3, h, w) float32 on the host, about -1..1.

    image: (H, W, 3) uint8 RGB. Steps and resolution that are unset are the model's own.
    Raises InvalidInput as `predict_members` does.
    """
    return await predict_members(
        engine,
        model,
        image,
        steps=options.steps or model.steps,
        ensemble_size=options.ensemble_size,
        resolution=model.resolution if options.resolution is None else options.resolution,
        seed=options.seed,
    )


async def predict_members(
    engine: Engine,
    model: MarigoldModel,
    image: NDArray[np.uint8],
    *,
    steps: int,
    ensemble_size: int,
    resolution: int,
    seed: int = 0,
    generators: Sequence[torch.Generator] | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """The network's pictures for an image, (E, 3, h, w) float32 on the host, about -1..1.

    image: (H, W, 3) uint8 RGB. seed: with the image's content it decides the noise of every member.
    generators: of the noise of each member, instead of the seed. watch: sees every step.
    h and w are those of the image scaled to `resolution`.
    Raises InvalidInput as `fit_image` and `check_members` do.
    """
    check_image(image)
    check_members(ensemble_size, choose_working_size(image.shape[0], image.shape[1], resolution))
    pixels, size = await engine.run_on_host(fit_image, image, resolution, engine.backbone.downscale)
    (encoded,) = await engine.encode([pixels])
    context = await embed_unpadded(engine, "")
    if generators is None:
        content = content_key(content_of(image)) + seed.to_bytes(8, "little")
        generators = [make_generator(content, member) for member in range(ensemble_size)]
    denoising = await engine.run(Denoising, model, encoded, context, generators, steps)
    for timestep in denoising.timesteps:
        captures = await engine.unet(denoising.rows)
        await engine.run(denoising.step, captures)
        if watch is not None:
            watch(timestep, denoising.latents)
    decoded = await engine.decode(await engine.run(denoising.unscale))
    return await engine.run(_on_host, decoded, size)


class Denoising:
    """The state of one image's members between two steps. All methods touch the device's memory.

    rows: those of the next step. latents: (E, C, h, w) float32, scaled.
    """

    def __init__(
        self, model: MarigoldModel, encoded: Tensor, context: Tensor, generators: Sequence[torch.Generator], steps: int
    ) -> None:
        """encoded: (C, h, w), unscaled latents of the image. context: (T, D). generators: one a member."""
        self.model = model
        self.image = encoded * model.backbone.scaling_factor
        self.context = context
        self.generators = list(generators)
        self.schedule: Any = model.start_schedule(steps)
        self.timesteps = [int(timestep) for timestep in self.schedule.timesteps]
        self.taken = 0
        if model.noise == "zeros":
            noise = torch.zeros((len(self.generators), *encoded.shape))
        else:
            noise = torch.cat([torch.randn((1, *encoded.shape), generator=generator) for generator in self.generators])
        self.latents = noise.to(encoded.device)
        self.rows = self._rows()

    def step(self, captures: Sequence[Captures]) -> None:
        """One step of the schedule, from the outputs of the rows."""
        outputs = torch.stack([capture.output for capture in captures if capture.output is not None]).float()
        timestep = self.schedule.timesteps[self.taken]
        # The list of generators is for schedules that add noise at each step, such as that of LCM.
        moved = self.schedule.step(outputs, timestep, self.latents, generator=self.generators)
        self.latents = moved.prev_sample
        self.taken += 1
        self.rows = self._rows()

    def unscale(self) -> list[Tensor]:
        """Latents of each member as the decoder takes them, (C, h, w)."""
        return list((self.latents / self.model.backbone.scaling_factor).unbind())

    def _rows(self) -> list[UNetRow]:
        if self.taken == len(self.timesteps):
            return []
        return [
            UNetRow(
                torch.cat([self.image.float(), member]),
                self.timesteps[self.taken],
                self.context,
                Capture(output=True),
                input_convolution=PAIR,
                variant=self.model.variant,
            )
            for member in self.latents.unbind()
        ]


def _on_host(decoded: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    return torch.stack([picture[:, : size[0], : size[1]] for picture in decoded]).float().cpu()
