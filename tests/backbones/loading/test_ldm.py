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
from backbones.loading import ldm, ldm_config
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.ldm import load_single_file
from backbones.loading.ldm_config import Unrecorded
from backbones.loading.published_keys import sd1_unet_keys, vae_encoder_keys
from backbones.loading.weight_files import fill
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.original_layout import averaged_only, renamed, single_file_tensors, unet_modules, vae_tensors
from tests.backbones.small_models import NAMES, UNRECORDED, WEIGHTS


def write(tensors: dict[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, file)
    else:
        torch.save({"state_dict": tensors, "global_step": 470000, "epoch": 3}, file)
    return file


def load(file: Path, name: str, **options: Any) -> StableDiffusion:
    return load_single_file(file, UNRECORDED[name], tokenizer=WEIGHTS / name / "tokenizer", **options)


def assert_same_answers(one: StableDiffusion, other: StableDiffusion) -> None:
    """Weights to the bit; results to the rounding that the place of a weight in memory decides."""
    for part in ("unet", "vae", "text_encoder"):
        networks = [model.variants[""].unet if part == "unet" else getattr(model, part) for model in (one, other)]
        weights, expected_weights = (network.state_dict() for network in networks)
        assert weights.keys() == expected_weights.keys()
        assert all(torch.equal(weights[key], expected_weights[key]) for key in weights)
    torch.manual_seed(0)
    pixels = torch.rand(3, 64, 64) * 2 - 1
    latents, expected_latents = one.encode([pixels])[0], other.encode([pixels])[0]
    context, expected_context = (model.embed(["a cat on a mat!"])[0] for model in (one, other))
    row = UNetRow(latents, 500, context, Capture(output=True, noise_pred=True))
    (got,), (expected,) = one.forward([row]), other.forward([row])
    close(latents, expected_latents)
    close(context, expected_context)
    close(one.decode([latents])[0], other.decode([latents])[0])
    close(got.output, expected.output)
    close(got.noise_pred, expected.noise_pred)


def close(got: Tensor | None, expected: Tensor | None) -> None:
    assert got is not None
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


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
    average = {key: tensor + 1 for key, tensor in averaged_only(tensors).items() if key.startswith("model_ema.")}
    single = load(write(tensors | average, tmp_path / "model.safetensors"), "sd1")
    assert_same_answers(single, load_diffusers_folder(WEIGHTS / "sd1"))


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_the_average_is_used_where_it_is_alone(name: str, tmp_path: Path) -> None:
    single = load(write(averaged_only(single_file_tensors(WEIGHTS / name)), tmp_path / "model.safetensors"), name)
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


def test_the_revision_tells_files_and_parameters_apart(tmp_path: Path) -> None:
    tensors = single_file_tensors(WEIGHTS / "sd2")
    file = write(tensors, tmp_path / "model.safetensors")
    tensors["model.diffusion_model.out.2.bias"] = tensors["model.diffusion_model.out.2.bias"] + 1
    changed = write(tensors, tmp_path / "changed.safetensors")
    loaded = [load(file, "sd2"), load(file, "sd2"), load(file, "sd2v"), load(changed, "sd2")]
    first, again, *others = [one.description.revision for one in loaded]
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
def test_published_names_tell_what_sd_2_predicts(stem: str, expected: tuple[str, int], tmp_path: Path) -> None:
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
    with pytest.raises(CheckpointError, match="knows 595 tokens, the tokenizer 49408"):
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

PUBLISHED_UNET: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "sample_size": 96,
    },
}


def original_unet(generation: str) -> dict[str, Tensor]:
    stock = ldm.build_unet({"block_out_channels": (320, 640, 1280, 1280), **PUBLISHED_UNET[generation]})
    return renamed(stock.state_dict(), unet_modules(2, (True, True, True, False)), "")


def original_vae() -> dict[str, Tensor]:
    types = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    stock = ldm.build_vae(
        {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4} | types
    )
    tensors = vae_tensors(stock.state_dict(), depth=2)
    return {key.removeprefix("first_stage_model."): tensor for key, tensor in tensors.items()}


def count(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("generation", "size"), [("sd1", 859_520_964), ("sd2", 865_910_724)])
def test_full_size_unets_are_inferred_from_their_shapes(generation: str, size: int) -> None:
    tensors = original_unet(generation)
    config = ldm_config.unet_config(
        tensors,
        ldm_config.AS_PUBLISHED,
        generation,
        sample_size=PUBLISHED_UNET[generation]["sample_size"],
    )
    expected = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, **PUBLISHED_UNET[generation]}
    assert {key: config[key] for key in expected} == expected
    unet = ldm.build_unet(config)
    fill(unet, ldm.convert_unet(tensors, config), generation, torch.float32)
    assert ldm.lost(tensors, ldm.convert_unet(tensors, config)) == ()
    assert count(unet) == size


