"""Every capture equals what plain diffusers computes on the same weights, in any batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from backbones.captures import forward_rows
from backbones.errors import InvalidInput
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import Bank, Capture, Captures, HiddenStates, KeysValues, UNetRow
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.small_models import NAMES, WEIGHTS

FEATURES = (
    "conv_in",
    "down_blocks.0.attentions.0",
    "down_blocks.0.downsamplers.0",
    "down_blocks.1",
    "down_blocks.3.resnets.0",
    "mid_block",
    "up_blocks.0.upsamplers.0",
    "up_blocks.1.attentions.1",
    "up_blocks.1.attentions.1.transformer_blocks.0.ff",
    "up_blocks.3.resnets.1",
    "conv_norm_out",
)
CROSS = tuple(
    f"{place}.transformer_blocks.0.attn2"
    for place in ("down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.2.attentions.1")
)
OWN = tuple(name.replace("attn2", "attn1") for name in CROSS)
EVERYTHING = Capture(output=True, noise_pred=True, features=FEATURES, attention_maps=CROSS, keys_values=OWN)


def load(name: str) -> StableDiffusion:
    """The small model, with a second input convolution of eight channels and one of two."""
    torch.manual_seed(3)
    backbone = load_diffusers_folder(WEIGHTS / name)
    own = backbone.variants[""]
    width = own.unet.get_submodule("conv_in").out_channels
    convolutions = {"support": nn.Conv2d(8, width, 3, padding=1), "narrow": nn.Conv2d(2, width, 3, padding=1)}  # type: ignore[arg-type]
    for convolution in convolutions.values():
        convolution.requires_grad_(False)
    backbone.add_variant("", replace(own, input_convolutions=convolutions))
    return backbone


MODELS = {name: load(name) for name in NAMES}


@pytest.fixture(params=NAMES)
def backbone(request: pytest.FixtureRequest) -> StableDiffusion:
    return MODELS[request.param]


@pytest.fixture
def unet(backbone: StableDiffusion) -> Any:
    return backbone.variants[""].unet


def random_row(
    seed: int, *, tokens: int = 9, size: tuple[int, int] = (8, 8), channels: int = 4, **options: Any
) -> UNetRow:
    source = torch.Generator().manual_seed(seed)
    latents = torch.randn(channels, *size, generator=source)
    context = torch.randn(tokens, 32, generator=source)
    options.setdefault("capture", EVERYTHING)
    timestep = options.pop("timestep", (37 * seed) % 1000)
    return UNetRow(latents, timestep, context, **options)


def run_alone(backbone: StableDiffusion, row: UNetRow) -> Captures:
    (captures,) = backbone.forward([row])
    return captures


def run_plainly(unet: Any, row: UNetRow) -> Tensor:
    """The stock network's own answer to one row."""
    assert row.encoder_hidden_states is not None
    with torch.no_grad():
        output: Tensor = unet(row.latents[None], row.timestep, row.encoder_hidden_states[None], return_dict=False)[0]
    return output[0]


def close(actual: Tensor | None, expected: Tensor | None, message: str = "") -> None:
    assert (actual is None) == (expected is None), message
    if actual is not None and expected is not None:
        # Float32 rounds in proportion to the largest value of a map, not to each value of it.
        tolerance = 3e-5 * (1 + float(expected.abs().max()))
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance, msg=lambda text: f"{message}: {text}")


def all_close(actual: Captures, expected: Captures) -> None:
    close(actual.output, expected.output, "output")
    close(actual.noise_pred, expected.noise_pred, "noise_pred")
    for field in ("features", "attention_maps"):
        actual_tensors, expected_tensors = getattr(actual, field), getattr(expected, field)
        assert actual_tensors.keys() == expected_tensors.keys()
        for name in actual_tensors:
            close(actual_tensors[name], expected_tensors[name], name)
    assert actual.keys_values.keys() == expected.keys_values.keys()
    for name, bank in actual.keys_values.items():
        close(bank.keys, expected.keys_values[name].keys, name)
        close(bank.values, expected.keys_values[name].values, name)


