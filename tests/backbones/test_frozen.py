"""A frozen network computes without gradients, and in float16 on a CPU without oneDNN."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backbones.frozen import frozen, to_batch
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.small_models import WEIGHTS

onednn: Any = torch.backends.mkldnn


class Probe(StableDiffusion):
    """A backbone that reports how it computes."""

    @frozen
    def computes(self, fail: bool = False) -> tuple[bool, bool]:
        """Whether gradients are kept, and whether oneDNN is on."""
        if fail:
            raise ValueError("half way")
        return torch.is_grad_enabled(), onednn.enabled


def probe(dtype: torch.dtype) -> Probe:
    loaded = load_diffusers_folder(WEIGHTS / "sd1", dtype=dtype)
    return Probe(
        name="probe",
        vae=loaded.vae,
        text_encoder=loaded.text_encoder,
        tokenizer=loaded.tokenizer,
        variants=loaded.variants,
        alphas_cumprod=loaded.alphas_cumprod,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_only_float16_on_a_cpu_leaves_onednn_out(dtype: torch.dtype) -> None:
    before = torch.is_grad_enabled(), onednn.enabled
    assert probe(dtype).computes() == (False, onednn.enabled and dtype != torch.float16)
    assert (torch.is_grad_enabled(), onednn.enabled) == before


def test_a_failure_puts_everything_back() -> None:
    before = torch.is_grad_enabled(), onednn.enabled
    with pytest.raises(ValueError, match="half way"):
        probe(torch.float16).computes(fail=True)
    assert (torch.is_grad_enabled(), onednn.enabled) == before


def test_the_method_keeps_its_name_and_docstring() -> None:
    assert Probe.computes.__name__ == "computes"
    assert Probe.computes.__doc__ == "Whether gradients are kept, and whether oneDNN is on."


def test_a_batch_is_cast_after_it_was_stacked() -> None:
    batch = to_batch([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)], torch.device("cpu"), torch.bfloat16)
    assert (batch.shape, batch.dtype) == ((2, 3, 2, 2), torch.bfloat16)
    assert batch[1].float().mean() == 1.0