def test_the_full_size_vae_is_inferred_from_its_shapes() -> None:
    tensors = original_vae()
    config = ldm_config.vae_config(tensors, ldm_config.AS_PUBLISHED, "vae")
    vae = ldm.build_vae(config)
    fill(vae, ldm.convert_vae(tensors, config), "vae", torch.float32)
    assert count(vae) == 83_653_863
    assert vae.config.scaling_factor == 0.18215


@pytest.mark.parametrize(("is_open_clip", "size", "layers"), [(False, 123_060_480, 12), (True, 340_387_840, 23)])
def test_full_size_text_encoders_are_inferred_from_their_shapes(is_open_clip: bool, size: int, layers: int) -> None:
    width, heads, depth = (1024, 16, 24) if is_open_clip else (768, 12, 12)
    tensors = open_clip_shapes(width, depth) if is_open_clip else clip_shapes(width, depth)
    config = ldm_config.text_config(tensors, is_open_clip, ldm_config.AS_PUBLISHED, "text")
    text_encoder = ldm.build_text_encoder(config)
    fill(text_encoder, ldm.convert_text(tensors, is_open_clip, text_encoder), "text", torch.float32)
    assert count(text_encoder) == size
    assert (text_encoder.config.num_hidden_layers, text_encoder.config.num_attention_heads) == (layers, heads)
    assert text_encoder.config.hidden_act == ("gelu" if is_open_clip else "quick_gelu")


def clip_shapes(width: int, depth: int) -> dict[str, Tensor]:
    square, wide = (width, width), (4 * width, width)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (49408, width),
        "embeddings.position_embedding.weight": (77, width),
        "embeddings.position_ids": (1, 77),
        "final_layer_norm.weight": (width,),
        "final_layer_norm.bias": (width,),
    }
    for layer in range(depth):
        names = {f"self_attn.{part}_proj": square for part in ("q", "k", "v", "out")}
        names |= {"mlp.fc1": wide, "mlp.fc2": wide[::-1]}
        for name, shape in names.items():
            shapes[f"encoder.layers.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"encoder.layers.{layer}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    return {f"text_model.{key}": torch.empty(shape, device="meta") for key, shape in shapes.items()}


def open_clip_shapes(width: int, depth: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for layer in range(depth):
        there = f"transformer.resblocks.{layer}"
        shapes |= {f"{there}.attn.in_proj_weight": (3 * width, width), f"{there}.attn.in_proj_bias": (3 * width,)}
        wide = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
        for name, shape in wide.items():
            shapes |= {f"{there}.{name}.weight": shape, f"{there}.{name}.bias": shape[:1]}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{there}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_names_and_shapes_of_a_published_unet_and_encoder_fit() -> None:
    """Names and shapes out of another system's original code: SD 1.x's U-Net without `out`, VAE without decoder."""
    unet_part = {key: torch.empty(shape, device="meta") for key, shape in sd1_unet_keys(output=False).items()}
    config = ldm_config.unet_config(unet_part, ldm_config.AS_PUBLISHED, "manifest", sample_size=64)
    converted = ldm.convert_unet(unet_part, config)
    assert ldm.lost(unet_part, converted) == ()
    with pytest.raises(CheckpointError) as error:
        fill(ldm.build_unet(config), converted, "manifest", torch.float32)
    assert error.value.missing == ("conv_norm_out.bias", "conv_norm_out.weight", "conv_out.bias", "conv_out.weight")
    assert error.value.unexpected == error.value.mis_shaped == ()

    vae_part = {key: torch.empty(shape, device="meta") for key, shape in vae_encoder_keys().items()}
    config = ldm_config.vae_config(vae_part, ldm_config.AS_PUBLISHED, "manifest")
    converted = ldm.convert_vae(vae_part, config)
    assert ldm.lost(vae_part, converted) == ()
    with pytest.raises(CheckpointError) as error:
        fill(ldm.build_vae(config), converted, "manifest", torch.float32)
    assert all(key.startswith("decoder.") for key in error.value.missing)
    assert error.value.unexpected == error.value.mis_shaped == ()


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
    unet = ldm.build_unet({"block_out_channels": (320, 640, 1280, 1280), **PUBLISHED_UNET["sd1"]}).eval()
    with torch.device("meta"):
        capture = Capture(output=True, features=tuple(BLOCKS))
        row = UNetRow(torch.empty(4, 64, 64), 1, torch.empty(77, 768), capture)
        (got,) = forward_rows(unet, [row], {})
    assert {name: tuple(got.features[name].shape) for name in BLOCKS} == {
        name: (channels, side, side) for name, (channels, side) in BLOCKS.items()
    }
    assert got.output is not None
    assert got.output.shape == (4, 64, 64)
