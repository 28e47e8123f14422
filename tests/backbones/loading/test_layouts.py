"""Small checkpoints in the original layouts, every name as published, become what `load_added_variant` really loads."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.errors import CheckpointError
from backbones.loading import ldm
from backbones.loading.added import load_added, load_added_variant
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.layouts import convert, shapes_of, verify
from backbones.loading.published import PUBLISHED, Shapes, head_keys, needed_files, unet_keys, vae_keys
from backbones.loading.registry import Entry
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion, Variant
from tests.backbones.loading.test_ldm import write
from tests.backbones.original_layout import renamed, single_file_tensors, unet_modules
from tests.backbones.small_models import WEIGHTS

ATTENDS = (True, True, True, False)
SMALL: dict[str, Any] = {
    "block_out_channels": (10, 20, 40, 40),
    "layers_per_block": 2,
    "norm_num_groups": 5,
    "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SD1 = SMALL | {"cross_attention_dim": 24, "attention_head_dim": 2}
SD2 = SMALL | {"cross_attention_dim": 32, "attention_head_dim": (1, 2, 2, 2), "use_linear_projection": True}
VPD = ("vpd-depth", "vpd-segmentation", "vpd-referring")
FOLDERS = ("sdpose-body", "sdpose-wholebody", "diffews")


def small(shapes: Shapes) -> dict[str, Tensor]:
    """Random tensors of a manifest's names, every width a 32nd of the published one."""
    generator = torch.Generator().manual_seed(len(shapes))

    def side(size: int) -> int:
        return size // 32 if size >= 128 and size % 32 == 0 else size

    return {key: torch.randn([side(size) for size in shape], generator=generator) for key, shape in shapes.items()}


def stock_unet(config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(**config)  # type: ignore[no-untyped-call]


def vpd_tensors(kind: str) -> dict[str, Tensor]:
    """A small VPD checkpoint; its U-Net is `stock_unet(SD1)`, renamed by code that the product does not have."""
    prefix = "encoder." if kind == "vpd-depth" else ""
    unet = renamed(stock_unet(SD1).state_dict(), unet_modules(2, ATTENDS), f"{prefix}unet.unet.diffusion_model.")
    if kind == "vpd-depth":
        unet = {key: tensor for key, tensor in unet.items() if ".diffusion_model.out." not in key}
    vae = {f"{prefix}encoder_vq.{key}": tensor for key, tensor in small(vae_keys()).items()}
    schedule = {"sd_model.betas": torch.zeros(10)} if kind == "vpd-segmentation" else {}
    return unet | vae | small(head_keys(kind)) | schedule


def write_vpd(kind: str, file: Path) -> Path:
    """As the training programs of the three tasks write it."""
    tensors = vpd_tensors(kind)
    if kind == "vpd-segmentation":
        torch.save(
            {
                "state_dict": tensors,
                "meta": {"CLASSES": ["wall"], "mIoU": np.float64(0.537)},
                "optimizer": {"state": {}},
            },
            file,
        )
    elif kind == "vpd-referring":
        torch.save({"model": tensors, "epoch": 39, "args": argparse.Namespace(img_size=512)}, file)
    else:
        torch.save({"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}, file)
    return file


def write_folder(kind: str, folder: Path) -> Path:
    """SDPose's or DiffewS's folder with small networks."""
    config = dict(SD2)
    extra: dict[str, Tensor] = {}
    if kind == "diffews":
        extra = {"conv_in_ref.weight": torch.randn(10, 8, 3, 3), "conv_in_ref.bias": torch.randn(10)}
        config |= {"_class_name": "MyUNet2DConditionModel", "in_channels_ref": 8}
    else:
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
    known = {key: value for key, value in config.items() if key not in ("_class_name", "in_channels_ref")}
    (folder / "unet").mkdir(parents=True)
    save_file(stock_unet(known).state_dict() | extra, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "unet/config.json").write_text(json.dumps(config))
    if kind != "diffews":
        (folder / "decoder").mkdir()
        (folder / "scheduler").mkdir()
        save_file(small(head_keys(kind)), folder / "decoder/decoder.safetensors")
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "sample"}))
    return folder


def write_original(kind: str, place: Path) -> tuple[Path, list[str]]:
    """A small checkpoint in a new folder, and the files that make it up."""
    place.mkdir(parents=True, exist_ok=True)
    if kind in VPD:
        write_vpd(kind, place / "model.pth")
    else:
        write_folder(kind, place)
    names = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
    return place, needed_files(kind, names, place)


def entry_of(kind: str, folder: Path) -> Entry:
    return Entry(folder, kind, kind, "", "", "", "", "", "", True, {})


def backbone_like(config: dict[str, Any]) -> StableDiffusion:
    """A backbone whose U-Net has a variant's architecture and other weights."""
    stock = load_diffusers_folder(WEIGHTS / "sd1")
    torch.manual_seed(9)
    unet: Any = UNet2DConditionModel(**config)  # type: ignore[no-untyped-call]
    return StableDiffusion(
        name="small",
        vae=stock.vae,
        text_encoder=stock.text_encoder,
        tokenizer=stock.tokenizer,
        variants={"": Variant(unet, "epsilon", "0")},
        alphas_cumprod=stock.alphas_cumprod,
    )


