"""The networks that VPD publishes, one file a task, as `diffsight models add` takes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.loading.published_model import OPENRAIL, PublishedModel, only_weights

_LICENCE = f"code MIT (parts of the depth code, from GLPDepth, are non-commercial); base weights {OPENRAIL}"


@dataclass(frozen=True, slots=True)
class PublishedVPD(PublishedModel):
    """One of VPD's checkpoints. Beside its U-Net and its head the registry keeps its VAE encoder, `vae.safetensors`."""

    def select_files(self, names: Collection[str], source: object) -> list[str]:
        return only_weights(names, source)

    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        """A single file has no configs."""

    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        from heads.vpd.conversion import convert

        convert(self.task, source / files[0], target, any_size=any_size)

    def verify(self, weights: Path, *, any_size: bool) -> str:
        from heads.vpd.conversion import verify

        return verify(self.task, weights, any_size=any_size)


PUBLISHED = (
    PublishedVPD("vpd-depth", "github.com/wl-zhao/VPD (depth)", _LICENCE, base="sd15", task="depth"),
    PublishedVPD(
        "vpd-segmentation", "github.com/wl-zhao/VPD (segmentation)", _LICENCE, base="sd15", task="segmentation"
    ),
    PublishedVPD("vpd-referring", "github.com/wl-zhao/VPD (refer)", _LICENCE, base="sd15", task="referring"),
)
