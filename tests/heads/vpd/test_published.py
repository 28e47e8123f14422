"""VPD publishes one file a task."""

from __future__ import annotations

import pytest

from backbones.errors import ModelNotFound
from heads.vpd.published import PUBLISHED


def test_several_weight_files_are_a_question() -> None:
    model = PUBLISHED[0]
    assert model.select_files({"README.md", "best.ckpt"}, "here") == ["best.ckpt"]
    with pytest.raises(ModelNotFound, match=r"holds: best\.ckpt, last\.ckpt: name the file itself"):
        model.select_files({"last.ckpt", "best.ckpt"}, "here")
    with pytest.raises(ModelNotFound, match="holds: none"):
        model.select_files({"README.md"}, "here")
