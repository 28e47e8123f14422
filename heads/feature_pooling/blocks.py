"""Block numbers of the published system and the same blocks' diffusers names, for any U-Net of this family.

Numbers count from 1 in the order in which the network runs: 1 to 25 in Stable Diffusion (the middle is 13), 1 to 37 in
the published 256x256 network (the middle is 19).
"""

from __future__ import annotations

from collections.abc import Sequence

from backbones.errors import InvalidInput


def list_numbered_blocks(sub_blocks: Sequence[str]) -> tuple[str, ...]:
    """The modules that have a number, number 1 first.

    sub_blocks: all places of a U-Net in the order in which it computes them, as `Description.sub_blocks` gives them.

    A number stands for one block of the original's input and output lists: a residual block with its attention, if
    it has one, and in the decoder with its upsampler too. So the last sub-block of a decoder level has no number of its
    own before the upsampler; its name can be used instead.
    Source: `get_multiple_features` of diffssl's guided_diffusion/unet.py.
    """
    names = set(sub_blocks)
    numbered = []
    for name in sub_blocks:
        level, _, last = name.rpartition(".")
        level, _, kind = level.rpartition(".")
        if kind in ("resnets", "attentions"):
            attention, following = f"{level}.attentions.{last}", f"{level}.resnets.{int(last) + 1}"
            upsampled = following not in names and f"{level}.upsamplers.0" in names
            if level != "mid_block" and not upsampled and (kind == "attentions" or attention not in names):
                numbered.append(name)
        elif kind in ("downsamplers", "upsamplers") or name in ("conv_in", "mid_block"):
            numbered.append(name)
    return tuple(numbered)


def default_blocks(sub_blocks: Sequence[str]) -> tuple[str, ...]:
    """The middle, and the second sub-block of the decoder's second level: 13 and 18 in Stable Diffusion.

    The second is block 24 of the published 256x256 network, its best one. Networks with one level have the middle only.
    """
    second = [name for name in ("up_blocks.1.attentions.1", "up_blocks.1.resnets.1") if name in sub_blocks]
    return ("mid_block", *second[:1])


def resolve_blocks(blocks: Sequence[int | str] | None, sub_blocks: Sequence[str]) -> tuple[str, ...]:
    """Diffusers names of the requested blocks, in the order in which the network runs them.

    The order of `blocks` does not matter, and a block that is listed twice is read once, as in the original: features
    come out in the order of depth. None means `default_blocks`.
    Raises InvalidInput for a block that the network does not have, for none at all, and for a network without any.
    """
    if not sub_blocks:
        message = "the backbone is no U-Net: it has no blocks whose features could be read"
        raise InvalidInput("blocks", message, hint="use a server with a Stable Diffusion backbone")
    if blocks is None:
        return default_blocks(sub_blocks)
    if not blocks:
        raise InvalidInput("blocks", "no blocks", hint="name one at least, such as 'mid_block', or leave the field out")
    numbered = list_numbered_blocks(sub_blocks)
    wanted = {_name(block, numbered, sub_blocks) for block in blocks}
    return tuple(name for name in sub_blocks if name in wanted)


def _name(block: int | str, numbered: Sequence[str], sub_blocks: Sequence[str]) -> str:
    if isinstance(block, str) and not block.isdecimal():
        if block not in sub_blocks:
            raise InvalidInput(
                "blocks",
                f"the U-Net has no block {block!r}",
                hint=f"give a number, 1 to {len(numbered)}, or a diffusers name such as 'up_blocks.1.attentions.1'",
            )
        return block
    number = int(block)
    if not 1 <= number <= len(numbered):
        raise InvalidInput(
            "blocks",
            f"block {number} is outside 1..{len(numbered)}",
            hint="block 1 is the input convolution",
        )
    return numbered[number - 1]
