"""Noising as the stock schedulers do it; noise and keys that only content decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.noise_schedule import (
    add_noise,
    content_key,
    draw_noise,
    linear_alphas_cumprod,
    noise_from_velocity,
)

SCHEDULER: Any = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("timestep", [0, 1, 500, 999])
def test_noising_is_the_stock_schedulers(timestep: int) -> None:
    clean, noise = torch.randn(2, 4, 8, 8).unbind()
    expected = SCHEDULER.add_noise(clean[None], noise[None], torch.tensor([timestep]))[0]
    torch.testing.assert_close(add_noise(clean, noise, SCHEDULER.alphas_cumprod, timestep), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_noise_comes_back_from_the_velocity(dtype: torch.dtype) -> None:
    timesteps = torch.tensor([0, 1, 500, 999])
    clean, noise = torch.randn(2, 4, 4, 8, 8).unbind()
    noised = SCHEDULER.add_noise(clean, noise, timesteps)
    velocity = SCHEDULER.get_velocity(clean, noise, timesteps)
    noise_again = noise_from_velocity(velocity.to(dtype), noised.to(dtype), SCHEDULER.alphas_cumprod, timesteps)
    assert noise_again.dtype == dtype
    torch.testing.assert_close(noise_again.float(), noise, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.01)


def test_the_linear_schedule_is_the_stock_one() -> None:
    stock: Any = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")  # type: ignore[no-untyped-call]
    assert linear_alphas_cumprod().dtype == torch.float64
    torch.testing.assert_close(linear_alphas_cumprod().float(), stock.alphas_cumprod, rtol=1e-4, atol=1e-8)


def test_seeded_noise_depends_on_content_and_index_alone() -> None:
    first = draw_noise(b"image", 3, (4, 8, 8))
    torch.manual_seed(12)
    draw_noise(b"other", 0, (5,))
    state = torch.get_rng_state()
    assert torch.equal(draw_noise(b"image", 3, (4, 8, 8)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(draw_noise(b"image", 4, (4, 8, 8)), first)
    assert not torch.equal(draw_noise(b"imagf", 3, (4, 8, 8)), first)


def test_seeded_noise_is_standard_normal_and_the_same_everywhere() -> None:
    noise = torch.stack([draw_noise(b"x", index, (4, 32, 32)) for index in range(16)])
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    # Literal values: a change of the seeding would change every stored answer.
    expected = torch.tensor([-2.253294, -0.022835, 0.764983, -0.108004])
    torch.testing.assert_close(draw_noise(b"diffsight", 7, (4,)), expected, rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.lists(st.integers(0, 3), min_size=0, max_size=3), st.integers(0, 9))
def test_content_keys_are_equal_for_equal_content_only(shape: list[int], value: int) -> None:
    array = torch.full(shape, float(value))
    key = content_key(array)
    assert len(key) == 16
    assert content_key(array.clone()) == key
    assert content_key(array.to(torch.float64)) != key
    assert content_key(array[None]) != key
    if array.numel():
        changed = array.clone()
        changed.view(-1)[-1] += 1
        assert content_key(changed) != key


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32])
def test_content_keys_do_not_see_the_layout_in_memory(dtype: torch.dtype) -> None:
    array = (torch.arange(24).reshape(4, 6) % 5).to(dtype)
    transposed = array.T.contiguous().T
    assert not transposed.is_contiguous()
    assert content_key(transposed) == content_key(array)
    assert content_key(array[:, :3]) != content_key(array[:, 3:])