@pytest.mark.parametrize("kind", VPD)
def test_a_vpd_checkpoint_becomes_a_variant_and_its_other_parts(kind: str, tmp_path: Path) -> None:
    source, files = write_original(kind, tmp_path / "original")
    assert convert(kind, source, files, tmp_path / "weights", any_size=True) == "float32"
    backbone = backbone_like(SD1)
    load_added_variant(backbone, entry_of(kind, tmp_path))
    loaded, own = backbone.variants[kind].unet.state_dict(), backbone.variants[""].unet.state_dict()
    for key, tensor in stock_unet(SD1).state_dict().items():
        lent = kind == "vpd-depth" and key.startswith(("conv_norm_out.", "conv_out."))
        assert torch.equal(loaded[key], own[key] if lent else tensor), key
    original = vpd_tensors(kind)
    head = load_file(tmp_path / "weights/head.safetensors")
    assert head.keys() == head_keys(kind).keys()
    assert all(torch.equal(head[key], original[key]) for key in head)
    assert load_file(tmp_path / "weights/vae.safetensors").keys() == vae_keys().keys()


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_published_folder_becomes_a_variant_that_runs(kind: str, tmp_path: Path) -> None:
    source, files = write_original(kind, tmp_path / "original")
    convert(kind, source, files, tmp_path / "weights", any_size=True)
    backbone = backbone_like(SD2)
    load_added_variant(backbone, entry_of(kind, tmp_path))
    support = "support" if kind == "diffews" else ""
    row = UNetRow(
        latents=torch.zeros(8 if support else 4, 8, 8),
        timestep=1,
        encoder_hidden_states=torch.zeros(2, 32),
        capture=Capture(output=True),
        variant=kind,
        input_convolution=support,
    )
    backbone.check(row)
    output = backbone.forward([row])[0].output
    assert output is not None
    assert output.shape == (4, 8, 8)
    if kind != "diffews":
        assert load_file(tmp_path / "weights/head.safetensors").keys() == head_keys(kind).keys()


@pytest.mark.parametrize("kind", [*VPD, *FOLDERS])
def test_other_sizes_are_refused_unless_allowed(kind: str, tmp_path: Path) -> None:
    source, files = write_original(kind, tmp_path / "original")
    with pytest.raises(CheckpointError, match="--any-size") as error:
        convert(kind, source, files, tmp_path / "weights", any_size=False)
    assert error.value.missing == error.value.unexpected == ()
    assert len(error.value.mis_shaped) > 600


def test_the_sizes_of_the_originals_are_the_published_ones() -> None:
    counts = {
        kind: [sum(torch.Size(shape).numel() for shape in keys.values()) for keys in (unet_keys(kind), head_keys(kind))]
        for kind, model in PUBLISHED.items()
        if model.base
    }
    assert counts == {
        "vpd-depth": [859_508_800, 12_740_677],
        "vpd-segmentation": [859_520_964, 8_810_909],
        "vpd-referring": [859_520_964, 40_366_600],
        "sdpose-body": [867_556_804, 1_746_577],
        "sdpose-wholebody": [867_556_804, 7_049_093],
        "diffews": [865_934_084, 0],
    }


