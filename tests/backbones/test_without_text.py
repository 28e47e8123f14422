"""What backbones without a text encoder refuse, by name."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import InvalidInput, ModelNotFound
from backbones.rows import Capture, UNetRow
from backbones.without_text import WithoutText


class Plain(WithoutText):
    name = "plain"
    alphas_cumprod = torch.linspace(1, 0, 10)
    hint = "choose another"


def row(**fields: object) -> UNetRow:
    plain: dict[str, object] = {"latents": torch.zeros(3, 4, 4), "timestep": 3, "encoder_hidden_states": None}
    return UNetRow(**{**plain, "capture": Capture(), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("refused", "field"),
    [
        (row(encoder_hidden_states=torch.zeros(2, 4)), "texts"),
        (row(capture=Capture(attention_maps=("up",))), "attention_maps"),
        (row(timestep=10), "timestep"),
        (row(timestep=-1), "timestep"),
    ],
)
def test_the_field_that_does_not_fit_is_named(refused: UNetRow, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Plain().check_plain(refused, "a small network", ("capture.attention_maps",))
    assert error.value.field == field


def test_a_plain_row_passes_and_a_variant_does_not() -> None:
    Plain().check_plain(row(), "a small network", ("bank", "capture.attention_maps"))
    with pytest.raises(ModelNotFound, match="no variant 'fitted'"):
        Plain().check_plain(row(variant="fitted"), "a small network", ())
    with pytest.raises(InvalidInput, match="choose another"):
        Plain().embed(["a cat"])
