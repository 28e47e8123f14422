"""What batches cost on this machine, kept in a file, so that a server that starts again need not measure anew."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
import torch
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, ValidationError

from backbones.files import write_file
from service.engine.batch_limits import BatchCost
from service.version import read_version

FILE = "batch-costs.json"
_MOST = 1_000

log = structlog.get_logger("diffsight")


class KeptCost(BaseModel):
    """A `BatchCost` as it is written."""

    kind: str
    revision: str
    shape: str
    seconds: NonNegativeFloat
    seconds_a_position: NonNegativeFloat
    fastest: NonNegativeFloat
    batches: PositiveInt
    sizes: dict[PositiveInt, NonNegativeFloat] = Field(default_factory=dict)


class KeptCosts(BaseModel):
    """The file. machine: what the costs were measured on, by `describe_machine`."""

    machine: str
    costs: list[KeptCost] = Field(max_length=_MOST)


def describe_machine(device: str) -> str:
    """What decides the cost of a batch beside the network and its input. device: by torch's name."""
    chip = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor()
    chip = chip or platform.machine()
    return f"diffsight {read_version()}, torch {torch.__version__}, {chip}, {os.cpu_count()} cores"


def read_costs(file: Path, machine: str) -> list[BatchCost]:
    """The kept costs; none if there is no file, if it is damaged, or if they were measured on another machine."""
    try:
        kept = KeptCosts.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return []
    if kept.machine != machine:
        return []
    return [BatchCost(**cost.model_dump()) for cost in kept.costs]


def write_costs(file: Path, machine: str, costs: Sequence[BatchCost]) -> None:
    """Keep costs, beside those of other networks that are kept already; the newest come last, and stay longest.

    Where the file cannot be written, a line of the log says so: it only saves time.
    """
    if not costs:
        return
    merged = {(cost.kind, cost.revision, cost.shape): cost for cost in _oldest_first(read_costs(file, machine), costs)}
    kept = [KeptCost.model_validate(cost, from_attributes=True) for cost in merged.values()][-_MOST:]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(file, KeptCosts(machine=machine, costs=kept).model_dump_json().encode())
    except OSError as error:
        log.info("the costs of batches could not be kept", file=str(file), error=str(error))


def _oldest_first(kept: Iterable[BatchCost], new: Sequence[BatchCost]) -> list[BatchCost]:
    replaced = {(cost.kind, cost.revision, cost.shape) for cost in new}
    return [*(cost for cost in kept if (cost.kind, cost.revision, cost.shape) not in replaced), *new]
