"""The task `depth-relative` from painted pictures to files and answers."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.stable_diffusion import StableDiffusion
from heads.marigold.depth import (
    RelativeDepthOptions,
    answer_relative_depth,
    combine_depth,
    relative_depth_line,
    relative_depth_png,
)
from heads.marigold.model import MarigoldModel, open_marigold
from tests.heads.marigold.original_files import write_original

SLOPE = torch.linspace(-0.5, 0.5, 16).expand(3, 8, 16)


@pytest.fixture(scope="module")
def model(backbone: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> MarigoldModel:
    folder = tmp_path_factory.mktemp("depth")
    config = backbone.variants[""].unet.config
    return open_marigold("depth", backbone, write_original("depth", folder, unet=config))  # type: ignore[arg-type]


def test_a_single_prediction_keeps_its_range(model: MarigoldModel) -> None:
    result = combine_depth(SLOPE[None], model, RelativeDepthOptions(), (8, 16))
    np.testing.assert_allclose(result.depth[0], np.linspace(0.25, 0.75, 16), atol=1e-6)
    answer = answer_relative_depth(result, model, RelativeDepthOptions())
    assert (answer.unit, answer.fit, answer.mean_uncertainty) == ("relative", None, None)
    assert answer.statistics.median == pytest.approx(0.5, abs=1e-4)
    with Image.open(BytesIO(base64.b64decode(answer.png16 or ""))) as file:
        units = np.array(file) * float(file.text["depth_per_unit"])  # type: ignore[attr-defined]
    np.testing.assert_allclose(units, result.depth, atol=1e-5)
    assert relative_depth_line(result) == "relative depth 0.25 to 0.75, median 0.50"


def test_known_distances_give_metres_and_a_file_in_millimetres(model: MarigoldModel) -> None:
    options = RelativeDepthOptions(points=[[0, 0, 1.0], [15, 0, 3.0]])
    result = combine_depth(SLOPE[None], model, options, (8, 16))
    assert result.metres is not None
    np.testing.assert_allclose(result.metres[3], np.linspace(1, 3, 16), atol=1e-5)
    answer = answer_relative_depth(result, model, options)
    assert (answer.unit, answer.per_unit) == ("metre", 0.001)
    assert answer.fit is not None
    assert answer.fit.scale == pytest.approx(4)
    with Image.open(BytesIO(relative_depth_png(result))) as file:
        assert np.array(file)[0, -1] == 3000
    assert relative_depth_line(result) == "1.00 to 3.00 m, median 2.00 m"


def test_an_ensemble_brings_its_uncertainty(model: MarigoldModel) -> None:
    noise = 0.05 * torch.randn(3, 1, 8, 16, generator=torch.Generator().manual_seed(0))
    painted = SLOPE[None] + noise
    options = RelativeDepthOptions(ensemble_size=3, uncertainty=True)
    result = combine_depth(painted, model, options, (30, 20))
    assert result.uncertainty is not None
    assert result.uncertainty.shape == result.depth.shape == (30, 20)
    answer = answer_relative_depth(result, model, options)
    assert answer.mean_uncertainty is not None
    assert answer.mean_uncertainty > 0
    assert answer.uncertainty_png16
    without = answer_relative_depth(result, model, options.model_copy(update={"maps": False}))
    assert (without.png16, without.uncertainty_png16) == (None, None)
