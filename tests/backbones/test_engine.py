"""The direct engine answers in order, in batches that the backbone can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from backbones.engine import APPLIED, DirectEngine, batch_key, complete
from backbones.errors import InvalidInput
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.small_models import WEIGHTS


class CountingBackbone(StableDiffusion):
    """Records the number of rows of each pass."""

    passes: list[int]

    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        self.passes.append(len(rows))
        return super().forward(rows)


@pytest.fixture(scope="module")
def plain_backbone() -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / "sd1")


@pytest.fixture
def backbone(plain_backbone: StableDiffusion) -> CountingBackbone:
    counting = CountingBackbone(
        name="counting",
        vae=plain_backbone.vae,
        text_encoder=plain_backbone.text_encoder,
        tokenizer=plain_backbone.tokenizer,
        variants=plain_backbone.variants,
        alphas_cumprod=plain_backbone.alphas_cumprod,
    )
    counting.passes = []
    return counting


def row(seed: int, side: int = 8, **changes: Any) -> UNetRow:
    generator = torch.Generator().manual_seed(seed)
    latents, context = torch.randn(4, side, side, generator=generator), torch.randn(5, 32, generator=generator)
    return replace(UNetRow(latents, 500, context, Capture(output=True)), **changes)


def test_rows_are_cut_where_the_batch_is_full_or_the_size_changes(backbone: CountingBackbone) -> None:
    rows = [row(seed, side) for seed, side in enumerate([8, 8, 8, 16, 16, 8])]
    results = complete(DirectEngine(backbone, max_rows=2).unet(rows))
    assert backbone.passes == [2, 1, 2, 1]
    for unet_row, result in zip(rows, results, strict=True):
        expected = backbone.forward([unet_row])[0].output
        assert result.output is not None
        assert expected is not None
        torch.testing.assert_close(result.output, expected, atol=1e-5, rtol=0)


def test_no_row_runs_if_one_cannot(backbone: CountingBackbone) -> None:
    with pytest.raises(InvalidInput, match="1000 is outside"):
        complete(DirectEngine(backbone).unet([row(0), row(1, timestep=1000)]))
    assert backbone.passes == []


def test_images_of_several_sizes_and_texts_come_back_in_order(backbone: CountingBackbone) -> None:
    engine = DirectEngine(backbone)
    images = [torch.rand(3, side, side) * 2 - 1 for side in (32, 16, 32)]
    latents = complete(engine.encode(images))
    assert [tuple(latent.shape) for latent in latents] == [(4, 4, 4), (4, 2, 2), (4, 4, 4)]
    assert [tuple(decoded.shape) for decoded in complete(engine.decode(latents))] == [
        tuple(image.shape) for image in images
    ]
    cat, dog = complete(engine.embed(["a cat", "a dog"]))
    torch.testing.assert_close(complete(engine.embed(["a dog"]))[0], dog)
    assert not torch.equal(cat, dog)
    assert complete(engine.unet([])) == []
    assert engine.tokenize(["a cat"]) == backbone.tokenize(["a cat"])
    assert engine.backbone is backbone.description


def test_functions_run_at_once(backbone: CountingBackbone) -> None:
    engine = DirectEngine(backbone)
    assert complete(engine.run(max, 1, 2)) == 2
    assert complete(engine.run_on_host(min, 1, 2)) == 1


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"timestep": 3}, True),
        ({"encoder_hidden_states": torch.zeros(77, 32)}, True),
        ({"input_convolution": "support", "latents": torch.zeros(8, 8, 8)}, True),
        ({"capture": Capture(noise_pred=True)}, True),
        ({"variant": "other"}, False),
        ({"latents": torch.zeros(4, 8, 16)}, False),
        ({"encoder_hidden_states": None}, False),
        ({"class_label": 1}, False),
    ],
)
def test_rows_share_a_batch_by_network_and_size(changes: dict[str, Any], shared: bool) -> None:
    assert (batch_key(row(0)) == batch_key(row(1, **changes))) == shared


def test_texts_share_a_batch_and_tensors_of_one_shape_do() -> None:
    assert batch_key("a cat") == batch_key("a longer text")
    assert batch_key(torch.zeros(3, 8, 8)) == batch_key(torch.ones(3, 8, 8))
    assert batch_key(torch.zeros(3, 8, 8)) != batch_key(torch.zeros(3, 8, 16))


def test_a_network_gets_its_inputs_in_batches(plain_backbone: StableDiffusion) -> None:
    sizes: list[int] = []

    def negate(inputs: Sequence[int]) -> list[int]:
        sizes.append(len(inputs))
        return [-input_ for input_ in inputs]

    count = 2 * APPLIED + 1
    assert complete(DirectEngine(plain_backbone).apply(negate, range(count))) == [-index for index in range(count)]
    assert sizes == [APPLIED, APPLIED, 1]
