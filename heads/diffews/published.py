"""The published network of DiffewS, for `diffsight models add`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from backbones.loading.published_model import OPENRAIL, PublishedModel, unet_files

# The original's loader takes a folder that already is the U-Net's, and its scripts name such paths.
_FOLDERS = ("unet/", "", "unet/unet/")


class PublishedDiffewS(PublishedModel):
    """DiffewS's U-Net. It has no head: masks come out of the VAE's decoder."""

    def select_files(self, names: Collection[str], source: object) -> list[str]:
        return self.check_complete(unet_files(names, _FOLDERS), names, source)

    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        from heads.diffews.conversion import check_configs

        check_configs(source, files, any_size=any_size)

    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        from heads.diffews.conversion import convert

        convert(source, files, target)

    def verify(self, weights: Path, *, any_size: bool) -> str:
        from heads.diffews.conversion import verify

        return verify(weights, any_size=any_size)


PUBLISHED = (
    PublishedDiffewS(
        "diffews",
        "ModelScope, zzzmmz/Diffews, folder weight/",
        f"2-clause BSD for academic use, commercial use on request; base weights {OPENRAIL}",
        base="sd21",
        task="few-shot",
    ),
)
