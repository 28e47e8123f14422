"""The published classifiers on feature maps, under the parameter names of their checkpoints.

Source: diffssl's ssl_diff/head.py, attention_head.py, attention_fusion.py (arXiv:2307.08702 and arXiv:2311.17921).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.errors import InvalidInput
from heads.feature_pooling.pooling import pool


class PooledHead(nn.Module):
    """Average pooling, then linear layers with ReLU between: the linear and MLP heads. Parameters `fcs.0` .. `fcs.n`.

    in_channels: of the feature map. pool_size: side of the pooling grid. hidden: widths of hidden layers, none for the
    linear head.
    """

    def __init__(self, in_channels: int, pool_size: int, num_classes: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        self.pool_size = pool_size
        widths = [in_channels * pool_size**2, *hidden, num_classes]
        self.fcs = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, num_classes) of feature maps (B, C, h, w)."""
        hidden = pool(features, self.pool_size)
        for index, layer in enumerate(self.fcs):
            hidden = layer(hidden if index == 0 else functional.relu(hidden))
        return hidden


def hidden_widths(head_arc: str) -> tuple[int, ...]:
    """Widths of hidden layers as the original's `--head_arc` writes them: "" or "2048" or "2048_2048".

    Raises InvalidInput for any other text.
    """
    parts = head_arc.split("_") if head_arc else []
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InvalidInput("head_arc", f"{head_arc!r}", hint="write widths joined by '_', such as '2048_2048'")
    return tuple(int(part) for part in parts)