@contextmanager
def recorded(unet: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """First outputs of modules, by plain hooks."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Any) -> None:
        outputs.setdefault(name, output[0] if isinstance(output, tuple) else output)

    handles = [
        unet.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name in names
    ]
    yield outputs
    for handle in handles:
        handle.remove()


# ---- single rows against plain diffusers ----


def test_output_and_features_are_the_stock_networks(backbone: StableDiffusion, unet: Any) -> None:
    row = random_row(1)
    with recorded(unet, FEATURES) as expected:
        output = run_plainly(unet, row)
    captures = run_alone(backbone, row)
    close(captures.output, output)
    for name in FEATURES:
        close(captures.features[name], expected[name][0], name)


class PlainAttention:
    """Attention with every step written out, beside the stock processor that does not fuse; keeps probabilities."""

    def __init__(self) -> None:
        self.stock = AttnProcessor()
        self.probabilities: Tensor = torch.empty(0)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        query, key = attn.to_q(hidden_states)[0], attn.to_k(encoder_hidden_states)[0]
        heads = []
        width = query.shape[-1] // attn.heads
        for head in range(attn.heads):
            q, k = (tensor[:, head * width : (head + 1) * width].double() for tensor in (query, key))
            heads.append(((q @ k.T) / width**0.5).softmax(dim=-1))
        self.probabilities = torch.stack(heads)
        result: Tensor = self.stock(attn, hidden_states, encoder_hidden_states, attention_mask)
        return result


@pytest.mark.parametrize("size", [(8, 8), (8, 16), (5, 7)])
@pytest.mark.parametrize("tokens", [1, 9, 77])
def test_attention_maps_are_the_probabilities_averaged_over_heads(
    tokens: int, size: tuple[int, int], backbone: StableDiffusion, unet: Any
) -> None:
    row = random_row(2, tokens=tokens, size=size)
    before = dict(unet.attn_processors)
    written_out = {name: PlainAttention() for name in CROSS}
    unet.set_attn_processor(before | {f"{name}.processor": written_out[name] for name in CROSS})
    output = run_plainly(unet, row)
    unet.set_attn_processor(before)

    captures = run_alone(backbone, row)
    close(captures.output, output)
    for name in CROSS:
        expected = written_out[name].probabilities.mean(dim=0).T
        attention_map = captures.attention_maps[name]
        assert len(attention_map) == tokens
        close(attention_map.flatten(1), expected.float(), name)
        torch.testing.assert_close(attention_map.sum(dim=0), torch.ones_like(attention_map[0]))


def test_maps_have_the_height_and_width_of_their_level(backbone: StableDiffusion) -> None:
    maps = run_alone(backbone, random_row(2, size=(5, 7))).attention_maps
    assert [tuple(maps[name].shape[1:]) for name in CROSS] == [(5, 7), (1, 1), (3, 4)]


def test_keys_and_values_are_the_projections_of_the_normed_tokens(backbone: StableDiffusion, unet: Any) -> None:
    row = random_row(3)
    norms = tuple(name.replace("attn1", "norm1") for name in OWN)
    with recorded(unet, norms) as normed:
        run_plainly(unet, row)
    banks = run_alone(backbone, row).keys_values
    for name, norm in zip(OWN, norms, strict=True):
        attention, tokens = unet.get_submodule(name), normed[norm][0]
        close(banks[name].keys, tokens @ attention.to_k.weight.T)
        close(banks[name].values, tokens @ attention.to_v.weight.T)


def test_noise_pred_is_the_output_or_follows_from_v(backbone: StableDiffusion, unet: Any) -> None:
    row = random_row(4, timestep=600)
    captures, output = run_alone(backbone, row), run_plainly(unet, row)
    if backbone.description.prediction_type == "epsilon":
        close(captures.noise_pred, output)
    else:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        alpha = float((1 - betas).cumprod(0)[600])
        close(captures.noise_pred, alpha**0.5 * output + (1 - alpha) ** 0.5 * row.latents)
        assert captures.noise_pred is not None
        assert not torch.allclose(captures.noise_pred, output, atol=0.01)


def test_only_what_was_requested_comes_back(backbone: StableDiffusion) -> None:
    captures = run_alone(backbone, random_row(1, capture=Capture(noise_pred=True, features=("mid_block",))))
    assert captures.output is None
    assert captures.noise_pred is not None
    assert captures.features.keys() == {"mid_block"}
    assert not captures.attention_maps
    assert not captures.keys_values


# ---- batches ----


def captures() -> st.SearchStrategy[Capture]:
    return st.builds(
        Capture,
        output=st.booleans(),
        noise_pred=st.booleans(),
        features=st.lists(st.sampled_from(FEATURES), max_size=3).map(tuple),
        attention_maps=st.lists(st.sampled_from(CROSS), max_size=2).map(tuple),
        keys_values=st.lists(st.sampled_from(OWN), max_size=2).map(tuple),
    )


def bank_of(unet: Any, seed: int, lengths: Mapping[str, int]) -> Bank:
    source = torch.Generator().manual_seed(seed)
    return {
        name: KeysValues(*torch.randn(2, length, unet.get_submodule(name).to_k.out_features, generator=source).unbind())
        for name, length in lengths.items()
    }


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, list[UNetRow]]:
    name = draw(st.sampled_from(NAMES))
    unet = MODELS[name].variants[""].unet
    size = draw(st.sampled_from([(8, 8), (8, 16), (5, 7)]))
    rows = []
    for _ in range(draw(st.integers(2, 5))):
        seed = draw(st.integers(0, 10_000))
        capture = draw(captures())
        convolution = draw(st.sampled_from(["", "", "support", "narrow"]))
        if convolution:
            capture = replace(capture, noise_pred=False)
        lengths = draw(st.none() | st.dictionaries(st.sampled_from(OWN), st.integers(0, 70), max_size=3))
        row = random_row(
            seed,
            tokens=draw(st.sampled_from([1, 2, 40, 77]) | st.integers(1, 77)),
            size=size,
            channels={"": 4, "support": 8, "narrow": 2}[convolution],
            timestep=draw(st.integers(0, 999)),
            capture=capture,
            input_convolution=convolution,
            bank=None if lengths is None else bank_of(unet, seed + 1, lengths),
        )
        rows.append(row)
    return name, rows


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(batches())
def test_a_row_does_not_depend_on_its_batch_mates(batch: tuple[str, list[UNetRow]]) -> None:
    name, rows = batch
    for row in rows:
        MODELS[name].check(row)
    together = MODELS[name].forward(rows)
    for row, captures in zip(rows, together, strict=True):
        all_close(captures, run_alone(MODELS[name], row))


def test_rows_keep_their_order(backbone: StableDiffusion) -> None:
    rows = [random_row(seed, tokens=1 + seed) for seed in range(5)]
    forward, backward = backbone.forward(rows), backbone.forward(rows[::-1])
    for captures, expected in zip(forward, backward[::-1], strict=True):
        all_close(captures, expected)


def test_a_name_given_twice_is_captured_once_and_from_its_own_row(backbone: StableDiffusion) -> None:
    twice = Capture(features=("mid_block", "mid_block"), attention_maps=CROSS[:1] * 2, keys_values=OWN[:1] * 2)
    rows = [random_row(1, capture=twice), random_row(2, capture=Capture(output=True))]
    once = replace(rows[0], capture=Capture(features=("mid_block",), attention_maps=CROSS[:1], keys_values=OWN[:1]))
    all_close(backbone.forward(rows)[0], run_alone(backbone, once))


def test_number_types_of_batch_mates_do_not_matter(backbone: StableDiffusion) -> None:
    exact = random_row(1, tokens=7)
    assert exact.encoder_hidden_states is not None
    coarse = replace(random_row(2, tokens=3), latents=random_row(2).latents.half())
    coarse = replace(coarse, encoder_hidden_states=torch.randn(3, 32).half())
    all_close(backbone.forward([coarse, exact])[1], run_alone(backbone, exact))


def test_a_row_that_overflows_keeps_it_to_itself(backbone: StableDiffusion) -> None:
    broken = replace(random_row(1), latents=torch.full((4, 8, 8), float("nan")))
    sound = random_row(2, tokens=20)
    first, second = backbone.forward([broken, sound])
    assert first.output is not None
    assert first.output.isnan().any()
    all_close(second, run_alone(backbone, sound))


# ---- second input convolutions ----


@pytest.mark.parametrize(("name", "channels"), [("support", 8), ("narrow", 2)])
def test_a_row_enters_by_the_convolution_it_names(
    name: str, channels: int, backbone: StableDiffusion, unet: Any
) -> None:
    capture = Capture(output=True, features=("conv_in", "mid_block"))
    row = random_row(5, channels=channels, capture=capture, input_convolution=name)
    convolution = backbone.variants[""].input_convolutions[name]
    own = unet.conv_in
    unet.conv_in = convolution
    with recorded(unet, ("conv_in", "mid_block")) as expected:
        output = run_plainly(unet, row)
    unet.conv_in = own
    captures = backbone.forward([row, random_row(6)])[0]
    close(captures.output, output)
    close(captures.features["conv_in"], expected["conv_in"][0])
    close(captures.features["mid_block"], expected["mid_block"][0])


# ---- banks ----


class ConcatenatedAttention:
    """Self-attention over own and bank tokens with every step written out, for one row."""

    def __init__(self, bank: KeysValues) -> None:
        self.bank = bank

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: None = None, **_: Any) -> Tensor:
        query = attn.to_q(hidden_states)[0]
        keys = torch.cat([attn.to_k(hidden_states)[0], self.bank.keys])
        values = torch.cat([attn.to_v(hidden_states)[0], self.bank.values])
        width = query.shape[-1] // attn.heads
        heads = []
        for head in range(attn.heads):
            q, k, v = (tensor[:, head * width : (head + 1) * width] for tensor in (query, keys, values))
            heads.append(((q @ k.T) / width**0.5).softmax(dim=-1) @ v)
        result: Tensor = attn.to_out[0](torch.cat(heads, dim=-1))[None]
        return result


def every_own_attention(unet: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, _ in unet.named_modules() if name.endswith("attn1"))


@pytest.mark.parametrize("shots", [1, 3])
def test_a_bank_is_read_as_concatenated_tokens(shots: int, backbone: StableDiffusion, unet: Any) -> None:
    layers = every_own_attention(unet)
    supports = [
        random_row(10 + shot, channels=8, input_convolution="support", capture=Capture(keys_values=layers))
        for shot in range(shots)
    ]
    captured = [captures.keys_values for captures in backbone.forward(supports)]
    bank = {
        name: KeysValues(
            torch.cat([capture[name].keys for capture in captured]),
            torch.cat([capture[name].values for capture in captured]),
        )
        for name in layers
    }
    query = random_row(20, tokens=2, timestep=1, bank=bank)

    before = dict(unet.attn_processors)
    unet.set_attn_processor(before | {f"{name}.processor": ConcatenatedAttention(bank[name]) for name in layers})
    expected = run_plainly(unet, query)
    unet.set_attn_processor(before)

    together = backbone.forward([query, random_row(21, tokens=77), replace(query, bank=None)])
    close(together[0].output, expected)
    close(together[2].output, run_plainly(unet, query))
    assert not torch.allclose(expected, run_plainly(unet, query), atol=1e-3)


def test_hidden_states_are_read_as_the_keys_and_values_that_they_give(backbone: StableDiffusion, unet: Any) -> None:
    layers = every_own_attention(unet)
    norms = tuple(name.removesuffix("attn1") + "norm1" for name in layers)
    capture = Capture(features=norms, keys_values=layers)
    support = random_row(10, channels=8, input_convolution="support", capture=capture)
    captured = backbone.forward([support])[0]
    states = {name: HiddenStates(captured.features[norm]) for name, norm in zip(layers, norms, strict=True)}
    query = random_row(20, tokens=2, bank=captured.keys_values)
    shorter = {name: HiddenStates(state.states[:5]) for name, state in states.items()}
    expected = run_alone(backbone, query)
    captures = backbone.forward([replace(query, bank=states), replace(query, bank=shorter)])
    all_close(captures[0], expected)
    assert captures[1].output is not None
    assert expected.output is not None
    assert not torch.allclose(captures[1].output, expected.output, atol=1e-3)


def test_a_row_with_a_bank_still_captures_its_own_keys(backbone: StableDiffusion, unet: Any) -> None:
    row = random_row(7, bank=bank_of(unet, 1, {OWN[0]: 30}))
    assert len(run_alone(backbone, row).keys_values[OWN[0]].keys) == 64


@pytest.mark.parametrize("lengths", [{}, dict.fromkeys(OWN, 0)])
def test_an_empty_bank_is_no_bank(lengths: dict[str, int], backbone: StableDiffusion, unet: Any) -> None:
    row = random_row(8)
    all_close(run_alone(backbone, replace(row, bank=bank_of(unet, 1, lengths))), run_alone(backbone, row))


# ---- stopping early ----


@pytest.mark.parametrize(
    ("options", "ran", "not_run"),
    [
        ({"features": ("down_blocks.0.attentions.0",)}, "down_blocks.0.resnets.0", "down_blocks.0.downsamplers.0"),
        ({"features": ("mid_block",)}, "mid_block.resnets.1", "up_blocks.0"),
        ({"features": ("mid_block", "up_blocks.1.attentions.1")}, "up_blocks.0", "up_blocks.1.upsamplers.0"),
        ({"attention_maps": CROSS[1:2]}, "down_blocks.3", "mid_block.resnets.1"),
        ({"keys_values": OWN[:1]}, "down_blocks.0.resnets.0", CROSS[0]),
    ],
)
def test_unneeded_work_is_not_computed(
    options: dict[str, Any], ran: str, not_run: str, backbone: StableDiffusion, unet: Any
) -> None:
    early = random_row(1, capture=Capture(**options))
    with recorded(unet, (ran, not_run)) as executed:
        captures = run_alone(backbone, early)
    assert executed.keys() == {ran}

    with recorded(unet, (ran, not_run)) as executed:
        mixed = backbone.forward([early, random_row(2)])
    assert executed.keys() == {ran, not_run}
    all_close(mixed[0], captures)


def test_two_early_rows_stop_after_the_later(backbone: StableDiffusion, unet: Any) -> None:
    rows = [
        random_row(1, capture=Capture(features=("down_blocks.1",))),
        random_row(2, capture=Capture(attention_maps=CROSS[1:2])),
    ]
    with recorded(unet, ("mid_block.attentions.0.norm", "up_blocks.0")) as executed:
        together = backbone.forward(rows)
    assert executed.keys() == {"mid_block.attentions.0.norm"}
    for row, captures in zip(rows, together, strict=True):
        all_close(captures, run_alone(backbone, row))


# ---- the network stays as it was ----


def handles(unet: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unet.modules())


def test_no_hook_or_processor_stays_behind(backbone: StableDiffusion, unet: Any) -> None:
    before = dict(unet.attn_processors)
    backbone.forward([random_row(1, bank=bank_of(unet, 1, {OWN[1]: 5})), random_row(2)])
    run_alone(backbone, random_row(3, capture=Capture(features=("mid_block",)), bank=bank_of(unet, 1, {OWN[2]: 5})))
    broken = random_row(4, bank={OWN[0]: KeysValues(torch.zeros(3, 5), torch.zeros(3, 5))})
    with pytest.raises(RuntimeError):
        run_alone(backbone, broken)
    assert handles(unet) == 0
    assert unet.attn_processors == before


def test_a_module_that_never_runs_is_an_error_and_not_a_wrong_answer(unet: Any) -> None:
    with pytest.raises(InvalidInput, match="did not run the modules"):
        forward_rows(unet, [random_row(1, capture=Capture(features=("up_blocks",)))], {})


def test_two_threads_pass_through_one_network_at_a_time(backbone: StableDiffusion) -> None:
    context, generator = torch.randn(5, backbone.variants[""].unet.config.cross_attention_dim), torch.Generator()  # type: ignore[union-attr, arg-type]
    latents = torch.randn(4, 8, 8, generator=generator.manual_seed(1))
    plain = UNetRow(latents, 10, context, Capture(noise_pred=True))
    (whole,) = backbone.forward(
        [replace(plain, capture=Capture(features=FEATURES, attention_maps=CROSS, keys_values=OWN))]
    )
    kinds = [
        [replace(plain, bank=whole.keys_values)],
        [replace(plain, capture=Capture(features=FEATURES[:3], attention_maps=CROSS[:1]))],
        [plain, plain],
    ]
    alone = [backbone.forward(rows) for rows in kinds]
    with ThreadPoolExecutor(3) as threads:
        for batch, expected_batch in zip(threads.map(backbone.forward, kinds * 4), alone * 4, strict=True):
            for captures, expected in zip(batch, expected_batch, strict=True):
                torch.testing.assert_close(captures.noise_pred, expected.noise_pred, atol=1e-5, rtol=1e-5)
                assert captures.features.keys() == expected.features.keys()
                for name, feature in captures.features.items():
                    torch.testing.assert_close(feature, expected.features[name], atol=1e-5, rtol=1e-5)
    unet: Any = backbone.variants[""].unet
    assert not any(module._forward_hooks for module in unet.modules())
    assert not any("ByThread" in type(attn_processor).__name__ for attn_processor in unet.attn_processors.values())
