"""The backbone encodes, embeds and decodes as the stock parts do, and refuses rows that cannot run."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import Capture, Captures, HiddenStates, KeysValues, UNetRow
from backbones.stable_diffusion import StableDiffusion, use_fast_layout, with_noise_pred
from tests.backbones.small_models import NAMES, WEIGHTS

PROMPTS = ["a photo of a cat", "", "A CAT! " * 60]
CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"
OWN = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture(scope="module", params=NAMES)
def backbone(request: pytest.FixtureRequest) -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / request.param)


def row(**changes: Any) -> UNetRow:
    torch.manual_seed(0)
    own = UNetRow(torch.randn(4, 8, 8), 500, torch.randn(77, 32), Capture(output=True))
    return replace(own, **changes)


def test_the_description_says_what_the_folder_holds(backbone: StableDiffusion) -> None:
    description = backbone.description
    assert description.name in NAMES
    assert (description.image_size, description.latent_channels, description.downscale) == (64, 4, 8)
    assert description.scaling_factor == 0.18215
    assert description.prediction_type == ("v_prediction" if description.name == "sd2v" else "epsilon")
    assert description.max_tokens == 77
    assert description.num_class_labels == 0
    assert description.variants == ()
    assert description.alphas_cumprod.shape == (1000,)
    assert "mid_block" in description.sub_blocks


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_beyond_the_embedding_is_refused_before_it_reaches_the_device(label: int) -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd1")
    unet: Any = backbone.variants[""].unet
    unet.register_to_config(num_class_embeds=3)
    backbone.check(row(class_label=2))
    with pytest.raises(InvalidInput, match=rf"{label} is outside 0\.\.2"):
        backbone.check(row(class_label=label))


def test_the_parts_are_frozen(backbone: StableDiffusion) -> None:
    for part in (backbone.vae, backbone.text_encoder, backbone.variants[""].unet):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_encode_gives_the_mean_unscaled(backbone: StableDiffusion) -> None:
    pixels = torch.rand(2, 3, 64, 48) * 2 - 1
    with torch.no_grad():
        hidden = backbone.vae.quant_conv(backbone.vae.encoder(pixels))
    latents = backbone.encode(list(pixels))
    torch.testing.assert_close(torch.stack(latents), hidden[:, :4])
    assert latents[0].shape == (4, 8, 6)


def test_decode_takes_unscaled_latents(backbone: StableDiffusion) -> None:
    latents = torch.randn(2, 4, 8, 6)
    with torch.no_grad():
        images = backbone.vae.decoder(backbone.vae.post_quant_conv(latents))
    torch.testing.assert_close(torch.stack(backbone.decode(list(latents))), images)


def test_embed_is_the_stock_text_encoder_on_padded_prompts(backbone: StableDiffusion) -> None:
    folder = WEIGHTS / backbone.name
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = CLIPTextModel.from_pretrained(folder / "text_encoder")(ids).last_hidden_state
    assert torch.equal(backbone.prompt_ids(PROMPTS), ids)
    torch.testing.assert_close(torch.stack(backbone.embed(PROMPTS)), expected)


def test_tokenize_neither_pads_nor_cuts(backbone: StableDiffusion) -> None:
    ids = backbone.tokenize(PROMPTS)
    start, end = backbone.tokenizer.bos_token_id, backbone.tokenizer.eos_token_id
    assert ids[1] == (start, end)
    assert len(ids[2]) > 77
    assert all(key[0] == start and key[-1] == end for key in ids)
    assert backbone.tokenize(["A  cat"]) == backbone.tokenize(["a cat"])


def test_threads_may_tokenize_while_others_pad(backbone: StableDiffusion) -> None:
    texts = [f"a handwritten seven number {index}" for index in range(200)]
    alone = backbone.tokenize(texts)

    def tokenize(_: int) -> bool:
        return backbone.tokenize(texts) == alone

    def pad(_: int) -> bool:
        return backbone.prompt_ids(texts).shape == (len(texts), backbone.description.max_tokens)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda turn: (pad if turn % 2 else tokenize)(turn), range(80)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_near_to_full(name: str, dtype: torch.dtype) -> None:
    half, full = load_diffusers_folder(WEIGHTS / name, dtype=dtype), load_diffusers_folder(WEIGHTS / name)
    context = full.embed(["a cat"])[0]
    capture = Capture(output=True, noise_pred=True, features=("mid_block",), attention_maps=(CROSS,))
    rows = [row(encoder_hidden_states=context, capture=capture), row(encoder_hidden_states=context[:5])]
    captures, expected = half.forward(rows)[0], full.forward(rows)[0]
    tolerance = 0.05 if dtype == torch.float16 else 0.3
    for field in ("output", "noise_pred"):
        half_tensor, full_tensor = getattr(captures, field), getattr(expected, field)
        assert half_tensor.dtype == dtype
        torch.testing.assert_close(half_tensor.float(), full_tensor, rtol=0, atol=tolerance)
    maps = captures.attention_maps[CROSS].float()
    torch.testing.assert_close(maps, expected.attention_maps[CROSS], rtol=0, atol=tolerance)
    assert half.decode(half.encode([torch.zeros(3, 64, 64)]))[0].isfinite().all()


def test_float16_on_a_cpu_gives_the_same_numbers_whatever_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = load_diffusers_folder(WEIGHTS / "sd1", dtype=torch.float16)
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def numbers() -> list[torch.Tensor]:
        output = half.forward([row(encoder_hidden_states=half.embed(["a cat"])[0])])[0].output
        assert output is not None
        return [*half.encode([pixels]), output]

    enabled = torch.backends.mkldnn.enabled
    own = numbers()
    assert torch.backends.mkldnn.enabled == enabled
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert all(map(torch.equal, own, numbers()))


# ---- rows that cannot run ----


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timestep": 1000}, "timestep"),
        ({"timestep": -1}, "timestep"),
        ({"class_label": 3}, "class_label"),
        ({"input_convolution": "support"}, "input_convolution"),
        ({"latents": torch.zeros(8, 8, 8)}, "latents"),
        ({"latents": torch.zeros(1, 4, 8, 8)}, "latents"),
        ({"encoder_hidden_states": None}, "encoder_hidden_states"),
        ({"encoder_hidden_states": torch.zeros(77, 768)}, "encoder_hidden_states"),
        ({"encoder_hidden_states": torch.zeros(0, 32)}, "encoder_hidden_states"),
        ({"capture": Capture(features=("mid_blok",))}, "features"),
        ({"capture": Capture(features=("mid_block", "output_blocks.4"))}, "features"),
        ({"capture": Capture(features=("up_blocks",))}, "features"),
        ({"capture": Capture(features=("down_blocks.0.resnets",))}, "features"),
        ({"capture": Capture(features=("",))}, "features"),
        ({"capture": Capture(attention_maps=("attn2",))}, "attention_maps"),
        ({"capture": Capture(attention_maps=(OWN,))}, "attention_maps"),
        ({"capture": Capture(attention_maps=("mid_block",))}, "attention_maps"),
        ({"capture": Capture(keys_values=("attn1",))}, "keys_values"),
        ({"capture": Capture(keys_values=(CROSS,))}, "keys_values"),
        ({"bank": {"attn1": KeysValues(torch.zeros(3, 32), torch.zeros(3, 32))}}, "bank"),
        ({"bank": {CROSS: KeysValues(torch.zeros(3, 32), torch.zeros(3, 32))}}, "bank"),
        ({"bank": {OWN: KeysValues(torch.zeros(3, 7), torch.zeros(3, 7))}}, "bank"),
        ({"bank": {OWN: KeysValues(torch.zeros(3, 32), torch.zeros(2, 32))}}, "bank"),
        ({"bank": {OWN: HiddenStates(torch.zeros(3, 7))}}, "bank"),
    ],
)
def test_a_row_that_cannot_run_is_refused_by_field(changes: Any, field: str, backbone: StableDiffusion) -> None:
    with pytest.raises(InvalidInput) as error:
        backbone.check(row(**changes))
    assert error.value.field == field


def test_a_variant_that_is_not_there_is_not_found(backbone: StableDiffusion) -> None:
    with pytest.raises(ModelNotFound, match="has no variant 'depth'"):
        backbone.check(row(variant="depth"))


def test_a_sound_row_passes(backbone: StableDiffusion) -> None:
    capture = Capture(True, True, ("mid_block", "conv_in"), (CROSS,), (OWN,))
    unet: Any = backbone.variants[""].unet
    width = unet.get_submodule(f"{OWN}.to_k").out_features
    bank = {OWN: KeysValues(torch.zeros(3, width), torch.zeros(3, width))}
    backbone.check(row(capture=capture, bank=bank, timestep=999))


def test_every_sub_block_can_be_captured(backbone: StableDiffusion) -> None:
    names = backbone.description.sub_blocks
    unet_row = row(capture=Capture(features=names))
    backbone.check(unet_row)
    features = backbone.forward([unet_row])[0].features
    assert set(features) == set(names)
    assert all(feature.ndim == 3 for feature in features.values())


# ---- variants ----


def test_a_variant_is_another_unet_with_its_own_prediction_type() -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd2")
    own = backbone.variants[""]
    tuned: Any = copy.deepcopy(own.unet)
    tuned.get_submodule("conv_out").bias.data += 1
    assert not backbone.description.variants
    backbone.add_variant("tuned", replace(own, unet=tuned, prediction_type="v_prediction", revision="2"))
    assert backbone.description.variants == ("tuned",)

    unet_row = row(capture=Capture(output=True, noise_pred=True))
    plain, other = backbone.forward([unet_row])[0], backbone.forward([replace(unet_row, variant="tuned")])[0]
    assert plain.output is not None
    assert other.output is not None
    torch.testing.assert_close(other.output, plain.output + 1, rtol=0, atol=1e-5)
    torch.testing.assert_close(plain.noise_pred, plain.output)
    alpha = float(backbone.alphas_cumprod[500])
    expected = alpha**0.5 * other.output + (1 - alpha) ** 0.5 * unet_row.latents
    torch.testing.assert_close(other.noise_pred, expected, rtol=0, atol=1e-5)


def test_equal_parameters_of_variants_share_memory() -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd1")
    own = backbone.variants[""]
    tuned: Any = copy.deepcopy(own.unet)
    tuned.get_submodule("conv_out").bias.data += 1
    backbone.add_variant("tuned", replace(own, unet=tuned))
    own_parameters = dict(own.unet.named_parameters())
    for name, parameter in tuned.named_parameters():
        assert (parameter.data_ptr() == own_parameters[name].data_ptr()) == (name != "conv_out.bias")


def test_a_variant_of_another_number_type_shares_nothing() -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd1")
    backbone.add_variant("half", replace(backbone.variants[""], unet=copy.deepcopy(backbone.variants[""].unet).half()))
    output = backbone.forward([row(variant="half")])[0].output
    assert output is not None
    assert output.dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_float32_unets_on_the_cpu_lie_channels_last_and_give_the_same(dtype: torch.dtype) -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd1")
    plain: Any = copy.deepcopy(backbone.variants[""].unet).to(dtype)
    plain = plain.to(memory_format=torch.contiguous_format)
    fast: Any = copy.deepcopy(plain)
    use_fast_layout(fast)
    weight = fast.get_submodule("conv_in").weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == (dtype == torch.float32)
    if dtype == torch.float32:
        latents, context = torch.randn(3, 4, 8, 8), torch.randn(3, 77, 32)
        pair = [unet(latents, 500, context, return_dict=False)[0] for unet in (plain, fast)]
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5)


def test_v_gives_no_noise_through_another_input_convolution() -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd2v")
    convolutions = {"support": nn.Conv2d(8, 16, 3, padding=1)}
    backbone.add_variant("shots", replace(backbone.variants[""], input_convolutions=convolutions))
    unet_row = row(variant="shots", input_convolution="support", latents=torch.zeros(8, 8, 8))
    backbone.check(unet_row)
    with pytest.raises(InvalidInput) as error:
        backbone.check(replace(unet_row, capture=Capture(noise_pred=True)))
    assert error.value.field == "noise_pred"


# ---- noise_pred ----


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noise_is_filled_in_for_the_rows_that_need_it(prediction_type: Any) -> None:
    schedule = torch.linspace(0.99, 0.01, 1000)
    rows = [
        row(capture=Capture(output=output, noise_pred=noise), timestep=step, latents=torch.randn(4, 8, 8))
        for output, noise, step in ((True, True, 10), (False, True, 900), (True, False, 5), (False, False, 5))
    ]
    outputs = [torch.randn(4, 8, 8) for _ in rows]
    captured = [Captures(output=output) for output in outputs[:3]] + [Captures()]
    filled = with_noise_pred(rows, captured, prediction_type, schedule)
    assert [captures.output is not None for captures in filled] == [True, False, True, False]
    assert [captures.noise_pred is not None for captures in filled] == [True, True, False, False]
    for index in (0, 1):
        alpha = float(schedule[rows[index].timestep])
        converted = alpha**0.5 * outputs[index] + (1 - alpha) ** 0.5 * rows[index].latents
        expected = outputs[index] if prediction_type == "epsilon" else converted
        torch.testing.assert_close(filled[index].noise_pred, expected)
