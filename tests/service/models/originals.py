"""A small checkpoint of every published kind, written as its authors write it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.heads.diffews import original_files as diffews
from tests.heads.marigold import original_files as marigold
from tests.heads.sdpose import original_files as sdpose
from tests.heads.vpd import original_files as vpd

WRITERS: dict[str, Callable[[Path], Path]] = {
    **{f"vpd-{task}": partial(vpd.write_original, task) for task in ("depth", "segmentation", "referring")},
    **{f"sdpose-{skeleton}": partial(sdpose.write_original, skeleton) for skeleton in ("body", "wholebody")},
    "diffews": diffews.write_original,
    **{
        f"marigold-{prediction}{made}": partial(marigold.write_original, prediction)
        for prediction in ("depth", "normals")
        for made in ("", "-lcm", "-e2e")
    },
}


def write_original(kind: str, place: Path) -> Path:
    """A small checkpoint in the new folder `place`: the folder itself, or a file in it."""
    if not kind.startswith("vpd-"):
        return WRITERS[kind](place)
    place.mkdir(parents=True)
    return WRITERS[kind](place / "model.pth")
