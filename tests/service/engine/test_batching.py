"""Which items form a batch, for any mixture of requests."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbones.backbone import Backbone
from backbones.rows import Capture, UNetRow
from service.engine.batching import LEADER_PART, choose_batch
from service.engine.queue import KEPT_BATCHES, Call, Entry, Kind, Request, RequestQueue
from tests.service.engine.hand_driven import InstantBackbone

BACKBONE: Backbone = InstantBackbone()
SIZES: dict[Kind, int] = {"unet": 8, "encode": 3, "decode": 3, "embed": 8, "run": 1}


def limit_of(request: Request, call: Call) -> int:
    return SIZES[call.kind]


def row(size: int = 8, variant: str = "") -> UNetRow:
    return UNetRow(torch.zeros(4, size, size), 0, torch.zeros(2, 4), Capture(), variant=variant)


def pixels(size: int) -> Tensor:
    return torch.zeros(3, size, size)


def rows(count: int) -> Call:
    return make_call("unet", [row() for _ in range(count)])


def make_call(kind: Kind, items: list[object]) -> Call:
    return Call(kind, items, lambda answer: None)


def build_queue(*requests: tuple[bool, list[Call]]) -> tuple[RequestQueue, list[Request]]:
    queue = RequestQueue(10**6)
    opened = []
    for bulk, calls in requests:
        request = queue.open(BACKBONE, "task", bulk=bulk, deadline=None)
        for call in calls:
            queue.submit(request, call, items_per_second=1.0)
        opened.append(request)
    return queue, opened


def drain(queue: RequestQueue) -> list[list[Entry]]:
    batches = []
    while batch := choose_batch(queue.find_waiting(), limit_of):
        queue.take(batch)
        batches.append(batch)
    return batches


calls = st.builds(
    lambda kind, sizes: make_call(kind, [row(size) if kind == "unet" else pixels(size) for size in sizes]),
    st.sampled_from(["unet", "encode"]),
    st.lists(st.sampled_from([8, 16]), min_size=1, max_size=20),
)
requests = st.lists(st.tuples(st.booleans(), st.lists(calls, min_size=1, max_size=3)), min_size=1, max_size=6)


@settings(deadline=None, derandomize=True)
@given(requests)
def test_no_item_is_lost_or_doubled_and_no_batch_is_over_its_limit(mixture: list[tuple[bool, list[Call]]]) -> None:
    queue, _ = build_queue(*mixture)
    expected = {(id(call), index) for _, calls in mixture for call in calls for index in range(len(call.items))}
    batches = drain(queue)
    assert all(len(batch) <= SIZES[batch[0].call.kind] for batch in batches)
    done = [(id(entry.call), entry.position) for batch in batches for entry in batch]
    assert len(done) == len(expected)
    assert set(done) == expected
    assert queue.waiting == 0


@settings(deadline=None, derandomize=True)
@given(requests)
def test_a_batch_holds_one_kind_and_one_latent_size(mixture: list[tuple[bool, list[Call]]]) -> None:
    queue, _ = build_queue(*mixture)
    for batch in drain(queue):
        assert len({entry.call.kind for entry in batch}) == 1
        items = [entry.item for entry in batch]
        assert len({tuple((item.latents if isinstance(item, UNetRow) else item).shape) for item in items}) == 1


@settings(deadline=None, derandomize=True)
@given(requests)
def test_items_of_one_call_keep_their_order(mixture: list[tuple[bool, list[Call]]]) -> None:
    queue, _ = build_queue(*mixture)
    indices: dict[int, list[int]] = {}
    for batch in drain(queue):
        for entry in batch:
            indices.setdefault(id(entry.call), []).append(entry.position)
    assert all(order == sorted(order) for order in indices.values())


def test_choosing_changes_nothing() -> None:
    queue, _ = build_queue((False, [rows(2)]))
    assert choose_batch(queue.find_waiting(), limit_of) == choose_batch(queue.find_waiting(), limit_of)
    assert queue.waiting == 2


def test_a_one_row_request_shares_the_next_batch_with_a_thousand_row_request() -> None:
    queue, (large,) = build_queue((False, [rows(1000)]))
    queue.take(choose_batch(queue.find_waiting(), limit_of))
    small = queue.open(BACKBONE, "task", bulk=False, deadline=None)
    queue.submit(small, rows(1), items_per_second=1.0)
    batch = choose_batch(queue.find_waiting(), limit_of)
    assert [entry.request for entry in batch].count(small) == 1
    assert [entry.request for entry in batch].count(large) == SIZES["unet"] - 1


def test_requests_of_one_length_end_one_after_the_other() -> None:
    queue, opened = build_queue(*[(False, [rows(6)]) for _ in range(4)])
    batches = drain(queue)
    ends = [max(at for at, batch in enumerate(batches) if request in {e.request for e in batch}) for request in opened]
    assert ends == [0, 1, 2, 2]


def test_more_requests_than_places_all_get_their_turn() -> None:
    queue, opened = build_queue(*[(False, [rows(40)]) for _ in range(20)])
    for turns in range(1, 4):
        for _ in opened:
            queue.take(choose_batch(queue.find_waiting(), limit_of))
        assert all(call.taken >= turns for request in opened for call in request.calls)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_the_leader_has_its_share_beside_short_requests(lengths: list[int]) -> None:
    queue, opened = build_queue(*[(False, [rows(count)]) for count in lengths])
    batch = choose_batch(queue.find_waiting(), limit_of)
    share = min(lengths[0], max(SIZES["unet"] // LEADER_PART, SIZES["unet"] // len(lengths)))
    assert sum(entry.request is opened[0] for entry in batch) >= share
    assert len(batch) == min(SIZES["unet"], sum(lengths))


def test_bulk_rows_only_fill_what_interactive_rows_leave_free() -> None:
    queue, (bulk, interactive) = build_queue((True, [rows(50)]), (False, [rows(6)]))
    batch = choose_batch(queue.find_waiting(), limit_of)
    assert [entry.request is interactive for entry in batch] == [True] * 6 + [False] * 2
    assert batch[-1].request is bulk


def test_bulk_first_lets_bulk_lead_one_batch() -> None:
    queue, (bulk, _) = build_queue(
        (True, [rows(50)]),
        (False, [rows(50)]),
    )
    assert {entry.request for entry in choose_batch(queue.find_waiting(), limit_of, bulk_first=True)} == {bulk}


def test_rows_of_different_variants_do_not_share_a_batch() -> None:
    queue, _ = build_queue((False, [rows(1)]), (False, [make_call("unet", [row(variant="depth")])]))
    assert [len(batch) for batch in drain(queue)] == [1, 1]


def test_functions_are_no_part_of_a_batch() -> None:
    queue, (waiting, _) = build_queue(
        (False, [make_call("run", [print]), rows(2)]), (False, [make_call("run", [print])])
    )
    assert {entry.request for batch in drain(queue) for entry in batch} == {waiting}
    assert queue.waiting == queue.count_functions(bulk=False) == 2


def test_items_of_two_backbones_never_share_a_batch() -> None:
    queue = RequestQueue(10**6)
    others = [InstantBackbone() for _ in range(2)]
    for backbone in (*others, *others):
        queue.submit(queue.open(backbone, "task", bulk=False, deadline=None), rows(2), items_per_second=1.0)
    batches = drain(queue)
    assert [len(batch) for batch in batches] == [4, 4]
    assert all(len({entry.request.backbone for entry in batch}) == 1 for batch in batches)


kinds = st.tuples(st.sampled_from(["unet", "encode"]), st.sampled_from([8, 16]), st.integers(1, 30))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(kinds, max_size=6), st.lists(st.lists(kinds, max_size=3), min_size=1, max_size=12), kinds)
def test_no_request_waits_longer_than_those_ahead_take_however_many_come_after(
    ahead: list[tuple[str, int, int]], arrivals: list[list[tuple[str, int, int]]], late: tuple[str, int, int]
) -> None:
    queue = RequestQueue(10**6)

    def join(kind: str, size: int, count: int) -> Request:
        items: list[object] = [row(size) if kind == "unet" else pixels(size) for _ in range(count)]
        request = queue.open(BACKBONE, "task", bulk=False, deadline=None)
        queue.submit(request, make_call(kind, items), items_per_second=1.0)  # type: ignore[arg-type]
        return request

    for entry in ahead:
        join(*entry)
    call = join(*late).calls[0]
    turns = 0
    while not call.taken:
        for entry in arrivals[turns % len(arrivals)]:
            join(*entry)
        queue.take(choose_batch(queue.find_waiting(), limit_of))
        turns += 1
        assert turns <= len(ahead) * (KEPT_BATCHES + 1) + 1


def test_rows_are_batched_by_how_deep_their_pass_goes() -> None:
    backbone = InstantBackbone()
    backbone.description = replace(backbone.description, sub_blocks=("conv_in", "mid_block", "up_blocks.0"))
    queue = RequestQueue(10**6)
    captures = [Capture(features=("mid_block",)), Capture(noise_pred=True)]
    for capture in (*captures, *captures):
        request = queue.open(backbone, "task", bulk=False, deadline=None)
        own: list[object] = [UNetRow(torch.zeros(4, 8, 8), 0, torch.zeros(2, 4), capture)]
        queue.submit(request, make_call("unet", own), items_per_second=1.0)
    assert [{entry.item.capture for entry in batch} for batch in drain(queue)] == [{captures[0]}, {captures[1]}]


def test_contexts_of_different_lengths_do_not_share_a_batch() -> None:
    queue, _ = build_queue(
        *[
            (False, [make_call("unet", [UNetRow(torch.zeros(4, 8, 8), 0, torch.zeros(length, 4), Capture())])])
            for length in (2, 77, 2)
        ]
    )
    assert [len(batch) for batch in drain(queue)] == [2, 1]


def test_requests_that_an_equal_share_ends_go_before_others() -> None:
    queue, (long, middle, short) = build_queue(*[(False, [rows(count)]) for count in (9, 3, 2)])
    batch = choose_batch(queue.find_waiting(), limit_of)
    assert [sum(entry.request is request for entry in batch) for request in (long, middle, short)] == [6, 0, 2]