def write_sparse(shapes: Shapes, file: Path) -> None:
    """A safetensors file in float16 whose gigabytes of zeros take no room on the disk."""
    header: dict[str, Any] = {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as written:
        written.write(len(text).to_bytes(8, "little") + text)
        written.truncate(8 + len(text) + end)


@pytest.mark.parametrize("kind", [*VPD, *FOLDERS])
def test_the_published_sizes_are_taken_as_published(kind: str, tmp_path: Path) -> None:
    unet = unet_keys(kind)
    if kind in VPD:
        lacking = ("conv_norm_out.", "conv_out.") if kind == "vpd-depth" else ("nothing",)
        stock = ldm.build_unet(SD1 | {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768})
        unet = {key: tuple(one.shape) for key, one in stock.state_dict().items() if not key.startswith(lacking)}
        write_sparse(vae_keys(), tmp_path / "vae.safetensors")
    write_sparse(unet, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    write_sparse(head_keys(kind), tmp_path / "head.safetensors")
    config = SD2 | {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 1024}
    if kind != "diffews":
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
    (tmp_path / "unet/config.json").write_text(json.dumps(config))
    assert verify(kind, tmp_path, any_size=False) == "float16"


def test_a_wrong_checkpoint_is_told_by_its_keys(tmp_path: Path) -> None:
    tensors = vpd_tensors("vpd-depth")
    del tensors["encoder.gamma"]
    tensors["encoder.delta"] = torch.zeros(1)
    tensors["last_layer_depth.2.bias"] = torch.zeros(1, 1)
    torch.save({"model": tensors}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError) as error:
        convert("vpd-depth", tmp_path, ["model.ckpt"], tmp_path / "weights", any_size=True)
    assert error.value.missing == ("encoder.gamma",)
    assert error.value.unexpected == ("encoder.delta",)
    assert error.value.mis_shaped == ("last_layer_depth.2.bias: (1, 1) where (1,) belongs",)


def test_networks_that_do_not_hang_together_are_refused_at_any_size(tmp_path: Path) -> None:
    tensors = vpd_tensors("vpd-depth")
    key = "encoder.unet.unet.diffusion_model.middle_block.0.in_layers.2.weight"
    tensors[key] = torch.zeros(40, 39, 3, 3)
    torch.save({"model": tensors}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"mid_block\.resnets\.0\.conv1"):
        convert("vpd-depth", tmp_path, ["model.ckpt"], tmp_path / "weights", any_size=True)


def test_one_published_head_is_not_taken_for_the_other(tmp_path: Path) -> None:
    source, files = write_original("sdpose-body", tmp_path / "original")
    with pytest.raises(CheckpointError, match=r"final_layer\.weight: \(17"):
        convert("sdpose-wholebody", source, files, tmp_path / "weights", any_size=True)


def test_another_scheduler_is_no_sdpose(tmp_path: Path) -> None:
    source, files = write_original("sdpose-body", tmp_path / "original")
    (source / "scheduler/scheduler_config.json").write_text('{"prediction_type": "epsilon"}')
    with pytest.raises(CheckpointError, match="'sample'"):
        convert("sdpose-body", source, files, tmp_path / "weights", any_size=True)


class Evil:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": vpd_tensors("vpd-depth"), "args": Evil()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="could run any code"):
        convert("vpd-depth", tmp_path, ["model.pth"], tmp_path / "weights", any_size=True)
    assert capsys.readouterr().out == ""


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    source, files = write_original("diffews", tmp_path / "original")
    file = source / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        convert("diffews", source, files, tmp_path / "weights", any_size=True)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        shapes_of(file)


def bins(folder: Path) -> None:
    """The folder's weights as older releases have them."""
    for part, stem, old in (
        ("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("text_encoder", "model", "pytorch_model"),
    ):
        file = folder / part / f"{stem}.safetensors"
        torch.save(load_file(file), folder / part / f"{old}.bin")
        file.unlink()


def shards(folder: Path) -> None:
    """The U-Net in two pieces."""
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    file.unlink()
    halves = [dict(list(tensors.items())[start::2]) for start in (0, 1)]
    names = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / "unet" / name, metadata={"format": "pt"})
    index = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    size = sum(tensor.nbytes for tensor in tensors.values())
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    )


@pytest.mark.parametrize("change", [lambda folder: None, bins, shards], ids=["safetensors", "bin", "shards"])
def test_a_backbone_is_kept_as_safetensors_and_opens(change: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(WEIGHTS / "sd1", tmp_path / "original"))
    change(source)
    names = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    convert("sd15", source, needed_files("sd15", names, source), tmp_path / "weights", any_size=True)
    assert not list((tmp_path / "weights").rglob("*.bin*"))
    loaded, own = load_added(entry_of("sd15", tmp_path)), load_diffusers_folder(WEIGHTS / "sd1")
    expected = own.variants[""].unet.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.variants[""].unet.state_dict().items())
    assert loaded.description.name == "sd15"


def test_a_backbone_of_another_size_is_refused_unless_allowed(tmp_path: Path) -> None:
    names = [file.relative_to(WEIGHTS / "sd1").as_posix() for file in (WEIGHTS / "sd1").rglob("*")]
    with pytest.raises(CheckpointError, match=r"unet .* where 859,520,964 belong"):
        convert("sd15", WEIGHTS / "sd1", needed_files("sd15", names, "sd1"), tmp_path / "weights", any_size=False)


def test_a_single_file_is_stored_under_its_own_name(tmp_path: Path) -> None:
    write(single_file_tensors(WEIGHTS / "sd1"), tmp_path / "v1-5-pruned.ckpt")
    # Its group norms can not be told from the file: the small network is refused after it was written.
    with pytest.raises(ValueError, match="num_channels"):
        convert("sd15", tmp_path, ["v1-5-pruned.ckpt"], tmp_path / "weights", any_size=True)
    assert [file.name for file in (tmp_path / "weights").iterdir()] == ["v1-5-pruned.safetensors"]


def test_verifying_again_finds_a_file_of_another_model(tmp_path: Path) -> None:
    source, files = write_original("vpd-depth", tmp_path / "original")
    convert("vpd-depth", source, files, tmp_path / "weights", any_size=True)
    assert verify("vpd-depth", tmp_path / "weights", any_size=True) == "float32"
    with pytest.raises(CheckpointError, match=r"missing.*conv_norm_out"):
        verify("vpd-segmentation", tmp_path / "weights", any_size=True)
