"""A latent diffusion transformer with classes instead of text (DiT, arXiv:2212.09748) as a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from backbones.activation_memory import activation_bytes
from backbones.backbone import Description
from backbones.errors import InvalidInput
from backbones.frozen import frozen, to_batch
from backbones.noise_schedule import linear_alphas_cumprod
from backbones.rows import Captures, UNetRow
from backbones.without_text import WithoutText


class DiffusionTransformer(WithoutText):
    """A frozen stock `DiTTransformer2DModel` over a VAE's latents; `backbones/loading/dit.py` loads it.

    class_names: names of the classes, if they are known. vae: None if images are never encoded here.
    """

    hint = "choose one of its classes"

    def __init__(
        self,
        *,
        name: str,
        transformer: nn.Module,
        vae: nn.Module | None,
        revision: str,
        class_names: Sequence[str] = (),
        alphas_cumprod: Tensor | None = None,
    ) -> None:
        self.name = name
        self.transformer: Any = transformer.eval().requires_grad_(False)
        self.vae: Any = None if vae is None else vae.eval().requires_grad_(False)
        self.revision = revision
        self.class_names = tuple(class_names)
        self.alphas_cumprod = linear_alphas_cumprod() if alphas_cumprod is None else alphas_cumprod

    @cached_property
    def description(self) -> Description:
        config = self.transformer.config
        downscale = 8 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)
        return Description(
            name=self.name,
            revision=self.revision,
            image_size=config.sample_size * downscale,
            latent_channels=config.in_channels,
            downscale=downscale,
            scaling_factor=0.18215 if self.vae is None else self.vae.config.scaling_factor,
            prediction_type="epsilon",
            alphas_cumprod=self.alphas_cumprod,
            max_tokens=0,
            num_class_labels=config.num_embeds_ada_norm,
            variants=(),
            dtype=self.transformer.dtype,
            device=self.transformer.device,
            class_names=self.class_names,
            activation_bytes=activation_bytes(None, self.vae, self.transformer.dtype),
        )

    def check(self, row: UNetRow) -> None:
        """Raises InvalidInput for a row that this network cannot run, ModelNotFound for a variant."""
        self.check_plain(
            row,
            "a diffusion transformer",
            ("input_convolution", "bank", "capture.features", "capture.attention_maps", "capture.keys_values"),
        )
        labels, side = self.description.num_class_labels, self.transformer.config.sample_size
        if row.class_label is None or not 0 <= row.class_label < labels:
            raise InvalidInput("class_label", f"{row.class_label} is outside 0..{labels - 1}")
        shape = (self.description.latent_channels, side, side)
        if tuple(row.latents.shape) != shape:
            raise InvalidInput("latents", f"{tuple(row.latents.shape)} where {shape} belongs")

    @frozen
    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """Mean latents, unscaled: (3, H, W) float in [-1, 1], all of one size -> (C, H/8, W/8)."""
        batch = to_batch(pixel_values, self._own_vae.device, self._own_vae.dtype)
        return list(self._own_vae.encode(batch).latent_dist.mean.unbind())

    @frozen
    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Images from unscaled latents: (C, h, w), all of one size -> (3, 8h, 8w), about [-1, 1]."""
        batch = to_batch(latents, self._own_vae.device, self._own_vae.dtype)
        return list(self._own_vae.decode(batch, return_dict=False)[0].unbind())

    @frozen
    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        """The captures of each row: `output` has all channels, a predicted variance behind the noise if there is one;
        `noise_pred` is the noise alone, (C, h, w).
        """
        weight = next(self.transformer.parameters())
        latents = torch.stack([row.latents.to(weight.device, weight.dtype) for row in rows])
        timesteps = torch.tensor([row.timestep for row in rows], device=weight.device)
        labels = torch.tensor([row.class_label for row in rows], device=weight.device)
        outputs = self.transformer(latents, timestep=timesteps, class_labels=labels, return_dict=False)[0]
        channels = self.description.latent_channels
        return [
            Captures(
                output=output if row.capture.output else None,
                noise_pred=output[:channels] if row.capture.noise_pred else None,
            )
            for row, output in zip(rows, outputs.unbind(), strict=True)
        ]

    @property
    def _own_vae(self) -> Any:
        if self.vae is None:
            raise InvalidInput("image", f"the backbone {self.name!r} was loaded without a VAE", hint="load it with one")
        return self.vae
