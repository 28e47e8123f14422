"""What a model fills in, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backbones.errors import InvalidInput
from backbones.stable_diffusion import StableDiffusion
from heads.inputs import InputCounts
from heads.marigold.depth import RelativeDepthOptions, complete_relative_depth
from heads.marigold.model import MarigoldModel, open_marigold
from heads.marigold.options import MarigoldOptions, complete_marigold, count_rows
from service.settings.groups import LimitSettings
from tests.heads.marigold.original_files import write_original

LIMITS = LimitSettings()


@pytest.fixture(scope="module")
def model(backbone: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> MarigoldModel:
    folder = tmp_path_factory.mktemp("depth")
    config = backbone.variants[""].unet.config
    return open_marigold("depth", backbone, write_original("depth", folder, unet=config))  # type: ignore[arg-type]


def test_steps_and_resolution_are_the_models_own(model: MarigoldModel) -> None:
    options = complete_marigold(MarigoldOptions(ensemble_size=5), model, InputCounts(), LIMITS)
    assert (options.steps, options.resolution) == (2, 64)
    assert count_rows(options, model) == 10
    chosen = complete_marigold(MarigoldOptions(steps=1, resolution=0), model, InputCounts(), LIMITS)
    assert (chosen.steps, chosen.resolution) == (1, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": 100}, "not a multiple of 8"),
        ({"uncertainty": True}, "ensemble_size"),
        ({"points": [[1, 1, 1]]}, "two at least"),
        ({"points": [[1, 1, 1], [2, 2, 2]], "metric_map": "x"}, "one of the two"),
        ({"metric_map": "x"}, "cannot be read"),
        ({"alignment": "published", "ensemble_size": 11}, "at most 10 predictions"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    model: MarigoldModel, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        complete_relative_depth(RelativeDepthOptions.model_validate(options), model, InputCounts(), LIMITS)


def test_a_model_without_noise_has_no_ensembles(model: MarigoldModel) -> None:
    silent = replace(model, noise="zeros")
    with pytest.raises(InvalidInput, match="uses no noise"):
        complete_marigold(MarigoldOptions(ensemble_size=2), silent, InputCounts(), LIMITS)
