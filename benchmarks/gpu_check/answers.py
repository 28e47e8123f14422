"""Recorded answers of the original systems and of every head again, on this device, in each number type."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu_check.setup import Setup
from diffsight.doctor.originals import check_originals
from diffsight.doctor.replay import check_answers
from service.models.number_types import set_float32_rounding
from service.settings.loader import load_settings

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def measure(setup: Setup) -> dict[str, Any]:
    """The finding about each head, with its largest error and its tolerance, and how many failed."""
    settings = load_settings(device=setup.device)
    set_float32_rounding(settings)
    findings: dict[str, Any] = {}
    failed = 0
    for kind in TYPES[:1] if setup.small else TYPES:
        device = torch.device(setup.device)
        for finding in (*check_originals(device, kind), *check_answers(settings, device, kind)):
            failed += finding.level == "problem"
            findings[f"{str(kind).removeprefix('torch.')}, {finding.check}"] = f"{finding.level}: {finding.message}"
    return {"failed": failed, **findings}
