"""VPD's depth network on four feature maps, under the original's parameter names.

Source: `depth/models_depth/model.py` of wl-zhao/VPD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.errors import CheckpointError
from heads.vpd.features import TextAdapter

_GROUPS = 16
CELL = 32
"""Pixels to a cell of the encoder's output: three doublings by deconvolution, two by interpolation."""


class FeatureEncoder(nn.Module):
    """Four maps to one at stride 32. channels: of the maps, finest first. scenes, text_width: of the embeddings."""

    def __init__(self, channels: Sequence[int], out_channels: int, scenes: int, text_width: int) -> None:
        super().__init__()
        fine, middle, coarse = channels[0], channels[1], channels[2] + channels[3]
        self.layer1 = nn.Sequential(
            nn.Conv2d(fine, fine, 3, stride=2, padding=1),
            nn.GroupNorm(_GROUPS, fine),
            nn.ReLU(),
            nn.Conv2d(fine, fine, 3, stride=2, padding=1),
        )
        self.layer2 = nn.Sequential(nn.Conv2d(middle, middle, 3, stride=2, padding=1))
        self.out_layer = nn.Sequential(
            nn.Conv2d(fine + middle + coarse, out_channels, 1), nn.GroupNorm(_GROUPS, out_channels), nn.ReLU()
        )
        self.text_adapter = TextAdapter(text_width)
        self.gamma = nn.Parameter(torch.full((text_width,), 1e-4))
        self.class_embeddings: Tensor
        self.register_buffer("class_embeddings", torch.zeros(scenes, text_width))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """features: (B, C, h, w) float32, finest first. Returns (B, out_channels, h2, w2), as large as the third."""
        fine, middle, coarse, coarsest = features
        # Odd sides are cut; published sizes have none.
        height, width = coarse.shape[-2:]
        doubled = functional.interpolate(coarsest, scale_factor=2.0, mode="nearest")[..., :height, :width]
        joined = torch.cat([self.layer1(fine), self.layer2(middle), coarse, doubled], dim=1)
        encoded: Tensor = self.out_layer(joined)
        return encoded


class DepthDecoder(nn.Module):
    """Deconvolutions, then one convolution and two doublings: stride 32 to 1."""

    def __init__(self, in_channels: int, widths: Sequence[int], kernels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for width, kernel in zip(widths, kernels, strict=True):
            padding, output_padding = {2: (0, 0), 3: (1, 1), 4: (1, 0)}[kernel]
            layers += [
                nn.ConvTranspose2d(before, width, kernel, 2, padding, output_padding, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.deconv_layers = nn.Sequential(*layers)
        self.conv_layers = nn.Sequential(
            nn.Conv2d(before, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()
        )

    def forward(self, encoded: Tensor) -> Tensor:
        """(B, C, h, w) float32 -> (B, out_channels, 32 h, 32 w)."""
        decoded: Tensor = self.conv_layers(self.deconv_layers(encoded))
        for _ in range(2):
            decoded = functional.interpolate(decoded, scale_factor=2.0, mode="bilinear", align_corners=False)
        return decoded


class DepthNetwork(nn.Module):
    """All of the head: encoder, decoder and the last layer."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        encoder_channels: int,
        deconv_channels: Sequence[int],
        deconv_kernels: Sequence[int],
        decoder_channels: int,
        scenes: int,
        text_width: int,
    ) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(channels, encoder_channels, scenes, text_width)
        self.decoder = DepthDecoder(encoder_channels, deconv_channels, deconv_kernels, decoder_channels)
        self.last_layer_depth = nn.Sequential(
            nn.Conv2d(decoder_channels, decoder_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(decoder_channels, 1, 3, padding=1),
        )

    def contexts(self) -> Tensor:
        """The U-Net's text contexts: (scenes, D), adapted, one row a scene."""
        adapted: Tensor = self.encoder.text_adapter(self.encoder.class_embeddings, self.encoder.gamma)
        return adapted

    def decode(self, encoded: Tensor, size: tuple[int, int], max_metres: float) -> Tensor:
        """Metres (B, height, width) from the encoder's output (B, C, h, w).

        The picture was padded right and below to whole cells of the coarsest level; cells without a pixel of the
        picture are cut before decoding, as in the original, and the remaining padding after it.
        """
        height, width = size
        kept = encoded[..., : math.ceil(height / CELL), : math.ceil(width / CELL)]
        depth = torch.sigmoid(self.last_layer_depth(self.decoder(kept))) * max_metres
        return depth[:, 0, :height, :width]

    def forward(self, features: Sequence[Tensor], size: tuple[int, int], max_metres: float) -> Tensor:
        """features: four of (B, C, h, w) float32, finest first. Returns metres, (B, height, width)."""
        return self.decode(self.encoder(features), size, max_metres)


def depth_network(shapes: Mapping[str, Tensor], source: object) -> DepthNetwork:
    """The network whose weights these are: original name -> tensor of any shape; values are not read.

    Raises CheckpointError if a tensor is missing that determines a size.
    """

    def shape(key: str) -> torch.Size:
        if key not in shapes:
            raise CheckpointError(source, "this is no VPD depth network", missing=[key])
        return shapes[key].shape

    fine, middle = shape("encoder.layer1.0.weight")[1], shape("encoder.layer2.0.weight")[1]
    out_layer = shape("encoder.out_layer.0.weight")
    deconvs = [shape(f"decoder.deconv_layers.{3 * index}.weight") for index in range(3)]
    scenes, text_width = shape("encoder.class_embeddings")
    with torch.device("meta"):
        return DepthNetwork(
            (fine, middle, out_layer[1] - fine - middle, 0),
            encoder_channels=out_layer[0],
            deconv_channels=[deconv[1] for deconv in deconvs],
            deconv_kernels=[deconv[2] for deconv in deconvs],
            decoder_channels=shape("decoder.conv_layers.0.weight")[0],
            scenes=scenes,
            text_width=text_width,
        )
