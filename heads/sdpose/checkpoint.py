"""Pose networks from files: the published folders by their own layout, and heads that `diffsight fit pose` wrote.

A published folder has `unet/` and `decoder/decoder.safetensors` (`head.safetensors` where `diffsight models add`
stored it); a whole one has `vae/`, `text_encoder/`, `tokenizer/` and `scheduler/` too, and can stand alone.
A fitted folder has `pose.json` and `head.safetensors`, for the features of the backbone it names; with a fine-tuned
U-Net also `unet/`, with those of its tensors that are not the backbone's.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.files import write_json
from backbones.loading.config_files import blaming, read_json
from backbones.loading.diffusers_folder import load_part, load_tokenizer, read_alphas_cumprod
from backbones.loading.published_model import HEAD_FILE
from backbones.loading.stock_networks import build_text_encoder, build_unet, build_vae
from backbones.loading.variants import load_variant, save_unet
from backbones.loading.weight_files import digest_of, fill, read_tensors, write_tensors
from backbones.stable_diffusion import StableDiffusion, Variant, unet_layout
from heads.sdpose.estimation import PoseModel
from heads.sdpose.head import HeatmapHead
from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133, Skeleton

PUBLISHED_SIZE = (768, 1024)
TIMESTEP = 999
LATENT_SCALE = 0.18215
"""The published code multiplies by this constant and ignores the VAE's config."""

POSE_CLASS = (math.sin(1), math.sin(0), math.cos(1), math.cos(0))
"""The task vector [1, 0] as the U-Net receives it."""

DECODER_FILE, POSE_FILE, _UNET = "decoder/decoder.safetensors", "pose.json", "unet"
_FORMAT = 1
_FROM_END = {17: 1, 133: 2}
_SKELETONS = {17: COCO_17, 133: COCO_WHOLEBODY_133}


def open_pose(
    backbone: StableDiffusion, source: Path, name: str = "pose", *, size: tuple[int, int] = PUBLISHED_SIZE
) -> PoseModel:
    """The pose network in `source` over `backbone`, of which a published one becomes the variant `name`.

    size: (width, height) of a published network's crops; fitted networks store their own.
    Raises ModelNotFound if there is none, CheckpointError where it is damaged, incomplete or of another backbone.
    """
    if (source / POSE_FILE).is_file():
        return _open_fitted(backbone, source, name)
    head_file = _head_file(source)
    check_scheduler(source)
    load_published_unet(backbone, source, name)
    variant: Any = backbone.variants[name]
    state = read_tensors(head_file)
    keypoints = len(state.get("final_layer.bias", ()))
    if keypoints not in _FROM_END:
        raise CheckpointError(
            head_file, f"a head of {keypoints} keypoints", hint="give SDPose's for 17 keypoints, or that for 133"
        )
    # COCO-17 reads the last block of the decoder, whole body the last but one.
    block = len(variant.unet.up_blocks) - _FROM_END[keypoints]
    channels = variant.unet.config.block_out_channels[::-1][block]
    return PoseModel(
        name=source.name,
        head=_build_head(backbone, state, channels, keypoints, head_file),
        skeleton=_SKELETONS[keypoints],
        size=size,
        variant=name,
        timestep=TIMESTEP,
        features=(f"up_blocks.{block}",),
        latent_scale=LATENT_SCALE,
        revision=digest_of(head_file, variant.revision, repr(size)),
    )


def load_published_unet(backbone: StableDiffusion, source: Path, name: str) -> None:
    """Make the U-Net of a published folder, or of one that was added, available to rows as the variant `name`.

    Raises what `load_variant` raises.
    """
    load_variant(backbone, name, source, constant_class_labels=torch.tensor(POSE_CLASS))


