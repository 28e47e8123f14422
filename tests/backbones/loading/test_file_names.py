"""The names are those that diffusers and transformers write."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers.utils
from diffusers.utils import constants

from backbones.loading.file_names import OLD_PARTS, PARTS, UNET_STEM, find_file_variant


def test_weight_files_are_called_as_the_libraries_call_them() -> None:
    assert {f"{UNET_STEM}.safetensors", f"{PARTS['vae']}.safetensors"} == {constants.SAFETENSORS_WEIGHTS_NAME}
    assert f"{OLD_PARTS['unet']}.bin" == constants.WEIGHTS_NAME
    assert f"{PARTS['text_encoder']}.safetensors" == transformers.utils.SAFE_WEIGHTS_NAME
    assert f"{OLD_PARTS['text_encoder']}.bin" == transformers.utils.WEIGHTS_NAME


@pytest.mark.field
@pytest.mark.parametrize(
    ("names", "variant"),
    [
        ([], ""),
        (["config.json", "model.safetensors.index.json"], ""),
        (["model.safetensors", "model.fp16.safetensors"], ""),
        (["model.fp16.safetensors"], "fp16"),
        (["diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.fp16.safetensors"], "fp16"),
        (["diffusion_pytorch_model.non_ema.safetensors"], "non_ema"),
        (["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["diffusion_pytorch_model-00001-of-00002.fp16.safetensors"], "fp16"),
        (["pytorch_model.fp16.bin"], "fp16"),
    ],
)
def test_the_file_variant_is_plain_or_the_only_one(tmp_path: Path, names: list[str], variant: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert find_file_variant(tmp_path) == variant
