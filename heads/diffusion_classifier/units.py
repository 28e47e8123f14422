"""Units (timestep, noise), their blocks, and the looks at which labels may be dropped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Layout:
    """A fixed population of units (timestep, noise), and the order of work over it.

    units: how many there are, evenly spread over the training steps. blocks: divides `units`; block b is the even comb
    of units b, b + blocks, b + 2 blocks, ... looks: after how many visited blocks labels may be dropped, ascending, at
    least 2 and fewer than `blocks`. The end, after all blocks, is not a look: the answer is exact then.
    """

    units: int
    blocks: int
    looks: tuple[int, ...]

    @property
    def block_units(self) -> int:
        """Units of one block."""
        return self.units // self.blocks


def default_layout(hypotheses: int, training_steps: int = 1000) -> Layout:
    """Blocks of two units, looks at 8, 16, 32, ... blocks; beyond 200 hypotheses 1000 units and looks from 16 on.

    Chosen among the layouts whose rows docs/zero-shot.md lists. With many hypotheses the corrected level lies far
    out in the tail, where eight blocks are too few for the t statistic to be trusted.
    """
    many = hypotheses > 200
    units = min(1000 if many else 500, training_steps)
    blocks = max(1, units // 2)
    size = units // blocks
    return Layout(blocks * size, blocks, doubling_looks(16 if many else 8, blocks))


def doubling_looks(first: int, blocks: int) -> tuple[int, ...]:
    """Looks after `first` blocks, twice as many, and so on, up to three fifths of all blocks."""
    looks = []
    while 5 * first <= 3 * blocks:
        looks.append(first)
        first *= 2
    return tuple(looks)


def check_layout(layout: Layout, training_steps: int) -> None:
    """Raises InvalidInput for a layout that cannot be visited."""
    if not 1 <= layout.units <= training_steps:
        raise InvalidInput("layout", f"{layout.units} units", hint=f"1 to {training_steps}, the training steps")
    if layout.blocks < 1 or layout.units % layout.blocks:
        # Blocks of unequal size would not average to the mean over all units.
        raise InvalidInput("layout", f"{layout.blocks} blocks do not divide {layout.units} units", hint="use a divisor")
    looks = layout.looks
    if list(looks) != sorted(set(looks)) or any(not 2 <= look < layout.blocks for look in looks):
        raise InvalidInput("layout", f"looks {list(looks)}", hint=f"ascending, 2 to {layout.blocks - 1}")


def timestep_of(unit: int, units: int, training_steps: int = 1000) -> int:
    """The middle of the unit's share of the training steps; units may be any number up to `training_steps`.

    For numbers that divide 1000 these are the timesteps of Diffusion Classifier's last round: 1, 3, ..., 999 of 500.
    """
    return (2 * unit + 1) * training_steps // (2 * units)


def units_of(layout: Layout, block: int) -> list[int]:
    """The units of a block, ascending."""
    return list(range(block, layout.units, layout.blocks))


def visiting_order(content: bytes, blocks: int) -> list[int]:
    """All blocks in a pseudorandom order, seeded by the content alone."""
    seed = int.from_bytes(hashlib.blake2b(content + b"blocks", digest_size=16).digest(), "little")
    order: list[int] = np.random.default_rng(seed).permutation(blocks).tolist()
    return order


def within_rows(layout: Layout, rows: int, prompts: int) -> Layout:
    """The layout without the looks that a budget of `rows` cannot reach, whichever candidates are dropped.

    Fewer looks are a weaker correction. If the budget ends before the first look, there is one look at its end. All of
    this is known in advance, so the error rate holds. prompts: rows that one unit costs at the start. Raises
    InvalidInput if the rows are not enough for one block.
    """
    affordable = rows // (prompts * layout.block_units)
    if affordable < 1:
        least = prompts * layout.block_units
        raise InvalidInput(
            "budget", f"{rows} rows are less than one block of {least}", hint=f"send {least} or more, or fewer labels"
        )
    if not layout.looks or affordable >= layout.blocks:
        return layout
    first = layout.looks[0]
    if affordable < first:
        return replace(layout, looks=(affordable,) if affordable >= 2 else ())
    # At best two prompts are left after the first look.
    left = rows - prompts * layout.block_units * first
    reachable = first + left // (min(2, prompts) * layout.block_units)
    return replace(layout, looks=tuple(look for look in layout.looks if look <= reachable))
