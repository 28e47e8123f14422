"""Checks of the models: hash every file again, and check whether all models fit into memory together."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from backbones.errors import DiffsightError
from backbones.free_memory import free_bytes
from backbones.loading.add import find_problems
from backbones.loading.disk_space import gigabytes
from backbones.loading.registry import entries
from diffsight.doctor.findings import Finding
from service.models.catalogue import build_catalogue, list_left_out
from service.models.known import PUBLISHED
from service.models.sizes import default_budget, estimate_bytes
from service.settings.loader import Settings


def check_models(settings: Settings, device: torch.device) -> Iterator[Finding]:
    """Findings about added and served models, from their files alone. device: on which they will run."""
    added = entries(settings.models_path())
    for entry in added:
        wrong = find_problems(entry, PUBLISHED)
        if wrong:
            hint = f"`diffsight models remove {entry.name}`, then add it again"
            yield Finding(f"model {entry.name}", "problem", "; ".join(wrong), hint)
        else:
            yield Finding(f"model {entry.name}", "ok", f"every file and key verified, {gigabytes(entry.bytes)}")
    try:
        specs = build_catalogue(settings)
        sizes = {spec.id: estimate_bytes(spec, settings, device) for spec in specs}
    except DiffsightError as error:
        yield Finding("catalogue", "problem", str(error))
        return
    for line in list_left_out(settings):
        yield Finding("catalogue", "warning", line)
    budget = settings.engine.memory_bytes or default_budget(device)
    total, names = sum(sizes.values()), ", ".join(sizes)
    free = f"{gigabytes(budget)} for weights, {gigabytes(free_bytes(device))} free"
    if total <= budget:
        fit = "fit together" if len(sizes) > 1 else "fits"
        yield Finding("memory", "ok", f"{names} {fit}: {gigabytes(total)} of {free}")
    else:
        hint = "half precision (DIFFSIGHT_DTYPE), fewer models (DIFFSIGHT_MODELS), or let requests wait for a swap"
        yield Finding("memory", "warning", f"{names} take {gigabytes(total)} of {free}: some wait for others", hint)
