"""All checks in their order."""

from __future__ import annotations

from collections.abc import Iterator

from backbones.loading.disk_space import FreeBytes, free_bytes
from backbones.loading.source import check_device
from backbones.nvidia import Nvidia, look_for_nvidia
from diffsight.doctor.findings import Finding
from diffsight.doctor.machine import check_machine
from diffsight.doctor.models import check_models
from diffsight.doctor.originals import check_originals
from diffsight.doctor.replay import check_answers
from service.models.loading import choose_device
from service.models.number_types import number_type, set_float32_rounding
from service.settings.loader import Settings


def examine(
    settings: Settings, *, answers: bool = True, nvidia: Nvidia | None = None, free: FreeBytes = free_bytes
) -> Iterator[Finding]:
    """The findings of all checks.

    answers: whether to run every head too. nvidia, free: as for `check_machine`. Without a device, checks that need one
    are left out.
    """
    nvidia = nvidia or look_for_nvidia()
    usable = True
    for finding in check_machine(settings, nvidia=nvidia, free=free):
        usable &= finding.check != "device" or finding.level != "problem"
        yield finding
    if not usable:
        return
    device = check_device(choose_device(settings.device, nvidia), nvidia)
    yield from check_models(settings, device)
    if answers:
        set_float32_rounding(settings)
        kind = number_type(settings, device)
        yield from check_answers(settings, device, kind)
        yield from check_originals(device, kind, rounded=settings.tf32 and device.type == "cuda")