class AttentionHead(nn.Module):
    """Layers written as text, such as "Use_CLS_Token:True:1024,Pool:2:2,Reshape,Insert_CLS_Token,Attention:1024:8:4:1,
    Extract_CLS_Token,Dense:1024:1000:identity". Parameters `cls_token` and `layers.{i}`.

    Words, separated by commas: `Use_CLS_Token:True:width` makes the class token; `Pool:size:stride` averages; `Reshape`
    (B, C, h, w) -> (B, h w, C); `Insert_CLS_Token` puts the class token first; `Attention:width:heads:ratio:n` adds n
    transformer blocks; `Extract_CLS_Token` takes the first token; `FullyPool` averages tokens; `Flatten`;
    `Dense:in:out:activation` with relu, sigmoid, tanh or identity.

    ignore_unknown: skip words that are none of these, as the original does in silence, to load what it trained.
    Raises InvalidInput for unknown words and for numbers that do not fit together.
    """

    def __init__(self, layer_string: str, *, ignore_unknown: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = class_token_width(layer_string)
        if width:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        for definition in _definitions(layer_string):
            word, *arguments = definition.split(":")
            if word not in _WORDS:
                if ignore_unknown:
                    continue
                raise InvalidInput("layers", f"unknown word {word!r}", hint=f"the words are {', '.join(_WORDS)}")
            if word == "Insert_CLS_Token" and not width:
                raise InvalidInput("layers", "Insert_CLS_Token without a class token", hint="add Use_CLS_Token first")
            try:
                layers += self._layers(word, arguments)
            except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
                raise InvalidInput("layers", f"{definition!r} does not read as {_WORDS[word]!r}") from error
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Whatever the layers make of a map (B, C, h, w) or tokens (B, L, D): most often logits (B, classes)."""
        outputs: Tensor = self.layers(inputs)
        return outputs

    def _layers(self, word: str, arguments: Sequence[str]) -> list[nn.Module]:
        if word == "Pool":
            return [nn.AvgPool2d(int(arguments[0]), stride=int(arguments[1]))]
        if word == "Attention":
            width, heads, ratio, count = int(arguments[0]), int(arguments[1]), float(arguments[2]), int(arguments[3])
            return [TransformerBlock(width, heads, ratio) for _ in range(count)]
        if word == "Dense":
            return [nn.Linear(int(arguments[0]), int(arguments[1])), *_ACTIVATIONS[arguments[2]]()]
        if word == "Insert_CLS_Token":
            return [_Function(self._with_class_token)]
        # These hold no parameters, but each takes an index in the names of those that follow.
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "Reshape": lambda maps: maps.flatten(2).transpose(1, 2),
            "Extract_CLS_Token": lambda tokens: tokens[:, 0],
            "FullyPool": lambda tokens: tokens.mean(dim=1),
            "Flatten": lambda inputs: inputs.flatten(1),
        }
        return [_Function(functions[word])] if word in functions else []

    def _with_class_token(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)


def class_token_width(layer_string: str) -> int:
    """Width of the class token that a layer text makes, 0 if it makes none.

    Any flag makes one, "False" too: the original reads it as a text that is not empty.
    Raises InvalidInput if the width is no number.
    """
    for definition in _definitions(layer_string):
        word, *arguments = definition.split(":")
        if word == "Use_CLS_Token":
            if len(arguments) != 2 or not arguments[1].isdecimal() or not int(arguments[1]):
                raise InvalidInput("layers", f"{definition!r} does not read as {_WORDS[word]!r}")
            return int(arguments[1])
    return 0


class AttentionFusion(nn.Module):
    """Tokens of several blocks through one transformer to a class token, of several timesteps to one linear layer.

    Parameters `pre_layer.{block}.1` and `.2`, `intra_inter_block_attention.*`, `head.*`.

    blocks: block numbers in the order of `forward`; those of the first pass before those of the second. A number that
    comes twice has one set of weights. in_channels, in_size: channels and side of each block's feature map.
    timesteps: how many. pre_pool_size: maps larger than this are averaged to it. fusion_arc: an `AttentionHead` text
    that makes a class token; what follows a "/" is not read. norm_type: LayerNorm over a whole map, or BatchNorm.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        in_channels: Mapping[int, int],
        in_size: Mapping[int, int],
        *,
        num_classes: int,
        fusion_arc: str,
        timesteps: int = 1,
        pre_pool_size: int = 16,
        norm_type: Literal["layer", "batch"] = "layer",
        ignore_unknown: bool = False,
    ) -> None:
        super().__init__()
        if norm_type not in ("layer", "batch"):
            raise InvalidInput("norm_type", f"{norm_type!r}", hint="send 'layer' or 'batch'")
        layers = fusion_arc.split("/")[0]
        width = class_token_width(layers)
        if not width:
            raise InvalidInput("fusion_arc", f"{layers!r} makes no class token", hint="begin with Use_CLS_Token:True:D")
        self.blocks = tuple(blocks)
        self.timesteps = timesteps
        self.pre_layer = nn.ModuleDict()
        for block in dict.fromkeys(blocks):
            channels, side = in_channels[block], min(in_size[block], pre_pool_size)
            norm = nn.LayerNorm([channels, side, side]) if norm_type == "layer" else nn.BatchNorm2d(channels)
            self.pre_layer[str(block)] = nn.Sequential(
                nn.AdaptiveAvgPool2d(side), norm, nn.Conv2d(channels, width, kernel_size=1)
            )
        self.intra_inter_block_attention = AttentionHead(layers, ignore_unknown=ignore_unknown)
        self.head = nn.Linear(width * timesteps, num_classes)

    def forward(self, *features: Tensor) -> Tensor:
        """Logits (B, num_classes) of maps (B, C, h, w): all blocks of the first timestep, then those of the next."""
        vectors = []
        for step in range(self.timesteps):
            maps = features[step * len(self.blocks) : (step + 1) * len(self.blocks)]
            tokens = [
                self.pre_layer[str(block)](feature.float()).flatten(2).transpose(1, 2)
                for block, feature in zip(self.blocks, maps, strict=True)
            ]
            vectors.append(self.intra_inter_block_attention(torch.cat(tokens, dim=1)))
        logits: Tensor = self.head(torch.cat(vectors, dim=1))
        return logits


class TransformerBlock(nn.Module):
    """Self-attention and an MLP of ratio x width, each behind a LayerNorm and added to what came in."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, int(width * ratio)))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(int(width * ratio), width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class SelfAttention(nn.Module):
    """Multi-head self-attention with one joint projection, without bias, whose rows are [q, k, v][head][channel]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise InvalidInput("layers", f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        batch, length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, length, width))
        return projected


class _Function(nn.Module):
    """A layer without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


_WORDS = {
    "Use_CLS_Token": "Use_CLS_Token:True:width",
    "Pool": "Pool:size:stride",
    "Reshape": "Reshape",
    "Insert_CLS_Token": "Insert_CLS_Token",
    "Attention": "Attention:width:heads:ratio:n",
    "Extract_CLS_Token": "Extract_CLS_Token",
    "FullyPool": "FullyPool",
    "Flatten": "Flatten",
    "Dense": "Dense:in:out:activation",
}
_ACTIVATIONS: dict[str, Callable[[], list[nn.Module]]] = {
    "relu": lambda: [nn.ReLU()],
    "sigmoid": lambda: [nn.Sigmoid()],
    "tanh": lambda: [nn.Tanh()],
    "identity": list,
}


def _definitions(layer_string: str) -> list[str]:
    return [definition.strip() for definition in layer_string.split(",")]
