"""The encoder of `pocket`: principal components of image patches, written into the layers of a stock VAE encoder.

On few cores a VAE's encoder is the slowest part to train. The best linear encoder has a closed form, and a stock
encoder can compute it exactly. So the encoder is not trained, latents exist before any training, and the decoder and
the U-Net can be trained at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from backbones.loading.weight_files import write_tensors
from training.datasets.captioned import Image
from training.stock import AutoencoderKL

PATCH = 8
"""Side in pixels of the patch of one latent position, without overlap."""

_LEVEL = 128.0  # Constant channels of this size make the encoder's last group norm a fixed scaling, see set_encoder.
_LOG_VARIANCE = -6.0


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """mean: (3, 8, 8) of all patches, in -1..1. weights: (C, 3, 8, 8): latent = sum of weights * (patch - mean).

    spread: (C,), standard deviation of each latent, unless that is below 0.1.
    """

    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    spread: NDArray[np.float64]


def principal_components(images: Iterable[Image], count: int) -> Components:
    """The `count` directions in which 8 x 8 patches of `images` vary most, scaled to the square roots of their spreads.

    Full whitening would give rare fine detail the same weight as light and colours.

    images: (H, W, 3) uint8 RGB, sides multiples of 8.

    Source: Pearson, On Lines and Planes of Closest Fit to Systems of Points in Space (1901).
    """
    total, sums, products = 0, np.zeros(3 * PATCH**2), np.zeros((3 * PATCH**2, 3 * PATCH**2))
    for image in images:
        patches = _patches(image)
        total += len(patches)
        sums += patches.sum(axis=0)
        products += patches.T @ patches
    mean = sums / total
    variances, directions = np.linalg.eigh(products / total - np.outer(mean, mean))
    best = np.argsort(variances)[::-1][:count]
    # Of a direction and its opposite, the one with the larger positive part is used, so that the sign is determined.
    chosen = directions[:, best].T
    chosen *= np.sign(chosen.sum(axis=1, keepdims=True) + 1e-12)
    # Directions with nearly no variation keep a small scale; amplified, they would be rounding errors in half
    # precision.
    spread = np.maximum(variances[best], 1e-4) ** 0.25
    shape = (count, 3, PATCH, PATCH)
    return Components(mean.reshape(shape[1:]), (chosen / spread[:, None]).reshape(shape), spread)


def save_components(components: Components, path: Path) -> None:
    """Writes them as float64 safetensors."""
    tensors = {"mean": components.mean, "weights": components.weights, "spread": components.spread}
    write_tensors({name: torch.from_numpy(array) for name, array in tensors.items()}, path)


def load_components(path: Path) -> Components:
    """The components that `save_components` wrote. Raises FileNotFoundError if there are none."""
    tensors = load_file(path)
    return Components(tensors["mean"].numpy(), tensors["weights"].numpy(), tensors["spread"].numpy())


def _patches(image: Image) -> NDArray[np.float64]:
    height, width, _ = image.shape
    values = image.astype(np.float64) / 127.5 - 1.0
    cut = values.reshape(height // PATCH, PATCH, width // PATCH, PATCH, 3)
    return cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3 * PATCH**2)


@torch.no_grad()
def set_encoder(autoencoder: AutoencoderKL, components: Components) -> None:
    """Makes the encoder of a four-level stock VAE compute `components` exactly, up to float rounding, and freezes it.

    Three strided convolutions sum the patch's 2 x 2 parts level by level, and residual branches add nothing. The last
    group norm would remove each image's own brightness. So it gets signals in pairs of opposite sign among large
    constants: then it scales by a constant, and silu(x) - silu(-x) = x undoes the activation.

    Raises ValueError if the widths are too small: 12, 4 C, and 2 C plus as many constants are needed.
    """
    encoder = autoencoder.encoder
    count = len(components.weights)
    first, second, third, last = (int(width) for width in autoencoder.config.block_out_channels)
    groups = int(autoencoder.config.norm_num_groups)
    signals, a_group = 2 * count // groups, last // groups
    if first < 12 or second < 4 * count or third < 2 * count or 2 * count % groups or a_group < 2 * signals:
        raise ValueError(f"widths {(first, second, third, last)} are too small for {count} latent channels")
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    for name, module in encoder.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        if name.endswith("conv_shortcut"):
            _set(module, {(channel, channel): 1.0 for channel in range(min(module.weight.shape[:2]))})
    _set(encoder.conv_in, {(channel, channel): 1.0 for channel in range(3)})
    downs = [encoder.down_blocks[level].downsamplers[0].conv for level in range(3)]
    parts = [(row, column) for row in range(2) for column in range(2)]
    # Pixels of a 2 x 2 patch side by side: channel = part * 3 + colour.
    _set(downs[0], {(part * 3 + c, c, *at): 1.0 for part, at in enumerate(parts) for c in range(3)})
    _set(downs[1], _quarter_shares(components, parts))
    # The four shares are summed, each from its own position; each signal has its opposite, and constants fill the
    # groups.
    sums: dict[tuple[int, ...], float] = {}
    offsets = -(components.weights * components.mean).sum(axis=(1, 2, 3))
    constants = np.zeros(last)
    for signal in range(2 * count):
        k, sign = signal // 2, 1.0 - 2.0 * (signal % 2)
        channel = _signal_channel(signal, signals, a_group)
        constants[channel] = sign * offsets[k]
        for place, at in enumerate(parts):
            sums[channel, place * count + k, *at] = sign
    for group in range(groups):
        filled = np.arange(group * a_group + signals, (group + 1) * a_group)
        constants[filled] = _LEVEL * (1.0 - 2.0 * (np.arange(len(filled)) % 2))
    _set(downs[2], sums, constants)
    # With an even number of constants their mean is 0, and the norm divides by this deviation.
    deviation = _LEVEL * np.sqrt((a_group - signals) / a_group)
    encoder.conv_norm_out.weight.fill_(float(deviation))
    encoder.conv_norm_out.bias.zero_()
    ends: dict[tuple[int, ...], float] = {}
    for signal in range(2 * count):
        ends[signal // 2, _signal_channel(signal, signals, a_group)] = 1.0 - 2.0 * (signal % 2)
    _set(encoder.conv_out, ends, np.array([0.0] * count + [_LOG_VARIANCE] * count))
    _set(autoencoder.quant_conv, {(channel, channel): 1.0 for channel in range(2 * count)})
    autoencoder.quant_conv.requires_grad_(False)


def _quarter_shares(components: Components, parts: list[tuple[int, int]]) -> dict[tuple[int, ...], float]:
    """Each component's share in a 4 x 4 patch, for each position of that patch in the 8 x 8 one.

    parts: (row, column) of the pixels of a 2 x 2 patch.
    """
    count = len(components.weights)
    shares: dict[tuple[int, ...], float] = {}
    for place, (down, right) in enumerate(parts):
        for at in parts:
            for inner, (row, column) in enumerate(parts):
                y, x = 4 * down + 2 * at[0] + row, 4 * right + 2 * at[1] + column
                for k in range(count):
                    for c in range(3):
                        shares[place * count + k, inner * 3 + c, *at] = float(components.weights[k, c, y, x])
    return shares


def _signal_channel(signal: int, signals: int, a_group: int) -> int:
    """The channel of a signal if each group has `signals` of them first."""
    return signal // signals * a_group + signal % signals


def _set(
    convolution: nn.Conv2d, weights: dict[tuple[int, ...], float], bias: NDArray[np.float64] | None = None
) -> None:
    """All weights zero but these: (output, input, row, column), or (output, input) at the kernel's middle."""
    convolution.weight.zero_()
    middle = convolution.kernel_size[0] // 2
    for (output, source, *at), weight in weights.items():
        row, column = at or (middle, middle)
        convolution.weight[output, source, row, column] = weight
    assert convolution.bias is not None
    convolution.bias.copy_(torch.zeros_like(convolution.bias) if bias is None else torch.from_numpy(bias))


