"""Which files of DiffewS's folder are taken."""

from __future__ import annotations

import pytest

from backbones.errors import ModelNotFound
from heads.diffews.published import PUBLISHED


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize("folder", ["unet/", "", "unet/unet/"])
def test_the_files_are_found_in_the_folders_of_the_original_loaders(folder: str, ending: str) -> None:
    names = {f"{folder}config.json", f"{folder}diffusion_pytorch_model{ending}"}
    assert set(PUBLISHED[0].select_files({*names, "README.md"}, "here")) == names


def test_missing_files_are_named() -> None:
    with pytest.raises(ModelNotFound, match=r"not a complete diffews: missing unet/config\.json, unet/diffusion_pyt"):
        PUBLISHED[0].select_files({"README.md"}, "here")
