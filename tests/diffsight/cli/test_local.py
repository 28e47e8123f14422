"""What a command opens and reads on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.errors import InvalidInput, ModelNotFound
from diffsight.cli.local import open_engine, open_head, progress, read_image
from heads.vpd import depth
from service.settings.loader import load_settings
from tests.conftest import WITHOUT_HEADS


def test_an_image_is_read_within_the_settings_limits(tmp_path: Path, png: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png)
    settings = load_settings()
    assert read_image(file, settings).width == 40
    for path, limits in ((tmp_path / "none.png", {}), (file, {"max_image_pixels": 1000})):
        with pytest.raises(InvalidInput) as caught:
            read_image(path, load_settings(limits=limits))
        assert caught.value.field == str(path)


def test_a_head_is_opened_by_its_task_alone() -> None:
    settings = load_settings(device="cpu")
    engine = open_engine(settings)
    assert open_head(settings, engine, depth.TASK).revision
    bare = load_settings(device="cpu", backbone=str(WITHOUT_HEADS))
    with pytest.raises(ModelNotFound):
        open_head(bare, open_engine(bare), depth.TASK)


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.bfloat16), ("float32", torch.float32)])
def test_a_backbone_has_the_number_type_of_its_table_unless_one_is_set(dtype: str, expected: torch.dtype) -> None:
    tables = [{"id": "half", "source": "pocket", "dtype": "bfloat16"}]
    engine = open_engine(load_settings(device="cpu", dtype=dtype, model_tables=tables))
    assert engine.backbone.dtype == expected


def test_without_a_terminal_there_is_no_progress_bar() -> None:
    items = [1, 2, 3]
    assert list(progress(items)) == items