def open_published(
    folder: Path,
    *,
    size: tuple[int, int] = PUBLISHED_SIZE,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[StableDiffusion, PoseModel]:
    """A whole published folder by itself, and its pose network with crops of `size` (width, height).

    Raises what `open_whole_folder` and `open_pose` raise.
    """
    backbone = open_whole_folder(folder, dtype=dtype, device=device)
    return backbone, open_pose(backbone, folder, size=size)


def open_whole_folder(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> StableDiffusion:
    """A whole published folder as a backbone: its own VAE, text encoder and U-Net, without another Stable Diffusion.

    The backbone's own U-Net is SDPose's without its class embedding, and the pose network shares its memory. This
    backbone is useful only for poses.
    Raises ModelNotFound if a part is missing, CheckpointError where one does not fit.
    """
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if not (folder / "unet" / "config.json").is_file():
        raise ModelNotFound(f"{folder} holds no unet/", hint="give the whole folder that SDPose publishes")
    config = read_json(folder / "unet" / "config.json")
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    state = {key: value for key, value in read_tensors(file).items() if not key.startswith("class_embedding.")}
    with blaming(folder / "unet" / "config.json", "it describes no U-Net"):
        unet = build_unet(config | {"class_embed_type": None, "projection_class_embeddings_input_dim": None})
    fill(unet, state, file, dtype, layout=unet_layout(dtype, device))
    return StableDiffusion(
        name=folder.name,
        vae=load_part(build_vae, folder / "vae", dtype).to(device),
        text_encoder=load_part(build_text_encoder, folder / "text_encoder", dtype).to(device),
        tokenizer=load_tokenizer(folder / "tokenizer"),
        variants={"": Variant(unet.to(device), "epsilon", digest_of(file))},
        alphas_cumprod=read_alphas_cumprod(folder / "scheduler" / "scheduler_config.json"),
    )


def is_whole_folder(folder: Path) -> bool:
    """Whether a folder holds all networks of SDPose, and is not an ordinary diffusers folder."""
    return (
        (folder / DECODER_FILE).is_file()
        and not (folder / "model_index.json").is_file()
        and all((folder / part).is_dir() for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"))
    )


def is_fitted_for(folder: Path, backbone: StableDiffusion) -> bool:
    """Whether a folder holds a fitted head for this very backbone."""
    file = folder / POSE_FILE
    if not file.is_file():
        return False
    revision: Any = read_json(file)["backbone"]["revision"]
    return bool(revision == backbone.description.revision)


def check_scheduler(folder: Path) -> None:
    """Raises CheckpointError if a published folder's scheduler is not of SDPose's kind, as the original checks."""
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return
    kind = read_json(file).get("prediction_type")
    if kind != "sample":
        raise CheckpointError(
            file, f"prediction_type is {kind!r}, SDPose's is 'sample'", hint="give a folder that SDPose publishes"
        )


def _head_file(source: Path) -> Path:
    """The head's file. The original continues with a random head if it is missing; here that is an error."""
    if not source.is_dir():
        raise ModelNotFound(
            f"{source} is no folder", hint="give SDPose's folder, or one that `diffsight fit pose` wrote"
        )
    for name in (DECODER_FILE, HEAD_FILE):
        if (source / name).is_file():
            return source / name
    raise ModelNotFound(
        f"{source} holds neither {POSE_FILE} nor {DECODER_FILE}",
        hint="copy or download it again, whole: without its head the network knows no keypoints",
    )


def _build_head(
    backbone: StableDiffusion, state: dict[str, Tensor], channels: int, keypoints: int, file: Path
) -> HeatmapHead:
    own: Any = backbone.variants[""].unet
    with torch.device("meta"):
        head = HeatmapHead(channels, keypoints)
    fill(head, state, file, own.dtype)
    return head.to(own.device).eval().requires_grad_(False)


def check_folder_for_fitted(folder: Path) -> None:
    """Raises InvalidInput if `save_fitted` would replace a U-Net that it has not written."""
    if (folder / _UNET).exists() and not (folder / POSE_FILE).is_file():
        raise InvalidInput("out", f"{folder} holds another network's {_UNET}/", hint="name a folder of its own")


def save_fitted(
    folder: Path, model: PoseModel, backbone: StableDiffusion, fit: dict[str, Any], *, half: bool = False
) -> None:
    """Write a fitted head, and the U-Net tensors that fine-tuning changed.

    The old `pose.json` is deleted first and the new one written last: if the process ends in between, the folder holds
    no network instead of a mixture. fit: facts about the fit, stored in `pose.json`. half: weights as float16. Raises
    what `check_folder_for_fitted` raises.
    """
    check_folder_for_fitted(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    (folder / POSE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / _UNET, ignore_errors=True)
    if model.variant:
        _save_changes(folder, backbone, model.variant, half=half)
    content = {
        "format": _FORMAT,
        "backbone": {"name": backbone.name, "revision": backbone.description.revision},
        "size": list(model.size),
        "timestep": model.timestep,
        "features": list(model.features),
        "channels": model.head.final_layer.in_channels,
        "skeleton": asdict(model.skeleton),
        "told": fit,
    }
    write_tensors({key: value.to(dtype) for key, value in model.head.state_dict().items()}, folder / HEAD_FILE)
    write_json(folder / POSE_FILE, content)


def _save_changes(folder: Path, backbone: StableDiffusion, variant: str, *, half: bool) -> None:
    """The tensors of a variant that are not the backbone's own, in the layout of diffusers."""
    tuned: Any = backbone.variants[variant].unet
    own = backbone.variants[""].unet.state_dict()
    changed = {key: value for key, value in tuned.state_dict().items() if not torch.equal(value, own[key])}
    save_unet(folder, changed, tuned.config, half=half)


def _open_fitted(backbone: StableDiffusion, source: Path, name: str) -> PoseModel:
    """A head that `save_fitted` wrote. Raises CheckpointError if it is for another backbone's features."""
    file = source / POSE_FILE
    try:
        content = read_json(file)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        parts = content["skeleton"]
        skeleton = Skeleton(
            names=tuple(parts["names"]),
            links=tuple((int(a), int(b)) for a, b in parts["links"]),
            flip_indices=tuple(parts["flip_indices"]),
            sigmas=tuple(parts["sigmas"]),
            upper=tuple(parts["upper"]),
            lower=tuple(parts["lower"]),
        )
        width, height = (int(side) for side in content["size"])
        timestep, features, channels = int(content["timestep"]), tuple(content["features"]), int(content["channels"])
        fitted_on = content["backbone"]
        named, revision = str(fitted_on["name"]), str(fitted_on["revision"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(file, f"this description can not be read ({error!r})", hint="fit it again") from error
    own = backbone.description
    if revision != own.revision:
        raise CheckpointError(
            source,
            f"this head was fitted on the backbone {named!r} ({revision}); served is {own.name!r} ({own.revision})",
            hint="serve that backbone, or fit a head on this one: diffsight fit pose --help",
        )
    if not (source / HEAD_FILE).is_file():
        raise ModelNotFound(f"{source / HEAD_FILE} is missing", hint="fit it again")
    tuned = (source / _UNET).is_dir()
    if tuned:
        load_variant(backbone, name, source / _UNET, from_backbone=("",))
    return PoseModel(
        name=source.name,
        head=_build_head(backbone, read_tensors(source / HEAD_FILE), channels, len(skeleton), source / HEAD_FILE),
        skeleton=skeleton,
        size=(width, height),
        variant=name if tuned else "",
        timestep=timestep,
        features=features,
        latent_scale=own.scaling_factor,
        revision=digest_of(source / HEAD_FILE, file, backbone.variants[name].revision if tuned else own.revision),
    )
