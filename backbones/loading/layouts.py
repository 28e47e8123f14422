"""Published checkpoints into the layout of the registry, once: every key and shape accounted for, as safetensors.

Backbones stay diffusers folders or single files. Of a fine-tuned system these files are made:

    unet/diffusion_pytorch_model.safetensors   its U-Net by diffusers' names, ready for `load_variant`
    unet/config.json                           where the published folder has one (SDPose, DiffewS)
    head.safetensors                           all that is neither U-Net nor VAE, under its original names (VPD, SDPose)
    vae.safetensors                            the VAE encoder under its original names (VPD)

Names must be those of the published model, exactly. Shapes too, unless any size is allowed: then the networks must
still load strictly into the stock classes that their shapes or configs describe, and a head's tensors keep their number
of axes and the sizes of their kernels.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backbones.errors import CheckpointError
from backbones.loading import ldm
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.fetch import is_full, no_space
from backbones.loading.published import (
    OLD_PARTS,
    PARTS,
    SIZES,
    UNET_STEM,
    VPD_PREFIXES,
    Shapes,
    head_keys,
    other_shapes,
    published,
    unet_keys,
    vae_keys,
)
from backbones.loading.weight_files import fill, read_tensors, write_tensors

UNET_FILE, HEAD_FILE, VAE_FILE = f"unet/{UNET_STEM}.safetensors", "head.safetensors", "vae.safetensors"
_VPD_UNET, _VPD_VAE = "unet.unet.diffusion_model.", "encoder_vq."
_HINT = "the file is incomplete or another model's; networks of other sizes than the published ones need --any-size"


def convert(kind: str, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> str:
    """Write the model into the new folder `target` and verify it there; returns the number type of its U-Net.

    files: its files, by their paths below `source`.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys, InvalidInput where the disk is full.
    """
    system = published(kind).system
    try:
        target.mkdir(parents=True)
        if system == "backbone":
            _convert_backbone(source, files, target)
        elif system == "vpd":
            _convert_vpd(kind, source / files[0], target, any_size=any_size)
        else:
            _convert_variant(kind, source, files, target)
    except (OSError, SafetensorError) as error:
        if is_full(error):
            raise no_space(target, "the disk filled up while converting") from error
        raise
    return verify(kind, target, any_size=any_size)


def verify(kind: str, weights: Path, *, any_size: bool) -> str:
    """Check every key and shape of a model in the registry's layout. Returns the number type of its U-Net.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    system = published(kind).system
    if system == "backbone":
        return _verify_backbone(kind, weights, any_size=any_size)
    unet = shapes_of(weights / UNET_FILE)
    if system == "vpd":
        _compare(weights / UNET_FILE, unet, _diffusers_keys(kind), any_size=any_size)
        _compare(weights / VAE_FILE, shapes_of(weights / VAE_FILE), vae_keys(), any_size=any_size)
    else:
        _compare(weights / UNET_FILE, unet, unet_keys(kind), any_size=any_size)
        _check_config(kind, weights / "unet/config.json", unet)
    if head_keys(kind):
        head = shapes_of(weights / HEAD_FILE)
        _compare(weights / HEAD_FILE, head, head_keys(kind), any_size=any_size, other=other_shapes(kind))
    return _number_type(unet)


def shapes_of(file: Path) -> dict[str, Tensor]:
    """Key -> tensor on the meta device, of any shape: the header of a `.safetensors` file, its values not read.

    Raises CheckpointError where it is damaged or cut off.
    """
    try:
        with safe_open(file, "pt") as opened:
            pieces = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
            return {
                key: torch.empty(piece.get_shape(), dtype=_DTYPES.get(piece.get_dtype(), torch.float32), device="meta")
                for key, piece in pieces.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            file, f"it is damaged or incomplete ({error})", hint="download or copy it again"
        ) from error


_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def _number_type(tensors: Mapping[str, Tensor]) -> str:
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()}
    return ", ".join(sorted(kinds))


