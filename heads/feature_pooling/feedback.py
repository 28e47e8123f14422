"""The feedback network (DifFeed): a second pass that starts with features of the first pass's decoder.

Source: arXiv:2311.17921; diffssl's ssl_diff/ssl_model_feedback_fusion.py. Evaluation only: no gradient goes through the
frozen network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.captures import forward_rows
from backbones.errors import InvalidInput
from backbones.pixel_diffusion import PixelDiffusion
from backbones.rows import Capture, UNetRow
from heads.feature_pooling.blocks import list_numbered_blocks


class FeedbackLayers(nn.ModuleList):
    """One small network for each decoder block fed back, from its width to that of its mirror. Parameters `{i}.{j}.*`.

    blocks: decoder block numbers, in the order of the layers. in_channels: width of each numbered block of the network.
    arch: letters, read one by one and "_" passed over: C a convolution without bias (1x1 where it is the first letter,
    else depthwise 3x3), B BatchNorm, G GroupNorm of 32 groups, R ReLU, S SiLU.
    Raises InvalidInput for other letters, and for blocks that are not in the decoder.
    """

    def __init__(self, blocks: Sequence[int], in_channels: Mapping[int, int], arch: str = "C_B_R") -> None:
        total = len(in_channels)
        for block in blocks:
            if not total // 2 + 1 < block <= total:
                raise InvalidInput("feedback_blocks", f"block {block} is not in the decoder of a network of {total}")
        super().__init__(
            nn.Sequential(*_feedback_layers(arch, in_channels[block], in_channels[mirror(block, total)]))
            for block in blocks
        )
        self.blocks = tuple(blocks)


def mirror(block: int, total: int) -> int:
    """The encoder block that a decoder block mirrors: the last one the first, and so on (38 - b of 37 blocks)."""
    return total + 1 - block


@torch.no_grad()
def feedback_features(
    backbone: PixelDiffusion,
    noised: Tensor,
    timestep: int,
    feedback: FeedbackLayers,
    *,
    first: Sequence[int] = (),
    second: Sequence[int] = (),
    class_labels: Sequence[int] | None = None,
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Feature maps of the plain first pass and of the second, whose encoder got feedback; by block number.

    noised: (B, 3, H, W), the same in both passes. first, second: block numbers wanted of each.
    Returns two dictionaries of (B, C, h, w).
    """
    names = list_numbered_blocks(backbone.description.sub_blocks)
    labels: Sequence[int | None] = class_labels or [None] * len(noised)

    def run(blocks: Sequence[int]) -> dict[int, Tensor]:
        capture = Capture(features=tuple(names[block - 1] for block in blocks))
        rows = [
            UNetRow(latents, timestep, None, capture, class_label=label)
            for latents, label in zip(noised, labels, strict=True)
        ]
        for row in rows:
            backbone.check(row)
        captures = forward_rows(backbone.unet, rows, {})
        return {block: torch.stack([capture.features[names[block - 1]] for capture in captures]) for block in blocks}

    seen = run([*dict.fromkeys([*feedback.blocks, *first])])
    added = {
        names[mirror(block, len(names)) - 1]: layer(seen[block])
        for block, layer in zip(feedback.blocks, feedback, strict=True)
    }
    with _added(backbone.unet, added):
        return {block: seen[block] for block in first}, run(second) if second else {}


@contextmanager
def _added(network: nn.Module, feedback: Mapping[str, Tensor]) -> Iterator[None]:
    """Add a map to the output of each named module, so that the next module and the skip connection both get the
    sum.
    """

    def hook(addition: Tensor, output: Tensor) -> Tensor:
        if addition.shape[-2:] != output.shape[-2:]:
            addition = functional.interpolate(addition, output.shape[-2:], mode="bilinear", align_corners=False)
        return output + addition.to(output)

    # Prepended, so that a capture of the same module sees the sum.
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, addition=addition: hook(addition, output), prepend=True
        )
        for name, addition in feedback.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _feedback_layers(arch: str, in_channels: int, out_channels: int) -> Iterator[nn.Module]:
    for position, letter in enumerate(arch):
        if letter == "C" and position == 0:
            yield nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        elif letter == "C":
            yield nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, groups=out_channels, bias=False)
        elif letter == "B":
            yield nn.BatchNorm2d(out_channels)
        elif letter == "G":
            yield nn.GroupNorm(32, out_channels)
        elif letter == "R":
            yield nn.ReLU()
        elif letter == "S":
            yield nn.SiLU()
        elif letter != "_":
            raise InvalidInput(
                "feedback_arch", f"unknown letter {letter!r} in {arch!r}", hint="use C, B, G, R, S and _"
            )
