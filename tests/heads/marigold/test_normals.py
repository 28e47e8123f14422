"""The task `normals` from painted pictures to files and answers."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.stable_diffusion import StableDiffusion
from heads.marigold.model import MarigoldModel, open_marigold
from heads.marigold.normals import NormalsOptions, answer_normals, combine_normals, normals_line, vectors_of
from tests.heads.marigold.original_files import write_original


@pytest.fixture(scope="module")
def model(backbone: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> MarigoldModel:
    folder = tmp_path_factory.mktemp("normals")
    config = backbone.variants[""].unet.config
    return open_marigold("normals", backbone, write_original("normals", folder, unet=config))  # type: ignore[arg-type]


def test_a_wall_that_faces_the_viewer_is_light_blue(model: MarigoldModel) -> None:
    painted = torch.tensor([0.0, 0.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    result = combine_normals(painted, model, NormalsOptions(), (5, 6))
    assert result.vectors.shape == (5, 6, 3)
    answer = answer_normals(result, model, NormalsOptions())
    assert answer.mean == pytest.approx([0, 0, 1])
    assert answer.mean_uncertainty is None
    with Image.open(BytesIO(base64.b64decode(answer.png or ""))) as file:
        assert file.getpixel((0, 0)) == (128, 128, 255)
    assert normals_line(result) == "mean normal x 0.00, y 0.00, z 1.00"


def test_half_the_range_of_z_always_faces_the_viewer() -> None:
    painted = torch.tensor([0.0, 0.5, -1.0]).view(1, 3, 1, 1)
    assert vectors_of(painted, full_z=False)[0, :, 0, 0].tolist() == pytest.approx([0, 1, 0])
    assert float(vectors_of(painted, full_z=True)[0, 2]) < 0


def test_an_ensemble_brings_its_uncertainty(model: MarigoldModel) -> None:
    painted = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    options = NormalsOptions(ensemble_size=4, uncertainty=True)
    result = combine_normals(painted, model, options, (12, 9))
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=-1), 1, atol=1e-5)
    answer = answer_normals(result, model, options)
    assert answer.mean_uncertainty is not None
    assert 0 < answer.mean_uncertainty < 1
    assert answer.uncertainty_png16
