"""Pixel-space networks take and answer rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.guided_diffusion import GuidedDiffusionFlags, build_network
from backbones.pixel_diffusion import PixelDiffusion
from backbones.rows import Capture, KeysValues, UNetRow

FLAGS = GuidedDiffusionFlags(
    image_size=16,
    num_channels=32,
    channel_mult=(1, 1),
    num_res_blocks=1,
    attention_factors=(2,),
    num_head_channels=16,
    num_classes=5,
)
PIXELS = torch.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16)
ROW = UNetRow(PIXELS, 10, None, Capture(output=True, noise_pred=True, features=("mid_block",)), class_label=2)


@pytest.fixture(scope="module")
def backbone() -> PixelDiffusion:
    torch.manual_seed(0)
    return PixelDiffusion(name="small", unet=build_network(FLAGS, torch.device("cpu")), revision="0")


def test_images_are_their_own_latents(backbone: PixelDiffusion) -> None:
    engine = DirectEngine(backbone)
    assert torch.equal(complete(engine.encode([PIXELS]))[0], PIXELS)
    assert torch.equal(complete(engine.decode([PIXELS]))[0], PIXELS)
    described = engine.backbone
    assert (described.downscale, described.scaling_factor, described.image_size) == (1, 1.0, 16)
    assert (described.max_tokens, described.num_class_labels) == (0, 5)


def test_the_predicted_noise_is_the_first_half_of_the_output(backbone: PixelDiffusion) -> None:
    captures = complete(DirectEngine(backbone).unet([ROW]))[0]
    assert captures.output is not None
    assert captures.noise_pred is not None
    assert captures.output.shape == (6, 16, 16)
    assert torch.equal(captures.noise_pred, captures.output[:3])
    assert captures.features["mid_block"].shape == (32, 8, 8)


def test_a_row_does_not_depend_on_its_batch_mates(backbone: PixelDiffusion) -> None:
    engine = DirectEngine(backbone)
    other = UNetRow(-PIXELS, 900, None, Capture(features=("conv_in",)), class_label=0)
    alone = complete(engine.unet([ROW]))[0]
    together = complete(engine.unet([other, ROW]))[1]
    torch.testing.assert_close(together.output, alone.output)


def test_there_is_no_text(backbone: PixelDiffusion) -> None:
    for call in (backbone.embed, backbone.tokenize):
        with pytest.raises(InvalidInput, match="no text encoder"):
            call([""])


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep": 1000},
        {"timestep": -1},
        {"class_label": None},
        {"class_label": 5},
        {"encoder_hidden_states": torch.zeros(2, 8)},
        {"input_convolution": "other"},
        {"bank": {"mid_block.attentions.0": KeysValues(torch.zeros(1, 32), torch.zeros(1, 32))}},
        {"capture": Capture(features=("mid",))},
        {"capture": Capture(attention_maps=("mid_block.attentions.0",))},
    ],
)
def test_rows_that_cannot_run_are_refused(backbone: PixelDiffusion, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        backbone.check(replace(ROW, **changes))


def test_there_are_no_variants(backbone: PixelDiffusion) -> None:
    with pytest.raises(ModelNotFound):
        backbone.check(replace(ROW, variant="fine-tuned"))
