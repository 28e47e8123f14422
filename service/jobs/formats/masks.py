"""Masks as annotation tools pack them: runs of rows for CVAT, and a stream of bits for Label Studio's brush."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.outputs import Rle, decode_rle

# Bits in which Label Studio's stream tells lengths of runs.
_SIZES = (3, 4, 8, 16)


def mask_of(entry: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask of a result, (H, W) bool."""
    return decode_rle(Rle(**entry["rle"]))


def row_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of a mask (H, W) bool row by row, of 0 and 1 in turn; the first is of 0, and may be 0."""
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return np.diff(ends, prepend=0).tolist()  # type: ignore[no-any-return]


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """A mask (H, W) bool as the bytes of Label Studio's brush: 0 or 255, row by row, four times a pixel (RGBA).

    Source: `label_studio_sdk.converter.brush`, whose `decode_rle` reads it: 32 bits of length, 5 of the word's size
    less 1, four times 4 of the sizes of runs less 1; then runs: 1, the place of its size, its length less 1, its value.
    """
    bits = [f"{4 * mask.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for place, run in enumerate(row_runs(mask)):
        left, value = 4 * run, f"{255 * (place % 2):08b}"
        while left:
            length = min(left, 1 << _SIZES[-1])
            at = next(at for at, size in enumerate(_SIZES) if length <= 1 << size)
            bits.append(f"1{at:02b}{length - 1:0{_SIZES[at]}b}{value}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
