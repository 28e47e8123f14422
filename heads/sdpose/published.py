"""The two networks that SDPose publishes, as `diffsight models add` takes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.loading.published_model import OPENRAIL, PublishedModel, unet_files

_LICENCE = f"MIT; base weights {OPENRAIL}"


@dataclass(frozen=True, slots=True)
class PublishedSDPose(PublishedModel):
    """One of SDPose's folders. Its VAE and text encoder are SD 2's, and are not taken."""

    skeleton: str = ""

    def select_files(self, names: Collection[str], source: object) -> list[str]:
        others = ["decoder/decoder.safetensors", "scheduler/scheduler_config.json"]
        return self.check_complete([*unet_files(names), *others], names, source)

    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        from heads.sdpose.conversion import check_configs

        check_configs(source, files, any_size=any_size)

    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        from heads.sdpose.conversion import convert

        convert(source, files, target)

    def verify(self, weights: Path, *, any_size: bool) -> str:
        from heads.sdpose.conversion import verify

        return verify(self.skeleton, weights, any_size=any_size)


PUBLISHED = (
    PublishedSDPose(
        "sdpose-body",
        "the hub",
        _LICENCE,
        hub_id="teemosliang/SDPose-Body",
        base="sd21",
        task="pose",
        skeleton="body",
    ),
    PublishedSDPose(
        "sdpose-wholebody",
        "the hub",
        _LICENCE,
        hub_id="teemosliang/SDPose-Wholebody",
        base="sd21",
        task="pose",
        skeleton="wholebody",
    ),
)
