"""A single file in the original layout answers exactly as the diffusers folder with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backbones.captures import forward_rows
from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading import ldm, stock_networks
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.ldm import load_single_file
from backbones.loading.ldm_config import Unrecorded
from backbones.loading.published_keys import sd1_unet_keys
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.loading.test_ldm_config import PUBLISHED_UNET
from tests.backbones.original_layout import keep_average_only, single_file_tensors
from tests.backbones.small_models import NAMES, UNRECORDED, WEIGHTS


def write(tensors: dict[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, file)
    else:
        torch.save({"state_dict": tensors, "global_step": 470000, "epoch": 3}, file)
    return file


def load(file: Path, name: str, **options: Any) -> StableDiffusion:
    return load_single_file(file, UNRECORDED[name], tokenizer=WEIGHTS / name / "tokenizer", **options)


def assert_same_answers(backbone: StableDiffusion, expected_backbone: StableDiffusion) -> None:
    """Weights are equal to the bit; results within rounding, which depends on the alignment of weights in memory."""
    for part in ("unet", "vae", "text_encoder"):
        networks = [
            model.variants[""].unet if part == "unet" else getattr(model, part)
            for model in (backbone, expected_backbone)
        ]
        weights, expected_weights = (network.state_dict() for network in networks)
        assert weights.keys() == expected_weights.keys()
        assert all(torch.equal(weights[key], expected_weights[key]) for key in weights)
    torch.manual_seed(0)
    pixels = torch.rand(3, 64, 64) * 2 - 1
    latents, expected_latents = backbone.encode([pixels])[0], expected_backbone.encode([pixels])[0]
    context, expected_context = (model.embed(["a cat on a mat!"])[0] for model in (backbone, expected_backbone))
    row = UNetRow(latents, 500, context, Capture(output=True, noise_pred=True))
    (captures,), (expected,) = backbone.forward([row]), expected_backbone.forward([row])
    close(latents, expected_latents)
    close(context, expected_context)
    close(backbone.decode([latents])[0], expected_backbone.decode([latents])[0])
    close(captures.output, expected.output)
    close(captures.noise_pred, expected.noise_pred)


def close(actual: Tensor | None, expected: Tensor | None) -> None:
    assert actual is not None
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("name", NAMES)
def test_a_single_file_answers_as_its_folder(name: str, ending: str, tmp_path: Path) -> None:
    folder = load_diffusers_folder(WEIGHTS / name)
    file = write(single_file_tensors(WEIGHTS / name), tmp_path / f"model.{ending}")
    single = load(file, name)
    assert_same_answers(single, folder)
    for field in ("image_size", "latent_channels", "downscale", "scaling_factor", "prediction_type", "max_tokens"):
        assert getattr(single.description, field) == getattr(folder.description, field)
    assert torch.equal(single.alphas_cumprod, folder.alphas_cumprod)


def test_text_names_without_their_wrapper_load_too(tmp_path: Path) -> None:
    tensors = {key.replace("text_model.", ""): tensor for key, tensor in single_file_tensors(WEIGHTS / "sd1").items()}
    single = load(write(tensors, tmp_path / "model.safetensors"), "sd1")
    assert_same_answers(single, load_diffusers_folder(WEIGHTS / "sd1"))


def test_the_plain_weights_go_before_their_average(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd1")
    average = {key: tensor + 1 for key, tensor in keep_average_only(tensors).items() if key.startswith("model_ema.")}
    single = load(write(tensors | average, tmp_path / "model.safetensors"), "sd1")
    assert_same_answers(single, load_diffusers_folder(WEIGHTS / "sd1"))


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_the_average_is_used_where_it_is_alone(name: str, tmp_path: Path) -> None:
    single = load(write(keep_average_only(single_file_tensors(WEIGHTS / name)), tmp_path / "model.safetensors"), name)
    assert_same_answers(single, load_diffusers_folder(WEIGHTS / name))


def test_another_schedule_in_the_file_is_used(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd1")
    tensors["alphas_cumprod"] = torch.linspace(0.999, 0.0, 1000)
    single = load(write(tensors, tmp_path / "model.safetensors"), "sd1")
    assert torch.equal(single.alphas_cumprod, tensors["alphas_cumprod"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads_and_runs(dtype: torch.dtype, tmp_path: Path) -> None:
    single = load(write(single_file_tensors(WEIGHTS / "sd2v"), tmp_path / "model.safetensors"), "sd2v", dtype=dtype)
    assert single.description.dtype == dtype
    context = single.embed(["a cat"])[0]
    row = UNetRow(torch.randn(4, 8, 8), 10, context, Capture(noise_pred=True))
    noise_pred = single.forward([row])[0].noise_pred
    assert noise_pred is not None
    assert noise_pred.dtype == dtype
    assert noise_pred.isfinite().all()
    assert single.decode([single.encode([torch.zeros(3, 64, 64)])[0]])[0].isfinite().all()


def test_the_revision_depends_on_files_and_parameters(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd2")
    file = write(tensors, tmp_path / "model.safetensors")
    tensors["model.diffusion_model.out.2.bias"] = tensors["model.diffusion_model.out.2.bias"] + 1
    changed = write(tensors, tmp_path / "changed.safetensors")
    loaded = [load(file, "sd2"), load(file, "sd2"), load(file, "sd2v"), load(changed, "sd2")]
    first, again, *others = [model.description.revision for model in loaded]
    assert first == again
    assert len({first, *others}) == 3


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("v2-1_768-ema-pruned", ("v_prediction", 768)),
        ("768-v-ema", ("v_prediction", 768)),
        ("v2-1_512-ema-pruned", ("epsilon", 512)),
        ("512-base-ema", ("epsilon", 512)),
    ],
)
def test_the_published_file_names_decide_what_sd_2_predicts(
    stem: str, expected: tuple[str, int], tmp_path: Path
) -> None:
    file = write(single_file_tensors(WEIGHTS / "sd2"), tmp_path / f"{stem}.safetensors")
    unrecorded = Unrecorded(attention_heads=(2, 4, 4, 4), norm_groups=4, text_heads=4, text_layers=2)
    description = load_single_file(file, unrecorded, tokenizer=WEIGHTS / "sd2/tokenizer").description
    assert (description.prediction_type, description.image_size) == expected


def test_any_other_name_of_an_sd_2_file_asks_what_it_predicts(tmp_path: Path) -> None:
    file = write(single_file_tensors(WEIGHTS / "sd2"), tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="prediction_type"):
        load_single_file(file, Unrecorded(norm_groups=4), tokenizer=WEIGHTS / "sd2/tokenizer")


def test_a_tokenizer_beyond_the_text_encoder_is_refused(tmp_path: Path) -> None:
    file = write(single_file_tensors(WEIGHTS / "sd1"), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="has 595 tokens, but the tokenizer 49408"):
        load_single_file(file, UNRECORDED["sd1"])


def test_missing_unexpected_and_mis_shaped_keys_are_listed(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd1")
    del tensors["model.diffusion_model.middle_block.1.norm.weight"]
    tensors["model.diffusion_model.label_emb.0.0.weight"] = torch.zeros(3)
    tensors["model.diffusion_model.out.2.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as error:
        load(write(tensors, tmp_path / "model.safetensors"), "sd1")
    assert error.value.missing == ("mid_block.attentions.0.norm.weight",)
    assert error.value.unexpected == ("label_emb.0.0.weight",)
    assert error.value.mis_shaped == ("conv_out.bias: (5,) where (4,) belongs",)


@pytest.mark.parametrize(
    "key",
    [
        "first_stage_model.decoder.mid.attn_1.q.weight",
        "first_stage_model.encoder.down.2.block.0.conv2.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight",
        "cond_stage_model.model.token_embedding.weight",
    ],
)
def test_one_missing_tensor_is_named(key: str, tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd2")
    del tensors[key]
    with pytest.raises(CheckpointError) as error:
        load(write(tensors, tmp_path / "model.safetensors"), "sd2")
    assert error.value.missing


@pytest.mark.parametrize("prefix", ["first_stage_model.decoder.", "cond_stage_model.model.", "model.diffusion_model."])
def test_an_unknown_tensor_is_named(prefix: str, tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd2") | {f"{prefix}surprise.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError) as error:
        load(write(tensors, tmp_path / "model.safetensors"), "sd2")
    assert [key for key in error.value.unexpected if key.endswith("surprise.weight")]


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    tensors = {
        key.replace("cond_stage_model.transformer.", "conditioner.embedders.0.transformer."): tensor
        for key, tensor in single_file_tensors(WEIGHTS / "sd1").items()
    }
    with pytest.raises(CheckpointError, match="SD XL") as error:
        load(write(tensors, tmp_path / "xl.safetensors"), "sd1")
    assert "cond_stage_model.transformer.*" in error.value.missing[0]
    assert "conditioner.embedders.*" in error.value.unexpected


def test_an_inpainting_network_is_refused(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd1")
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(16, 9, 3, 3)
    with pytest.raises(CheckpointError, match="takes 9 channels"):
        load(write(tensors, tmp_path / "model.safetensors"), "sd1")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_single_file(tmp_path / "nothing.safetensors")


# ---- full size, without memory: every network below lies on the meta device ----


def test_flattened_names_of_a_published_unet_get_their_dots_back() -> None:
    names = list(sd1_unet_keys(output=False))
    averages = {"model_ema.diffusion_model" + name.replace(".", ""): torch.zeros(()) for name in names}
    assert list(ldm.unet_tensors(averages)) == names


BLOCKS = {
    "conv_in": (320, 64),
    "down_blocks.0.attentions.0": (320, 64),
    "down_blocks.0.attentions.1": (320, 64),
    "down_blocks.0.downsamplers.0": (320, 32),
    "down_blocks.1.attentions.1": (640, 32),
    "down_blocks.1.downsamplers.0": (640, 16),
    "down_blocks.2.attentions.0": (1280, 16),
    "down_blocks.2.downsamplers.0": (1280, 8),
    "down_blocks.3.resnets.1": (1280, 8),
    "mid_block": (1280, 8),
    "up_blocks.0.resnets.0": (1280, 8),
    "up_blocks.0.upsamplers.0": (1280, 16),
    "up_blocks.1.attentions.0": (1280, 16),
    "up_blocks.1.attentions.1": (1280, 16),
    "up_blocks.1.upsamplers.0": (1280, 32),
    "up_blocks.2.attentions.1": (640, 32),
    "up_blocks.2.upsamplers.0": (640, 64),
    "up_blocks.3.attentions.2": (320, 64),
}


def test_the_named_blocks_of_a_full_size_unet_have_the_published_sizes() -> None:
    unet = stock_networks.build_unet({"block_out_channels": (320, 640, 1280, 1280), **PUBLISHED_UNET["sd1"]}).eval()
    with torch.device("meta"):
        capture = Capture(output=True, features=tuple(BLOCKS))
        row = UNetRow(torch.empty(4, 64, 64), 1, torch.empty(77, 768), capture)
        (captures,) = forward_rows(unet, [row], {})
    assert {name: tuple(captures.features[name].shape) for name in BLOCKS} == {
        name: (channels, side, side) for name, (channels, side) in BLOCKS.items()
    }
    assert captures.output is not None
    assert captures.output.shape == (4, 64, 64)
