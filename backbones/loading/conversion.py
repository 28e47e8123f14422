"""Convert published files to the registry's layout: weight files to safetensors, and whole backbones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from backbones.errors import CheckpointError
from backbones.files import write_json
from backbones.loading.file_names import OLD_PARTS, PARTS
from backbones.loading.header_check import check_folder
from backbones.loading.ldm import load_single_file
from backbones.loading.published_model import CONFIG_FILE, UNET_FILE
from backbones.loading.verification import HINT, number_type, shapes_of
from backbones.loading.weight_files import read_tensors, write_tensors


def copy_weights(files: Sequence[Path], target: Path) -> None:
    """One safetensors file out of the pieces of a weight file; a single one that is safetensors stays as it is.

    Raises CheckpointError for a file that is damaged, or that would have to run code.
    """
    if len(files) == 1 and files[0].suffix == ".safetensors":
        shapes_of(files[0])
        shutil.copyfile(files[0], target)
    else:
        write_tensors({key: tensor for file in files for key, tensor in read_tensors(file).items()}, target)


def copy_unet(config: Mapping[str, Any], weights: Path, target: Path) -> None:
    """Config and weights of a U-Net, to the places where the registry keeps them in the folder `target`."""
    (target / UNET_FILE).parent.mkdir(parents=True)
    write_json(target / CONFIG_FILE, config)
    copy_weights([weights], target / UNET_FILE)


def convert_backbone(source: Path, files: Sequence[str], target: Path) -> None:
    """A diffusers folder, or one file, with its weights as safetensors. files: paths below `source`.

    Raises CheckpointError for a file that is damaged, or that would have to run code.
    """
    target.mkdir(parents=True, exist_ok=True)
    if "model_index.json" not in files:
        (file,) = files
        name = Path(file).with_suffix(".safetensors").name  # it tells SD 2.x's prediction type
        copy_weights([source / file], target / name)
        return
    converted: set[str] = set()
    for part, stem in PARTS.items():
        (target / part).mkdir()
        weights = [name for name in files if name.startswith(f"{part}/") and name.endswith((".safetensors", ".bin"))]
        if len(weights) == 1 or weights[0].endswith(".bin"):
            copy_weights([source / name for name in weights], target / part / f"{stem}.safetensors")
            converted.update(weights)
    old_indices = {f"{part}/{stem}.bin.index.json" for part, stem in OLD_PARTS.items()}
    for name in files:
        if (target / name).exists() or name in converted or name.endswith(".bin") or name in old_indices:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def verify_backbone(kind: str, weights: Path, sizes: Mapping[str, int]) -> str:
    """The number type of a backbone's U-Net, after every key and shape of all parts was compared with the stock
    classes. Only the headers of a folder's files are read; a single file is loaded, because its names must be
    converted.
    sizes: values of each part as published; empty for any size. Raises CheckpointError if a part does not fit.
    """
    if (weights / "model_index.json").is_file():
        loaded = check_folder(weights)
        files = sorted((weights / "unet").glob("*.safetensors"))
    else:
        files = [single_file(weights)]
        # Half precision: the values do not matter here, and it needs less memory.
        model = load_single_file(files[0], dtype=torch.bfloat16)
        parts: dict[str, Any] = {"unet": model.variants[""].unet, "vae": model.vae, "text_encoder": model.text_encoder}
        loaded = {part: sum(values.numel() for values in network.parameters()) for part, network in parts.items()}
    check_sizes(kind, weights, loaded, sizes)
    return number_type({key: tensor for file in files for key, tensor in shapes_of(file).items()})


def check_sizes(kind: str, source: Path, counts: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Raises CheckpointError if a part has another number of values than the published one. counts, sizes: by part."""
    wrong = [f"{part} {counts[part]:,} where {size:,} belong" for part, size in sizes.items() if counts[part] != size]
    if wrong:
        raise CheckpointError(source, f"this is not {kind}: values of {'; '.join(wrong)}", hint=HINT)


def single_file(weights: Path) -> Path:
    """The weight file of a backbone that is no folder. Raises CheckpointError if it is not there."""
    files = sorted(weights.glob("*.safetensors"))
    if len(files) != 1:
        raise CheckpointError(weights, f"{len(files)} weight files instead of 1", hint="add the model again")
    return files[0]
