"""One model of the catalogue: its tasks before and after it is read, and its memory."""

from __future__ import annotations

from backbones.loading.source import open_backbone
from heads.feature_pooling import features
from heads.sdpose import pose
from heads.vpd import depth
from service.models.catalogue import ModelSpec
from service.models.loading import OpenHeads
from service.models.slots import Slot, describe_progress, install, measure, networks_in, networks_of
from service.settings.loader import load_settings
from service.tasks import TASKS
from tests.conftest import WITHOUT_HEADS


def slot_of(source: str) -> Slot:
    return Slot(ModelSpec("own", "", "own", source=source))


def fill(slot: Slot, source: str) -> None:
    heads = OpenHeads(load_settings(device="cpu"), open_backbone(source), TASKS)
    heads.open_all()
    install(slot, slot, heads, ())


def test_the_tasks_of_a_backbone_are_a_guess_until_it_is_read() -> None:
    slot = slot_of(str(WITHOUT_HEADS))
    assert (slot.may_serve(features.TASK), slot.may_serve(depth.TASK)) == (True, False)
    assert slot_of("pocket").may_serve(depth.TASK)
    fill(slot, str(WITHOUT_HEADS))
    assert (slot.may_serve(features.TASK), slot.may_serve(depth.TASK)) == (True, False)
    assert slot.open_for(features.TASK, slot).backbone is slot.description


def test_a_model_of_a_task_serves_that_task_alone() -> None:
    slot = Slot(ModelSpec("vpd-depth", "depth", "sd15"))
    assert (slot.may_serve(depth.TASK), slot.may_serve(features.TASK)) == (True, False)


def test_a_model_may_leave_if_no_request_uses_it() -> None:
    slot = slot_of("pocket")
    slot.state = "READY"
    assert slot.may_leave()
    slot.users = 1
    assert (slot.may_leave(), slot.may_drain()) == (False, True)
    slot.long = 1
    assert not slot.may_drain()


def test_a_closed_slot_keeps_what_is_known_of_it_and_frees_the_rest() -> None:
    slot = slot_of(str(WITHOUT_HEADS))
    fill(slot, str(WITHOUT_HEADS))
    assert slot.heads is not None
    parameters = sum(
        tensor.nbytes
        for network in networks_of(slot.heads.backbone).values()
        for tensor in (*network.parameters(), *network.buffers())
    )
    assert measure([slot]) == {"own": parameters}
    slot.close(slot, "it left")
    assert (slot.state, slot.reason, slot.is_open()) == ("UNAVAILABLE", "it left", False)
    assert measure([slot]) == {}
    assert slot.description is not None
    assert slot.may_serve(features.TASK)


def test_networks_are_found_wherever_a_head_holds_them() -> None:
    slot = slot_of("pocket")
    fill(slot, "pocket")
    assert slot.heads is not None
    for task in (depth.TASK, pose.TASK):
        assert list(networks_in(slot.heads.require(task)))
    assert list(networks_in(slot.heads.require(features.TASK))) == []


def test_the_start_says_what_is_loaded_and_how_far() -> None:
    slots = [slot_of(name) for name in ("a", "b", "c")]
    assert describe_progress(slots) == ""
    slots[0].state, slots[1].state = "READY", "LOADING"
    slots[1].reason, slots[1].bytes = "its weights are being read", 4_260_000_000
    assert describe_progress(slots) == ": own (4.26 GB: its weights are being read); 1 of 3 models are loaded"
