"""DiTs load from the original's checkpoints and from pipeline folders; anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.dit import is_dit_folder, load_dit, load_dit_folder
from backbones.rows import Capture, UNetRow
from tests.backbones.small_models import save_small_dit

FILE = Path(__file__).parents[2] / "conformance/fixtures/diffusion_classifier/dit/dit.safetensors"


def test_a_checkpoint_of_the_original_loads() -> None:
    model = load_dit(FILE, heads=4)
    assert model.description.class_conditional
    assert load_dit(FILE, heads=4).description.revision == model.description.revision


def test_other_files_are_refused(tmp_path: Path) -> None:
    tensors = load_file(FILE)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    save_file({**tensors, "extra.weight": torch.zeros(1)}, tmp_path / "more.safetensors")
    for file, heads in (("other.safetensors", 4), ("more.safetensors", 4)):
        with pytest.raises(CheckpointError):
            load_dit(tmp_path / file, heads=heads)
    # The published widths imply the number of heads; this network has another width.
    with pytest.raises(CheckpointError, match="heads"):
        load_dit(FILE)


def test_a_pipeline_folder_loads_with_its_class_names(tmp_path: Path) -> None:
    save_small_dit(tmp_path, names={"0": "cat", "2": "dog"})
    model = load_dit_folder(tmp_path)
    assert model.class_names == ("cat", "1", "dog")
    assert model.description.class_names == model.class_names
    assert model.description.class_conditional
    (latents,) = model.encode([torch.zeros(3, 8, 8)])
    assert latents.shape == (4, 4, 4)
    assert model.decode([latents])[0].shape == (3, 8, 8)
    row = UNetRow(latents, 500, None, Capture(output=True, noise_pred=True), class_label=2)
    (captures,) = model.forward([row])
    assert captures.noise_pred is not None
    assert captures.noise_pred.isfinite().all()


def test_a_folder_is_named_by_its_index(tmp_path: Path) -> None:
    assert not is_dit_folder(tmp_path)
    index = tmp_path / "model_index.json"
    for text, expected in (
        ("no JSON", False),
        ("[]", False),
        ('{"_class_name": "StableDiffusionPipeline"}', False),
        ('{"_class_name": "DiTPipeline"}', True),
    ):
        index.write_text(text)
        assert is_dit_folder(tmp_path) is expected
    with pytest.raises(ModelNotFound):
        load_dit_folder(tmp_path)
