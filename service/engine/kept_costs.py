"""What batches cost on this machine, kept in a file, so that a server that starts again need not measure anew."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog
import torch
from pydantic import BaseModel, Field, ValidationError

from backbones.files import write_file
from service.engine.batch_limits import BatchCost
from service.version import read_version

FILE = "batch-costs.json"
_MOST = 1_000

log = structlog.get_logger("diffsight")


class KeptCosts(BaseModel):
    """The file. machine: what the costs were measured on, by `describe_machine`."""

    machine: str
    costs: list[BatchCost] = Field(max_length=_MOST)


def describe_machine(device: str) -> str:
    """What decides the cost of a batch beside the network and its input. device: by torch's name.

    A device that does not tell its name is described by the rest: costs only save time, and must not stop a start.
    """
    chip = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        chip = device
        with suppress(RuntimeError, AssertionError, AttributeError):
            chip = torch.cuda.get_device_name(device)
    return f"diffsight {read_version()}, torch {torch.__version__}, {chip}, {os.cpu_count()} cores"


def read_costs(file: Path, machine: str) -> list[BatchCost]:
    """The kept costs; none if there is no file, if it is damaged, or if they were measured on another machine."""
    try:
        kept = KeptCosts.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return []
    return kept.costs if kept.machine == machine else []


def write_costs(file: Path, machine: str, costs: Sequence[BatchCost]) -> None:
    """Keep costs, beside those of other networks that are kept already; the newest come last, and stay longest.

    Where the file cannot be written, a line of the log says so: it only saves time.
    """
    if not costs:
        return
    kept = {cost.key: cost for cost in read_costs(file, machine)}
    for cost in costs:
        kept.pop(cost.key, None)
        kept[cost.key] = cost
    content = KeptCosts(machine=machine, costs=list(kept.values())[-_MOST:]).model_dump_json()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(file, content.encode())
    except OSError as error:
        log.info("the costs of batches could not be kept", file=str(file), error=str(error))
