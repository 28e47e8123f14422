"""The names are those that diffusers and transformers write."""

from __future__ import annotations

import transformers.utils
from diffusers.utils import constants

from backbones.loading.file_names import OLD_PARTS, PARTS, UNET_STEM


def test_weight_files_are_called_as_the_libraries_call_them() -> None:
    assert {f"{UNET_STEM}.safetensors", f"{PARTS['vae']}.safetensors"} == {constants.SAFETENSORS_WEIGHTS_NAME}
    assert f"{OLD_PARTS['unet']}.bin" == constants.WEIGHTS_NAME
    assert f"{PARTS['text_encoder']}.safetensors" == transformers.utils.SAFE_WEIGHTS_NAME
    assert f"{OLD_PARTS['text_encoder']}.bin" == transformers.utils.WEIGHTS_NAME