def _compare(
    source: object,
    found: Mapping[str, Tensor],
    expected: Shapes,
    *,
    any_size: bool,
    other: Shapes | None = None,
) -> None:
    """Raises CheckpointError where names differ, or shapes do."""
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    shared = [(key, tuple(found[key].shape)) for key in sorted(expected.keys() & found.keys())]
    if any_size:
        wrong = [(key, shape) for key, shape in shared if not _alike(key, shape, expected[key])]
    else:
        wrong = [(key, shape) for key, shape in shared if shape not in (expected[key], (other or {}).get(key))]
    if missing or unexpected or wrong:
        mis_shaped = [f"{key}: {shape} where {expected[key]} belongs" for key, shape in wrong]
        raise CheckpointError(
            source,
            "these are not the keys and shapes of the published model",
            missing=missing,
            unexpected=unexpected,
            mis_shaped=mis_shaped,
            hint=_HINT,
        )


def _alike(key: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    # The number of keypoints tells SDPose's two heads apart at any size.
    fixed = key.startswith("final_layer.") and shape[:1] != expected[:1]
    return len(shape) == len(expected) and shape[2:] == expected[2:] and not fixed


def _meta(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def _diffusers_keys(kind: str) -> Shapes:
    """The stored form of VPD's U-Net: key -> shape."""
    original = _meta(unet_keys(kind))
    converted = ldm.convert_unet(original, _unet_config(original, kind))
    return {key: tuple(tensor.shape) for key, tensor in converted.items()}


def _unet_config(tensors: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    # Heads and groups change no shape: 1 fits every width.
    return ldm.unet_config(tensors, ldm.Unrecorded(attention_heads=1, norm_groups=1), source, sample_size=64)


def _convert_vpd(kind: str, file: Path, target: Path, *, any_size: bool) -> None:
    tensors = read_torch_file(file)
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    prefix = VPD_PREFIXES[kind]
    unet = _below(prefix + _VPD_UNET, tensors)
    vae = _below(prefix + _VPD_VAE, tensors)
    # Segmentation's file carries the noise schedule, which nothing reads.
    skipped = (prefix + _VPD_UNET, prefix + _VPD_VAE, "sd_model.")
    head = {key: tensor for key, tensor in tensors.items() if not key.startswith(skipped)}

    found = {key: tensor for key, tensor in tensors.items() if not key.startswith("sd_model.")}
    expected = {
        **{prefix + _VPD_UNET + key: shape for key, shape in unet_keys(kind).items()},
        **{prefix + _VPD_VAE + key: shape for key, shape in vae_keys().items()},
        **head_keys(kind),
    }
    _compare(file, found, expected, any_size=any_size, other=other_shapes(kind))

    converted = ldm.convert_unet(unet, _unet_config(unet, file))
    network = ldm.build_unet(_unet_config(unet, file))
    _load_strictly(network, converted, ("conv_norm_out.", "conv_out.") if kind == "vpd-depth" else (), file)
    config = ldm.vae_config(vae, ldm.Unrecorded(norm_groups=1), file)
    _load_strictly(ldm.build_vae(config), ldm.convert_vae(_on_meta(vae), config), ("decoder.",), file)
    _save(converted, target / UNET_FILE)
    _save(vae, target / VAE_FILE)
    _save(head, target / HEAD_FILE)


def read_torch_file(file: Path) -> dict[str, Tensor]:
    """Tensors of any shape by key, of a file that may hold what these systems' trainers leave beside them.

    Raises ModelNotFound, and CheckpointError for a file that is damaged or holds anything else.
    """
    with torch.serialization.safe_globals(_HARMLESS):
        return read_tensors(file)


# What trainers leave beside the tensors, which only holds values: VPD's referring files have the options of their
# training in a Namespace, and mmcv notes numpy scalars, whose function older numpy had under another name.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar")]
_HARMLESS += [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _on_meta(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.to("meta") for key, tensor in tensors.items()}


def _load_strictly(network: Any, tensors: Mapping[str, Tensor], may_lack: tuple[str, ...], source: object) -> None:
    """Raises CheckpointError where the tensors do not fit the network, which is on the meta device."""
    lent = {key: tensor for key, tensor in network.state_dict().items() if may_lack and key.startswith(may_lack)}
    fill(network, {**lent, **_on_meta(tensors)}, source, torch.float32, hint=_HINT)


def _convert_variant(kind: str, source: Path, files: Sequence[str], target: Path) -> None:
    config_file, weights, *rest = files
    config = _read_json(source / config_file)
    if kind.startswith("sdpose-"):
        # An older or hand-made folder may lack them; the original's loaders pass them always.
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
        decoder, scheduler = rest
        prediction_type = _read_json(source / scheduler).get("prediction_type")
        if prediction_type != "sample":
            raise CheckpointError(
                source / scheduler, f"prediction_type is {prediction_type!r}, SDPose's is 'sample'", hint=_HINT
            )
        (target / "unet").mkdir()
        shutil.copyfile(source / decoder, target / HEAD_FILE)
    (target / "unet").mkdir(exist_ok=True)
    (target / "unet/config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _copy_weights([source / weights], target / UNET_FILE)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(file, f"it is no JSON ({error})", hint="download or copy it again") from error
    return content if isinstance(content, dict) else {}


def _check_config(kind: str, file: Path, unet: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError where the U-Net does not load strictly into the stock class that config.json describes."""
    config = _read_json(file)
    config = {key: value for key, value in config.items() if not key.startswith("_") and key != "in_channels_ref"}
    try:
        network = ldm.build_unet(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(file, f"it describes no U-Net ({error})", hint=_HINT) from error
    stock = {key: tensor for key, tensor in unet.items() if not key.startswith("conv_in_ref.")}
    _load_strictly(network, stock, (), file.parent)
    if kind == "diffews" and unet["conv_in_ref.weight"].shape[:2] != (unet["conv_in.weight"].shape[0], 8):
        shape = f"conv_in_ref.weight: {tuple(unet['conv_in_ref.weight'].shape)}"
        raise CheckpointError(file.parent, "its second input convolution does not fit", mis_shaped=[shape], hint=_HINT)


def _convert_backbone(source: Path, files: Sequence[str], target: Path) -> None:
    if "model_index.json" not in files:
        (file,) = files
        name = Path(file).with_suffix(".safetensors").name  # it tells SD 2.x's prediction type
        _copy_weights([source / file], target / name)
        return
    for part, stem in PARTS.items():
        (target / part).mkdir()
        weights = [name for name in files if name.startswith(f"{part}/") and name.endswith((".safetensors", ".bin"))]
        if len(weights) == 1 or weights[0].endswith(".bin"):
            _copy_weights([source / name for name in weights], target / part / f"{stem}.safetensors")
    old_indices = {f"{part}/{stem}.bin.index.json" for part, stem in OLD_PARTS.items()}
    for name in files:
        if (target / name).exists() or name.endswith(".bin") or name in old_indices:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _copy_weights(files: Sequence[Path], target: Path) -> None:
    """One safetensors file out of the pieces of a weight file; a single one that is safetensors stays as it is."""
    if len(files) == 1 and files[0].suffix == ".safetensors":
        shapes_of(files[0])
        shutil.copyfile(files[0], target)
        return
    _save({key: tensor for file in files for key, tensor in read_tensors(file).items()}, target)


def _save(tensors: Mapping[str, Tensor], file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    write_tensors(tensors, file)


def _verify_backbone(kind: str, weights: Path, *, any_size: bool) -> str:
    if (weights / "model_index.json").is_file():
        # Half precision: the values are not looked at, and the memory is.
        model = load_diffusers_folder(weights, dtype=torch.bfloat16)
        files = sorted((weights / "unet").glob("*.safetensors"))
    else:
        files = [single_file(weights)]
        model = ldm.load_single_file(files[0], dtype=torch.bfloat16)
    parts: dict[str, Any] = {"unet": model.variants[""].unet, "vae": model.vae, "text_encoder": model.text_encoder}
    sizes = {part: sum(one.numel() for one in network.parameters()) for part, network in parts.items()}
    wrong = [
        f"{part} {sizes[part]:,} where {told:,} belong" for part, told in SIZES[kind].items() if sizes[part] != told
    ]
    if wrong and not any_size:
        raise CheckpointError(weights, f"this is not {kind}: values of {'; '.join(wrong)}", hint=_HINT)
    return _number_type({key: tensor for file in files for key, tensor in shapes_of(file).items()})


def single_file(weights: Path) -> Path:
    """The weight file of a backbone that is no folder. Raises CheckpointError where it is not there."""
    found = sorted(weights.glob("*.safetensors"))
    if len(found) != 1:
        raise CheckpointError(weights, f"{len(found)} weight files where one belongs", hint="add the model again")
    return found[0]
