"""Load a guided-diffusion checkpoint (a flat state dict of its own key names) into a stock diffusers `UNet2DModel`.

guided-diffusion is the code of "Diffusion Models Beat GANs on Image Synthesis" (arXiv:2105.05233). Its networks compute
the same as the stock one; names and the row order of the attention projections differ.

For library use and conformance: `heads/feature_pooling` was published on these networks; see
`backbones/pixel_diffusion.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.errors import InvalidInput
from backbones.loading.weight_files import digest_of, fill, read_tensors
from backbones.pixel_diffusion import PixelDiffusion


@dataclass(frozen=True, slots=True)
class GuidedDiffusionFlags:
    """The original's command-line flags that shape the network; the file does not hold them.

    channel_mult: width of each level, finest first, as a multiple of num_channels. attention_factors: by how much the
    levels that attend are smaller than the image (image_size // side for each side of `--attention_resolutions`); the
    middle always attends. num_head_channels: width of an attention head; networks given by a number of heads instead
    are not supported. num_classes: size of the class embedding, 0 for none. learn_sigma: 6 output channels, else 3.
    """

    image_size: int
    num_channels: int
    channel_mult: tuple[float, ...]
    num_res_blocks: int
    attention_factors: tuple[int, ...]
    num_head_channels: int
    num_classes: int = 0
    learn_sigma: bool = True
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    use_new_attention_order: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(int(multiple * self.num_channels) for multiple in self.channel_mult)

    @property
    def attends(self) -> tuple[bool, ...]:
        """Whether each level has attention, finest first; level i is smaller than the image by 2^i."""
        return tuple(2**level in self.attention_factors for level in range(len(self.channel_mult)))


PUBLISHED_256 = GuidedDiffusionFlags(
    image_size=256,
    num_channels=256,
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_factors=(8, 16, 32),
    num_head_channels=64,
)
"""`256x256_diffusion_uncond.pt`: the network of "Diffusion Models Beat GANs on Image Classification"."""

PUBLISHED_256_CONDITIONAL = GuidedDiffusionFlags(
    image_size=256,
    num_channels=256,
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_factors=(8, 16, 32),
    num_head_channels=64,
    num_classes=1000,
)
"""`256x256_diffusion.pt`."""

PUBLISHED_512 = GuidedDiffusionFlags(
    image_size=512,
    num_channels=256,
    channel_mult=(0.5, 1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_factors=(16, 32, 64),
    num_head_channels=64,
    num_classes=1000,
)
"""`512x512_diffusion.pt`, class-conditional."""


def load_guided_diffusion(
    file: Path,
    flags: GuidedDiffusionFlags = PUBLISHED_256,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    name: str = "",
) -> PixelDiffusion:
    """A pixel-space backbone from a guided-diffusion file: `.safetensors`, or `.pt` read with `weights_only=True`.

    Raises ModelNotFound if there is no such file, CheckpointError where it is damaged or does not fit the flags.
    """
    network = build_network(flags, torch.device("meta"))
    hint = "give the flags that the checkpoint was trained with"
    fill(network, stock_state(read_tensors(file), flags), file, dtype, hint=hint)
    return PixelDiffusion(name=name or file.stem, unet=network.to(device), revision=digest_of(file, repr(flags)))


def build_network(flags: GuidedDiffusionFlags, device: torch.device) -> nn.Module:
    """The stock network with random weights; on the meta device it takes no memory.

    Raises InvalidInput for flags that no network can have.
    """
    from diffusers import UNet2DModel  # takes seconds: only what loads a model pays for it
    from diffusers.models.embeddings import TimestepEmbedding

    wrong = [width for width in flags.widths if width % 32 or width % max(flags.num_head_channels, 1)]
    if flags.num_head_channels < 1 or wrong:
        raise InvalidInput(
            "flags",
            f"levels of {flags.widths} channels, heads of {flags.num_head_channels}",
            hint="every level's width must be a multiple of 32 and of num_head_channels",
        )
    with device:
        network: Any = UNet2DModel(**stock_config(flags))  # type: ignore[no-untyped-call]
        # Stock ties the sinusoid's width to the finest level's; the original to num_channels, which can be wider.
        network.time_proj = sinusoid(flags.num_channels)
        network.time_embedding = TimestepEmbedding(flags.num_channels, 4 * flags.num_channels)
    built: nn.Module = network.eval()
    return built


def sinusoid(width: int) -> Any:
    """The module that turns timesteps (B,) into [cos(t f), sin(t f)] of (B, width), f from 1 down to nearly 1/10000."""
    from diffusers.models.embeddings import Timesteps

    return Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)


def stock_config(flags: GuidedDiffusionFlags) -> dict[str, Any]:
    """Arguments of the `UNet2DModel` that computes what the original network does."""
    plain_down, plain_up = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        if flags.resblock_updown
        else ("DownBlock2D", "UpBlock2D")  # these two would silently ignore downsample_type="resnet"
    )
    sampler = "resnet" if flags.resblock_updown else "conv"
    return {
        "sample_size": flags.image_size,
        "in_channels": 3,
        "out_channels": 6 if flags.learn_sigma else 3,
        "block_out_channels": flags.widths,
        "layers_per_block": flags.num_res_blocks,
        "down_block_types": tuple("AttnDownBlock2D" if attends else plain_down for attends in flags.attends),
        "up_block_types": tuple("AttnUpBlock2D" if attends else plain_up for attends in reversed(flags.attends)),
        "downsample_type": sampler,
        "upsample_type": sampler,
        "attention_head_dim": flags.num_head_channels,
        "norm_num_groups": 32,
        # Without it, stock leaves out the middle attention's norm when resnet_time_scale_shift is "scale_shift".
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift" if flags.use_scale_shift_norm else "default",
        "time_embedding_dim": 4 * flags.num_channels,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "num_class_embeds": flags.num_classes or None,
    }


def stock_state(state: Mapping[str, Tensor], flags: GuidedDiffusionFlags) -> dict[str, Tensor]:
    """The original's state dict under the stock network's key names; keys that are not the original's stay as they are.

    state: key -> tensor of any shape, the original's, on any device, also meta. Returns key -> tensor, stock shapes.
    """
    modules = dict(_modules(flags))
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        module, _, parameter = key.rpartition(".")
        stock = modules.get(module)
        if stock is None:
            renamed[key] = tensor
        elif stock.endswith(".qkv"):
            rows = _split_qkv(tensor, flags)
            renamed |= {
                f"{stock.removesuffix('.qkv')}.{part}.{parameter}": row for part, row in zip(_QKV, rows, strict=True)
            }
        else:
            renamed[f"{stock}.{parameter}"] = tensor.squeeze(-1) if stock.endswith(".to_out.0") else tensor
    return renamed


_QKV = ("to_q", "to_k", "to_v")

_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "qkv": "qkv", "proj_out": "to_out.0"}


def _split_qkv(tensor: Tensor, flags: GuidedDiffusionFlags) -> tuple[Tensor, ...]:
    """Query, key and value rows, (C, ...) each, of a joint projection's (3 C, ...) weight or bias."""
    if tensor.ndim == 3:  # a convolution over one token
        tensor = tensor.squeeze(-1)
    if flags.use_new_attention_order:  # rows grouped [q, k, v][head][channel]
        return tensor.chunk(3)
    if len(tensor) % (3 * flags.num_head_channels):
        # Flags of another network: not split, so that the keys are reported as mis-shaped.
        return (tensor, tensor, tensor)
    grouped = tensor.reshape(-1, 3, flags.num_head_channels, *tensor.shape[1:])  # [head][q, k, v][channel]
    return tuple(part.flatten(0, 1) for part in grouped.unbind(1))


def _modules(flags: GuidedDiffusionFlags) -> Iterator[tuple[str, str]]:
    """Original and stock name of each module that holds weights."""
    yield from (("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"))
    yield from (("label_emb", "class_embedding"), ("input_blocks.0.0", "conv_in"))
    yield from (("out.0", "conv_norm_out"), ("out.2", "conv_out"))
    yield from _pairs("middle_block.0", "mid_block.resnets.0", _RESIDUAL)
    yield from _pairs("middle_block.1", "mid_block.attentions.0", _ATTENTION)
    yield from _pairs("middle_block.2", "mid_block.resnets.1", _RESIDUAL)
    per_level, levels = flags.num_res_blocks + 1, len(flags.channel_mult)
    for level, attends in enumerate(flags.attends):
        stock = f"down_blocks.{level}"
        for index in range(flags.num_res_blocks):
            original = f"input_blocks.{1 + per_level * level + index}"
            yield from _pairs(f"{original}.0", f"{stock}.resnets.{index}", _RESIDUAL)
            if attends:
                yield from _pairs(f"{original}.1", f"{stock}.attentions.{index}", _ATTENTION)
        if level < levels - 1:
            original = f"input_blocks.{per_level * (level + 1)}.0"
            yield f"{original}.op", f"{stock}.downsamplers.0.conv"
            yield from _pairs(original, f"{stock}.downsamplers.0", _RESIDUAL)
    for level, attends in enumerate(reversed(flags.attends)):
        stock = f"up_blocks.{level}"
        for index in range(per_level):
            original = f"output_blocks.{per_level * level + index}"
            yield from _pairs(f"{original}.0", f"{stock}.resnets.{index}", _RESIDUAL)
            if attends:
                yield from _pairs(f"{original}.1", f"{stock}.attentions.{index}", _ATTENTION)
        if level < levels - 1:
            # The upsampler is the last child of the level's last sub-block, behind the attention if there is one.
            original = f"output_blocks.{per_level * level + flags.num_res_blocks}.{2 if attends else 1}"
            yield f"{original}.conv", f"{stock}.upsamplers.0.conv"
            yield from _pairs(original, f"{stock}.upsamplers.0", _RESIDUAL)


def _pairs(original: str, stock: str, parts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((f"{original}.{key}", f"{stock}.{value}") for key, value in parts.items())
