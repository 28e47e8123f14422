"""Another U-Net over the same VAE and text encoder: from folders and files, in both layouts, sharing what is equal."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.variants import build_variant, load_variant
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.original_layout import rename_modules, unet_modules
from tests.backbones.small_models import WEIGHTS

STEM = "diffusion_pytorch_model"


@pytest.fixture
def backbone() -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / "sd2")


@pytest.fixture(scope="module")
def tuned_tensors() -> dict[str, Tensor]:
    """Stock names, a few tensors changed, as fine-tuning the attention alone would."""
    tensors = load_file(WEIGHTS / f"sd2/unet/{STEM}.safetensors")
    torch.manual_seed(1)
    return {
        key: tensor + 0.1 * torch.randn_like(tensor) if "attn2" in key else tensor for key, tensor in tensors.items()
    }


def in_original_layout(tensors: dict[str, Tensor], prefix: str = "model.diffusion_model.") -> dict[str, Tensor]:
    return rename_modules(tensors, unet_modules(1, (True, True, True, False)), prefix)


def save(tensors: dict[str, Tensor], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    else:
        torch.save(tensors, file)
    return file


def save_folder(tensors: dict[str, Tensor], folder: Path, ending: str = "safetensors", **config: object) -> Path:
    save(tensors, folder / f"{STEM}.{ending}")
    stock = json.loads((WEIGHTS / "sd2/unet/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stock | config))
    return folder


def row(variant: str, *, channels: int = 4, input_convolution: str = "") -> UNetRow:
    torch.manual_seed(0)
    latents, context = torch.randn(channels, 8, 8), torch.randn(5, 32)
    return UNetRow(latents, 100, context, Capture(output=True), variant=variant, input_convolution=input_convolution)


def answer(backbone: StableDiffusion, unet_row: UNetRow) -> Tensor:
    backbone.check(unet_row)
    output = backbone.forward([unet_row])[0].output
    assert output is not None
    return output


def compute_expected(tensors: dict[str, Tensor], unet_row: UNetRow) -> Tensor:
    """The stock class on these weights, without any of our code."""
    config = UNet2DConditionModel.load_config(WEIGHTS / "sd2/unet")
    unet: Any = UNet2DConditionModel.from_config(config)  # type: ignore[no-untyped-call]
    unet.load_state_dict(tensors)
    assert unet_row.encoder_hidden_states is not None
    with torch.no_grad():
        output: Tensor = unet.eval()(
            unet_row.latents[None], unet_row.timestep, unet_row.encoder_hidden_states[None]
        ).sample[0]
    return output


@pytest.mark.parametrize("layout", ["unet", "holding", "twice", "bin", "file", "bin file", "ldm", "ldm ckpt"])
def test_every_layout_answers_as_the_stock_class(
    layout: str, backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = in_original_layout(tuned_tensors) | {"first_stage_model.anything": torch.zeros(2)}
    match layout:
        case "unet":
            source = save_folder(tuned_tensors, tmp_path / "unet")
        case "holding":
            source = save_folder(tuned_tensors, tmp_path / "unet").parent
        case "twice":
            source = save_folder(tuned_tensors, tmp_path / "unet" / "unet").parents[1]
        case "bin":
            source = save_folder(tuned_tensors, tmp_path / "unet", "bin")
        case "file":
            source = save(tuned_tensors, tmp_path / "a.safetensors")
        case "bin file":
            source = save(tuned_tensors, tmp_path / "a.bin")
        case "ldm":
            source = save(whole, tmp_path / "a.safetensors")
        case _:
            source = save({"state_dict": whole}, tmp_path / "a.ckpt")  # type: ignore[dict-item]
    load_variant(backbone, "tuned", source)
    assert backbone.description.variants == ("tuned",)
    torch.testing.assert_close(
        answer(backbone, row("tuned")), compute_expected(tuned_tensors, row("")), rtol=0, atol=1e-5
    )
    assert not torch.allclose(answer(backbone, row("")), answer(backbone, row("tuned")), atol=1e-3)


def test_equal_tensors_are_held_once(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    load_variant(backbone, "tuned", save(tuned_tensors, tmp_path / "a.safetensors"))
    own = dict(backbone.variants[""].unet.named_parameters())
    for key, parameter in backbone.variants["tuned"].unet.named_parameters():
        assert (parameter.data_ptr() == own[key].data_ptr()) == ("attn2" not in key), key


def test_another_number_type_of_the_file_does_not_matter(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    halves = {key: tensor.half() for key, tensor in tuned_tensors.items()}
    load_variant(backbone, "half", save(halves, tmp_path / "a.safetensors"))
    assert answer(backbone, row("half")).dtype == torch.float32


@pytest.mark.parametrize("is_ldm", [False, True])
def test_a_second_input_convolution_is_found(
    is_ldm: bool, backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    weight, bias = torch.randn(16, 8, 3, 3), torch.randn(16)
    prefix = "model.diffusion_model." if is_ldm else ""
    tensors = in_original_layout(tuned_tensors) if is_ldm else dict(tuned_tensors)
    tensors |= {f"{prefix}conv_in_ref.weight": weight, f"{prefix}conv_in_ref.bias": bias}
    source = save(tensors, tmp_path / "a.safetensors")
    load_variant(backbone, "shots", source, input_convolutions={"support": "conv_in_ref"})
    support = row("shots", channels=8, input_convolution="support")
    entered = backbone.forward([replace(support, capture=Capture(features=("conv_in",)))])[0]
    stock = torch.nn.functional.conv2d(support.latents[None], weight, bias, padding=1)[0]
    torch.testing.assert_close(entered.features["conv_in"], stock, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        answer(backbone, row("shots")), compute_expected(tuned_tensors, row("")), rtol=0, atol=1e-5
    )


def test_a_folder_as_diffews_writes_it_loads(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = tuned_tensors | {"conv_in_ref.weight": torch.zeros(16, 8, 3, 3), "conv_in_ref.bias": torch.zeros(16)}
    folder = save_folder(tensors, tmp_path / "unet", _class_name="MyUNet2DConditionModel", in_channels_ref=8)
    load_variant(backbone, "shots", folder, input_convolutions={"support": "conv_in_ref"})
    assert backbone.variants["shots"].input_convolutions["support"].in_channels == 8


def test_the_prediction_type_is_the_backbones_unless_given(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    source = save(tuned_tensors, tmp_path / "a.safetensors")
    load_variant(backbone, "one", source)
    load_variant(backbone, "other", source, prediction_type="v_prediction")
    assert backbone.variants["one"].prediction_type == "epsilon"
    assert backbone.variants["other"].prediction_type == "v_prediction"


def test_tensors_that_the_file_lacks_may_come_from_the_backbone(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    lacking = {
        key: tensor for key, tensor in tuned_tensors.items() if not key.startswith(("conv_out.", "conv_norm_out."))
    }
    source = save(lacking, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_variant(backbone, "depth", source)
    assert error.value.missing == ("conv_norm_out.bias", "conv_norm_out.weight", "conv_out.bias", "conv_out.weight")
    load_variant(backbone, "depth", source, from_backbone=("conv_norm_out.", "conv_out."))
    torch.testing.assert_close(
        answer(backbone, row("depth")), compute_expected(tuned_tensors, row("")), rtol=0, atol=1e-5
    )


def test_tensors_in_memory_under_a_foreign_prefix(backbone: StableDiffusion, tuned_tensors: dict[str, Tensor]) -> None:
    prefix = "encoder.unet.unet.diffusion_model."
    tensors = in_original_layout(tuned_tensors, prefix) | {"decoder.weight": torch.zeros(1)}
    backbone.add_variant("depth", build_variant(backbone, tensors, source="memory", revision="1", prefix=prefix))
    torch.testing.assert_close(
        answer(backbone, row("depth")), compute_expected(tuned_tensors, row("")), rtol=0, atol=1e-5
    )


def test_a_constant_class_label_becomes_part_of_the_time_embedding(backbone: StableDiffusion, tmp_path: Path) -> None:
    config = UNet2DConditionModel.load_config(WEIGHTS / "sd2/unet")
    config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
    torch.manual_seed(2)
    stock: Any = UNet2DConditionModel.from_config(config)  # type: ignore[no-untyped-call]
    stock.eval()
    labels = torch.tensor([0.84147, 0.0, 0.54030, 1.0])
    source = save(dict(stock.state_dict()), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError):
        load_variant(backbone, "pose", source)
    load_variant(backbone, "pose", source, constant_class_labels=labels)
    unet_row = row("pose")
    assert unet_row.encoder_hidden_states is not None
    with torch.no_grad():
        context = unet_row.encoder_hidden_states[None]
        output = stock(unet_row.latents[None], unet_row.timestep, context, class_labels=labels[None]).sample[0]
    torch.testing.assert_close(answer(backbone, unet_row), output, rtol=0, atol=1e-5)


def test_weights_of_another_architecture_are_refused_with_lists(backbone: StableDiffusion) -> None:
    with pytest.raises(CheckpointError) as error:
        load_variant(backbone, "sd1", WEIGHTS / f"sd1/unet/{STEM}.safetensors")
    assert any("proj_in.weight" in key for key in error.value.mis_shaped)


def test_a_folder_of_another_architecture_is_refused(
    backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = tuned_tensors | {"conv_in.weight": torch.zeros(16, 9, 3, 3)}
    with pytest.raises(CheckpointError, match="in_channels is 9"):
        load_variant(backbone, "inpainting", save_folder(tensors, tmp_path / "unet", in_channels=9))


@pytest.mark.parametrize("is_ldm", [False, True])
def test_missing_and_unexpected_keys_are_listed(
    is_ldm: bool, backbone: StableDiffusion, tuned_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = dict(tuned_tensors)
    del tensors["conv_out.bias"]
    if is_ldm:
        tensors = in_original_layout(tensors) | {"model.diffusion_model.surprise": torch.zeros(1)}
    else:
        tensors |= {"surprise": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        load_variant(backbone, "broken", save(tensors, tmp_path / "a.safetensors"))
    assert error.value.missing == ("conv_out.bias",)
    assert error.value.unexpected == ("surprise",)
    assert backbone.description.variants == ()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "missing .conv_in_ref.weight"),
        ({"conv_in_ref.weight": torch.zeros(16, 8, 3, 3)}, "missing .bias"),
        ({"conv_in_ref.weight": torch.zeros(20, 8, 3, 3), "conv_in_ref.bias": torch.zeros(20)}, "mis-shaped"),
    ],
)
def test_an_input_convolution_that_does_not_fit_is_refused(
    tensors: dict[str, Tensor],
    message: str,
    backbone: StableDiffusion,
    tuned_tensors: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    source = save(tuned_tensors | tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_variant(backbone, "shots", source, input_convolutions={"support": "conv_in_ref"})


def test_nothing_there_is_not_found(backbone: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_variant(backbone, "x", tmp_path / "nothing.safetensors")
    with pytest.raises(ModelNotFound, match="holds no U-Net"):
        load_variant(backbone, "x", tmp_path)
    shutil.copytree(WEIGHTS / "sd2/unet", tmp_path / "unet", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ModelNotFound):
        load_variant(backbone, "x", tmp_path)
