"""Costs of batches that outlive a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from backbones.rows import Capture, UNetRow
from service.engine.batch_limits import BatchCost, BatchLimits
from service.engine.kept_costs import FILE, describe_machine, read_costs, write_costs
from service.models.store import ModelStore
from service.settings.loader import load_settings
from service.telemetry.metrics import Metrics
from tests.service.engine.hand_driven import InstantBackbone, make_instant_rows


def cost(shape: str, seconds: float = 0.5) -> BatchCost:
    return BatchCost("unet", "revision", shape, seconds, 0.01, 0.4, 7, {1: 0.6, 8: 0.4})


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / FILE
    write_costs(file, "a", [cost("x"), cost("y")])
    assert read_costs(file, "a") == [cost("x"), cost("y")]
    write_costs(file, "a", [cost("x", 0.25), cost("z")])
    assert read_costs(file, "a") == [cost("y"), cost("x", 0.25), cost("z")]


def test_costs_of_another_machine_are_replaced(tmp_path: Path) -> None:
    write_costs(tmp_path / FILE, "a", [cost("x")])
    assert read_costs(tmp_path / FILE, "b") == []
    write_costs(tmp_path / FILE, "b", [cost("y")])
    assert read_costs(tmp_path / FILE, "b") == [cost("y")]


def test_the_oldest_costs_go_first(tmp_path: Path) -> None:
    write_costs(tmp_path / FILE, "a", [cost(str(number)) for number in range(1_000)])
    write_costs(tmp_path / FILE, "a", [cost("new"), cost("0")])
    assert [kept.shape for kept in read_costs(tmp_path / FILE, "a")][:1] == ["2"]
    assert [kept.shape for kept in read_costs(tmp_path / FILE, "a")][-2:] == ["new", "0"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"machine": "a", "costs": [{"kind": 1}]}', b"\xff"])
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert read_costs(tmp_path / FILE, "a") == []
    write_costs(tmp_path / FILE, "a", [cost("x")])
    assert read_costs(tmp_path / FILE, "a") == [cost("x")]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_costs(tmp_path / "file" / FILE, "a", [cost("x")])


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device it has a name")
def test_a_device_without_a_name_is_described_too() -> None:
    assert "cuda:0" in describe_machine("cuda:0") != describe_machine("cpu")


def test_limits_go_on_where_others_stopped() -> None:
    backbone, row = InstantBackbone(), make_instant_rows(1)[0]
    before, after = BatchLimits(0), BatchLimits(0)
    for size in (1, 8, 8, 8, 32, 32, 32):
        # Past eight an item costs twice as much.
        before.count("unet", backbone, row, size, 0.01 * size, (0.01 if size <= 8 else 0.02) * size)
    after.restore(before.costs())
    assert after.limit("unet", backbone, row) == before.limit("unet", backbone, row) == 8
    assert after.seconds_each("unet", backbone, row) == before.seconds_each("unet", backbone, row)
    assert after.least_seconds("unet", backbone, row, 100) == before.least_seconds("unet", backbone, row, 100) > 0


def test_a_server_knows_what_batches_cost_when_it_starts_again(tmp_path: Path) -> None:
    settings = load_settings(device="cpu", data_folder=tmp_path)

    async def run() -> float:
        store = ModelStore(settings, [], Metrics())
        await store.start()
        model = next(slot.heads.backbone for slot in store.slots.values() if slot.heads is not None)
        side = model.description.image_size // model.description.downscale
        row = UNetRow(torch.zeros(model.description.latent_channels, side, side), 0, None, Capture(noise_pred=True))
        known = store.worker.limits.seconds_each("unet", model, row)
        store.stop()
        assert known is not None
        return known

    asyncio.run(run())
    kept = read_costs(tmp_path / FILE, describe_machine("cpu"))
    assert {cost.kind for cost in kept} >= {"unet", "encode"}
    assert asyncio.run(run()) > 0
    # The second server counted its own first batch beside those of the first.
    again = read_costs(tmp_path / FILE, describe_machine("cpu"))
    batches = {(cost.kind, cost.shape): cost.batches for cost in kept}
    assert all(cost.batches > batches[cost.kind, cost.shape] for cost in again if cost.kind == "unet")
