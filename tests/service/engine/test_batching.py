"""Who goes into a batch, for any mixture of requests."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.rows import Capture, UNetRow
from service.engine.batching import Entry, choose_batch
from service.engine.waiting import Asking, Kind, Request, WaitingLine

LIMITS: dict[Kind, int] = {"unet": 8, "encode": 3, "decode": 3, "embed": 8, "run": 1}


def row(size: int = 8, variant: str = "") -> UNetRow:
    return UNetRow(torch.zeros(4, size, size), 0, torch.zeros(2, 4), Capture(), variant=variant)


def asking(kind: Kind, items: list[object]) -> Asking:
    return Asking(kind, items, lambda answer: None)


def line_of(*requests: tuple[bool, list[Asking]]) -> tuple[WaitingLine, list[Request]]:
    line = WaitingLine(10**6)
    opened = []
    for bulk, askings in requests:
        request = line.open("task", bulk=bulk, deadline=None)
        for one in askings:
            line.ask(request, one, items_per_second=1.0)
        opened.append(request)
    return line, opened


def take(line: WaitingLine, batch: list[Entry]) -> None:
    for entry in batch:
        line.take(entry.request, entry.asking)


def drain(line: WaitingLine) -> list[list[Entry]]:
    batches = []
    while batch := choose_batch(line.in_line(), LIMITS):
        take(line, batch)
        batches.append(batch)
    return batches


askings = st.builds(
    lambda kind, sizes: asking(kind, [row(size) if kind == "unet" else torch.zeros(3, size, size) for size in sizes]),
    st.sampled_from(["unet", "encode"]),
    st.lists(st.sampled_from([8, 16]), min_size=1, max_size=20),
)
requests = st.lists(st.tuples(st.booleans(), st.lists(askings, min_size=1, max_size=3)), min_size=1, max_size=6)


@settings(deadline=None, derandomize=True)
@given(requests)
def test_no_item_is_lost_or_doubled_and_no_batch_is_over_its_limit(mixture: list[tuple[bool, list[Asking]]]) -> None:
    line, _ = line_of(*mixture)
    expected = {(id(one), place) for _, asked in mixture for one in asked for place in range(len(one.items))}
    batches = drain(line)
    assert all(len(batch) <= LIMITS[batch[0].asking.kind] for batch in batches)
    done = [(id(entry.asking), entry.place) for batch in batches for entry in batch]
    assert len(done) == len(expected)
    assert set(done) == expected
    assert line.waiting == 0


@settings(deadline=None, derandomize=True)
@given(requests)
def test_a_batch_holds_one_kind_and_one_latent_size(mixture: list[tuple[bool, list[Asking]]]) -> None:
    line, _ = line_of(*mixture)
    for batch in drain(line):
        assert len({entry.asking.kind for entry in batch}) == 1
        items = [entry.item for entry in batch]
        assert len({tuple((item.latents if isinstance(item, UNetRow) else item).shape) for item in items}) == 1


@settings(deadline=None, derandomize=True)
@given(requests)
def test_items_of_one_asking_keep_their_order(mixture: list[tuple[bool, list[Asking]]]) -> None:
    line, _ = line_of(*mixture)
    places: dict[int, list[int]] = {}
    for batch in drain(line):
        for entry in batch:
            places.setdefault(id(entry.asking), []).append(entry.place)
    assert all(order == sorted(order) for order in places.values())


def test_choosing_changes_nothing() -> None:
    line, _ = line_of((False, [asking("unet", [row(), row()])]))
    assert choose_batch(line.in_line(), LIMITS) == choose_batch(line.in_line(), LIMITS)
    assert line.waiting == 2


def test_a_one_row_request_shares_the_next_batch_with_a_thousand_row_request() -> None:
    line, (large,) = line_of((False, [asking("unet", [row() for _ in range(1000)])]))
    take(line, choose_batch(line.in_line(), LIMITS))
    small = line.open("task", bulk=False, deadline=None)
    line.ask(small, asking("unet", [row()]), items_per_second=1.0)
    batch = choose_batch(line.in_line(), LIMITS)
    assert [entry.request for entry in batch].count(small) == 1
    assert [entry.request for entry in batch].count(large) == LIMITS["unet"] - 1


def test_requests_share_a_batch_evenly() -> None:
    line, opened = line_of(*[(False, [asking("unet", [row() for _ in range(100)])]) for _ in range(4)])
    batch = choose_batch(line.in_line(), LIMITS)
    assert [sum(entry.request is request for entry in batch) for request in opened] == [2, 2, 2, 2]


def test_more_requests_than_places_all_get_their_turn() -> None:
    line, opened = line_of(*[(False, [asking("unet", [row() for _ in range(40)])]) for _ in range(20)])
    for _ in range(10):
        take(line, choose_batch(line.in_line(), LIMITS))
    assert {request.served for request in opened} == {4.0}


def test_bulk_rows_only_fill_what_interactive_rows_leave_free() -> None:
    line, (bulk, interactive) = line_of(
        (True, [asking("unet", [row() for _ in range(50)])]), (False, [asking("unet", [row() for _ in range(6)])])
    )
    batch = choose_batch(line.in_line(), LIMITS)
    assert [entry.request is interactive for entry in batch] == [True] * 6 + [False] * 2
    assert batch[-1].request is bulk


def test_bulk_first_lets_bulk_lead_one_batch() -> None:
    line, (bulk, _) = line_of(
        (True, [asking("unet", [row() for _ in range(50)])]), (False, [asking("unet", [row() for _ in range(50)])])
    )
    assert {entry.request for entry in choose_batch(line.in_line(), LIMITS, bulk_first=True)} == {bulk}


def test_rows_of_different_variants_do_not_share_a_batch() -> None:
    line, _ = line_of((False, [asking("unet", [row()])]), (False, [asking("unet", [row(variant="depth")])]))
    assert [len(batch) for batch in drain(line)] == [1, 1]


def test_a_function_call_runs_alone() -> None:
    line, _ = line_of((False, [asking("run", [print])]), (False, [asking("run", [print])]))
    assert [len(batch) for batch in drain(line)] == [1, 1]
