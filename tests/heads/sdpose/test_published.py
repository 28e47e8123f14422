"""Which files of SDPose's folders are taken."""

from __future__ import annotations

import pytest

from backbones.errors import ModelNotFound
from heads.sdpose.published import PUBLISHED

NEEDED = {
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "decoder/decoder.safetensors",
    "scheduler/scheduler_config.json",
}
REST = {"README.md", "vae/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "v1.ckpt"}


def test_only_what_the_model_needs_is_taken() -> None:
    assert set(PUBLISHED[0].select_files(NEEDED | REST, "here")) == NEEDED


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match=f"not a complete sdpose-body: missing {name}"):
        PUBLISHED[0].select_files(NEEDED - {name}, "here")
