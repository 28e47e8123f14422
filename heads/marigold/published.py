"""Marigold's published networks, and those fine-tuned from them, as `diffsight models add` takes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.loading.published_model import OPENRAIL, PublishedModel, unet_files

_LICENCE = f"Apache-2.0 or CreativeML Open RAIL++-M, as its page says; base weights {OPENRAIL}"
_SETTINGS = ("model_index.json", "scheduler/scheduler_config.json")


@dataclass(frozen=True, slots=True)
class PublishedMarigold(PublishedModel):
    """One of Marigold's folders. Its VAE and text encoder are SD 2's, and are not taken.

    from_zeros: whether denoising starts from zeros, as networks do that were fine-tuned end to end.
    """

    from_zeros: bool = False

    def select_files(self, names: Collection[str], source: object) -> list[str]:
        return self.check_complete([*unet_files(names), *_SETTINGS], names, source)

    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        from heads.marigold.conversion import check_configs

        check_configs(self.task, source, files, any_size=any_size)

    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        from heads.marigold.conversion import convert

        convert(source, files, target, from_zeros=self.from_zeros)

    def verify(self, weights: Path, *, any_size: bool) -> str:
        from heads.marigold.conversion import verify

        return verify(self.task, weights, any_size=any_size)


def _publish(kind: str, hub_id: str, task: str, *, from_zeros: bool = False) -> PublishedMarigold:
    return PublishedMarigold(kind, "the hub", _LICENCE, hub_id, base="sd21", task=task, from_zeros=from_zeros)


PUBLISHED = (
    _publish("marigold-depth", "prs-eth/marigold-depth-v1-1", "depth-relative"),
    _publish("marigold-depth-lcm", "prs-eth/marigold-depth-lcm-v1-0", "depth-relative"),
    _publish("marigold-depth-e2e", "GonzaloMartinGarcia/marigold-e2e-ft-depth", "depth-relative", from_zeros=True),
    _publish("marigold-normals", "prs-eth/marigold-normals-v1-1", "normals"),
    _publish("marigold-normals-lcm", "prs-eth/marigold-normals-lcm-v0-1", "normals"),
    _publish("marigold-normals-e2e", "GonzaloMartinGarcia/marigold-e2e-ft-normals", "normals", from_zeros=True),
)
