"""A pixel-space diffusion U-Net without text (guided-diffusion's) as a backbone: same rows, no VAE, no text encoder.

For library use and conformance: `heads/feature_pooling` pools features of the network that its paper published, and
`tests/conformance/feature_pooling.py` replays the original on it. The server does not open such backbones: the file
does not hold the flags that shape the network, so no setting could name it by its path alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from backbones.activation_memory import activation_bytes
from backbones.backbone import Description
from backbones.captures import forward_rows
from backbones.errors import InvalidInput
from backbones.frozen import frozen
from backbones.noise_schedule import linear_alphas_cumprod
from backbones.rows import Captures, UNetRow
from backbones.stable_diffusion import check_names, with_noise_pred
from backbones.sub_blocks import sub_block_names
from backbones.without_text import WithoutText


class PixelDiffusion(WithoutText):
    """A frozen stock `UNet2DModel` over images in [-1, 1]; `backbones/loading/guided_diffusion.py` loads it.

    If the network predicts a variance too (6 output channels for 3 of the image), `noise_pred` is the first half.
    """

    hint = "choose a Stable Diffusion"

    def __init__(self, *, name: str, unet: nn.Module, revision: str, alphas_cumprod: Tensor | None = None) -> None:
        self.name = name
        self.unet: Any = unet.eval().requires_grad_(False)
        self.revision = revision
        self.alphas_cumprod = linear_alphas_cumprod() if alphas_cumprod is None else alphas_cumprod

    @cached_property
    def description(self) -> Description:
        config = self.unet.config
        return Description(
            name=self.name,
            revision=self.revision,
            image_size=config.sample_size,
            latent_channels=config.in_channels,
            downscale=1,
            scaling_factor=1.0,
            prediction_type="epsilon",
            alphas_cumprod=self.alphas_cumprod,
            max_tokens=0,
            num_class_labels=config.num_class_embeds or 0,
            variants=(),
            dtype=self.unet.dtype,
            device=self.unet.device,
            sub_blocks=sub_block_names(self.unet),
            activation_bytes=activation_bytes(self.unet, None, self.unet.dtype),
        )

    def check(self, row: UNetRow) -> None:
        """Raises InvalidInput for a row that this network cannot run, ModelNotFound for a variant."""
        self.check_plain(
            row,
            "a pixel-space network",
            ("input_convolution", "bank", "capture.attention_maps", "capture.keys_values"),
        )
        labels = self.description.num_class_labels
        if (row.class_label is None) != (labels == 0):
            raise InvalidInput("class_label", "goes with networks that have a class embedding, only and always")
        if row.class_label is not None and not 0 <= row.class_label < labels:
            raise InvalidInput("class_label", f"{row.class_label} is outside 0..{labels - 1}")
        check_names(row, self._module_names)

    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """The images themselves, (3, H, W) in [-1, 1], on the network's device and in its number type."""
        return [pixels.to(self.unet.device, self.unet.dtype) for pixels in pixel_values]

    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """The images themselves, (3, H, W)."""
        return list(latents)

    @frozen
    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        """The captures of each row, from one pass over rows of one height and width."""
        captured = with_noise_pred(rows, forward_rows(self.unet, rows, {}), "epsilon", self.alphas_cumprod)
        channels = self.description.latent_channels
        return [
            captures if captures.noise_pred is None else replace(captures, noise_pred=captures.noise_pred[:channels])
            for captures in captured
        ]

    @cached_property
    def _module_names(self) -> frozenset[str]:
        return frozenset(dict(self.unet.named_modules()))
