"""DiT as a backbone. Equality with the original's outputs is proved by the conformance case `dit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backbones.class_conditional import DiffusionTransformer
from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.dit import load_dit
from backbones.rows import Capture, UNetRow
from heads.diffusion_classifier.anytime import anytime_race
from heads.diffusion_classifier.classify import evidence
from heads.diffusion_classifier.units import Layout

FILE = Path(__file__).parents[1] / "conformance/fixtures/diffusion_classifier/dit/dit.safetensors"
LATENTS = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    return load_dit(FILE, heads=4)


def row(**changes: Any) -> UNetRow:
    fields: dict[str, Any] = {
        "latents": LATENTS,
        "timestep": 500,
        "encoder_hidden_states": None,
        "capture": Capture(output=True, noise_pred=True),
        "class_label": 1,
        **changes,
    }
    return UNetRow(**fields)


def test_a_row_does_not_depend_on_its_batch_mates(model: DiffusionTransformer) -> None:
    rows = [row(class_label=label, timestep=200 * label) for label in range(5)]
    together = model.forward(rows)
    for class_row, captures in zip(rows, together, strict=True):
        (alone,) = model.forward([class_row])
        assert captures.output is not None
        assert captures.noise_pred is not None
        assert alone.output is not None
        torch.testing.assert_close(captures.output, alone.output, atol=1e-5, rtol=0)
        torch.testing.assert_close(captures.noise_pred, captures.output[:4], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"class_label": None}, "class_label"),
        ({"class_label": 5}, "class_label"),
        ({"timestep": 1000}, "timestep"),
        ({"latents": torch.zeros(4, 16, 16)}, "latents"),
        ({"encoder_hidden_states": torch.zeros(3, 32)}, "texts"),
        ({"capture": Capture(features=("pos_embed",))}, "features"),
    ],
)
def test_a_row_that_cannot_run_is_refused(model: DiffusionTransformer, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        model.check(row(**changes))
    assert refused.value.field == field


def test_classes_race_as_texts_do(model: DiffusionTransformer) -> None:
    layout = Layout(40, 20, (8,))
    errors_of = evidence(DirectEngine(model), LATENTS, range(5), b"key", layout.units)
    members = [(label,) for label in range(5)]
    whole = complete(anytime_race(errors_of, members, layout, range(20), error_rate=0))

    async def every_error() -> Tensor:
        return await errors_of(range(5), range(40))

    errors = complete(every_error())
    assert whole.elimination.leader == int(errors.mean(dim=1).argmin())
    assert whole.rows == 5 * 40