@torch.no_grad()
def set_decoder_start(autoencoder: AutoencoderKL, components: Components) -> None:
    """Initialises a stock decoder with the colour of each patch, and with residual branches that hardly change it.

    From there it learns detail. From random weights, it first spends thousands of steps on learning brightness through
    norms.

    Raises ValueError if the first widths are too small or equal.
    """
    decoder = autoencoder.decoder
    widths = [int(width) for width in reversed(autoencoder.config.block_out_channels)]
    pinned = int(decoder.conv_norm_out.num_channels // decoder.conv_norm_out.num_groups)
    groups = int(decoder.conv_norm_out.num_groups)
    if pinned * groups // 2 < 6 or widths[-1] == widths[-2]:
        raise ValueError(f"first widths {widths[:-3:-1]}: 12 or more, then another, or the colours find no way through")
    _set(autoencoder.post_quant_conv, {(k, k): 1.0 for k in range(len(components.weights))})
    for name, module in decoder.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            module.weight.mul_(0.01)
            nn.init.zeros_(module.bias)
    # Channels 0 to 2 carry red, green and blue through; each other channel keeps torch's initial weights.
    colours = components.mean.mean(axis=(1, 2))
    rebuilt = components.weights.mean(axis=(2, 3)) * components.spread[:, None] ** 2
    for c in range(3):
        decoder.conv_in.weight[c] = 0.0
        decoder.conv_in.weight[c, :, 1, 1] = torch.from_numpy(rebuilt[:, c])
        decoder.conv_in.bias[c] = float(colours[c])
        for level in range(3):
            _only(decoder.up_blocks[level].upsamplers[0].conv, c, {c: 1.0})
        for level in range(1, 3):
            shortcut = decoder.up_blocks[level].resnets[0].conv_shortcut
            if shortcut is not None:
                _only(shortcut, c, {c: 1.0})
    # In each group of the last norm, half of the channels are large constants, so its divisor hardly changes.
    signals = [channel for channel in range(groups * pinned) if channel % pinned < pinned // 2]
    final = decoder.up_blocks[3].resnets[0].conv_shortcut
    constant = 8.0
    for channel in range(groups * pinned):
        if channel not in signals:
            _only(final, channel, {}, constant * (1.0 if channel % 2 else -1.0))
    deviation = constant * 0.5**0.5
    decoder.conv_norm_out.weight.fill_(deviation)
    decoder.conv_out.weight.mul_(0.01)
    decoder.conv_out.bias.zero_()
    for c in range(3):
        for sign, channel in ((1.0, signals[2 * c]), (-1.0, signals[2 * c + 1])):
            _only(final, channel, {c: sign})
            decoder.conv_out.weight[c, channel, 1, 1] = sign


def _only(convolution: nn.Conv2d, output: int, weights: dict[int, float], bias: float = 0.0) -> None:
    """One output channel reads only these inputs, at the kernel's middle."""
    middle = convolution.kernel_size[0] // 2
    convolution.weight[output] = 0.0
    for input_channel, weight in weights.items():
        convolution.weight[output, input_channel, middle, middle] = weight
    assert convolution.bias is not None
    convolution.bias[output] = bias


def patch_latents(components: Components, images: Tensor) -> Tensor:
    """The encoder's mean, by one convolution. images: (B, 3, H, W), -1..1. Returns (B, C, H/8, W/8) float32."""
    weights = torch.from_numpy(components.weights).float()
    offset = -(weights * torch.from_numpy(components.mean).float()).sum(dim=(1, 2, 3))
    return nn.functional.conv2d(images, weights, offset, stride=PATCH)
