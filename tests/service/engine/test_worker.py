"""The worker's steps, called by hand: shared batches, functions, faults, bounds, deadlines, and waiting times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, current_thread, get_ident
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbones.engine import APPLIED, Result
from backbones.errors import Cancelled, DeadlinePassed, NotANumber, OutOfMemory, Overloaded
from backbones.rows import Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from service.engine import worker as worker_module
from service.engine.queue import Call
from service.engine.worker import BULK_TURN, DeviceWorker
from tests.service.engine.hand_driven import (
    FaultyBackbone,
    InstantBackbone,
    let_requests_continue,
    make_instant_rows,
    make_rows,
    run_rows,
    step_until_done,
)


def test_rows_of_several_requests_share_one_batch(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    sizes: list[tuple[str, int]] = []
    worker.on_batch = lambda ran: sizes.append((ran.kind, ran.size))
    work = [run_rows(worker.session("task"), make_rows(small_backbone, 1, timestep=t)) for t in (1, 500, 999)]
    results = asyncio.run(step_until_done(worker, *work))
    assert sizes == [("unet", 3)]
    for timestep, result in zip((1, 500, 999), results, strict=True):
        (expected,) = small_backbone.forward(make_rows(small_backbone, 1, timestep=timestep))
        assert isinstance(result, list)
        torch.testing.assert_close(result[0].noise_pred, expected.noise_pred, atol=1e-5, rtol=1e-5)


def test_out_of_memory_halves_the_batch_and_no_request_fails(small_backbone: StableDiffusion) -> None:
    def fault(batch: Sequence[UNetRow]) -> None:
        if len(batch) > 4:
            raise torch.OutOfMemoryError("no memory for so many rows")

    model = FaultyBackbone(small_backbone, fault)
    worker = DeviceWorker(model, max_batch_rows=16)
    (result,) = asyncio.run(step_until_done(worker, run_rows(worker.session("task"), make_rows(small_backbone, 32))))
    assert isinstance(result, list)
    assert len(result) == 32
    assert all(captures.noise_pred is not None for captures in result)
    # Once 16 and 8 have failed, no batch of more than 4 is tried again.
    assert [size for size in model.batch_sizes if size > 4] == [16, 8, 8]
    assert worker.figures().out_of_memory_total == 3


def test_a_row_that_raises_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    poison = make_rows(small_backbone, 1, timestep=666)

    def fault(batch: Sequence[UNetRow]) -> None:
        if any(row.timestep == 666 for row in batch):
            raise RuntimeError("a kernel failed")

    worker = DeviceWorker(FaultyBackbone(small_backbone, fault))
    requests = (make_rows(small_backbone, 3), poison, make_rows(small_backbone, 2))
    work = [run_rows(worker.session("task"), rows) for rows in requests]
    well, sick, also_well = asyncio.run(step_until_done(worker, *work))
    assert isinstance(sick, RuntimeError)
    assert [len(result) for result in (well, also_well) if isinstance(result, list)] == [3, 2]


def test_a_row_that_gives_nan_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    sick_row = make_rows(small_backbone, 1)[0]
    sick_row.latents.fill_(float("nan"))
    worker = DeviceWorker(small_backbone)
    work = [run_rows(worker.session("task"), rows) for rows in (make_rows(small_backbone, 3), [sick_row])]
    well, sick = asyncio.run(step_until_done(worker, *work))
    assert isinstance(well, list)
    assert isinstance(sick, NotANumber)


def test_a_full_queue_refuses_a_new_request(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_waiting_rows=10)
    work = [run_rows(worker.session("task"), make_rows(small_backbone, 8)) for _ in range(2)]
    served, refused = asyncio.run(step_until_done(worker, *work))
    assert isinstance(served, list)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_seconds >= 1
    assert worker.figures().rejected_total == 1


def test_a_request_whose_deadline_passes_while_it_waits_gets_deadline_passed(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    late = worker.session("task", deadline_seconds=0)
    work = [
        run_rows(late, make_rows(small_backbone, 2)),
        run_rows(worker.session("task"), make_rows(small_backbone, 2)),
    ]
    missed, served = asyncio.run(step_until_done(worker, *work))
    assert isinstance(missed, DeadlinePassed)
    assert isinstance(served, list)


def test_a_stream_of_interactive_rows_does_not_starve_bulk(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_batch_rows=2)
    tasks: list[str] = []

    async def stream() -> None:
        interactive = asyncio.ensure_future(run_rows(worker.session("interactive"), make_rows(small_backbone, 200)))
        bulk = asyncio.ensure_future(run_rows(worker.session("bulk", bulk=True), make_rows(small_backbone, 4)))
        await let_requests_continue()
        while not bulk.done():
            worker.step()
            tasks.append("bulk" if worker.figures().rows_by_task.get("bulk", 0) else "interactive")
            await let_requests_continue()
        interactive.cancel()

    asyncio.run(stream())
    assert tasks.index("bulk") == BULK_TURN
    assert len(tasks) <= 2 * (BULK_TURN + 1) + 1


def test_stopping_answers_what_waits(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)

    async def stop_while_waiting() -> None:
        rows = asyncio.ensure_future(run_rows(worker.session("task"), make_rows(small_backbone, 2)))
        function = asyncio.ensure_future(worker.session("task").run(sum, [1]))
        await let_requests_continue()
        worker.stop()
        for task in (rows, function):
            with pytest.raises(Cancelled):
                await task
        with pytest.raises(Cancelled):
            await run_rows(worker.session("task"), make_rows(small_backbone, 2))

    asyncio.run(stop_while_waiting())
    assert not worker.alive


def test_a_row_that_does_not_fit_by_itself_fails_alone(small_backbone: StableDiffusion) -> None:
    heavy = make_rows(small_backbone, 1, timestep=999)

    def fault(rows: Sequence[UNetRow]) -> None:
        if any(row.timestep == 999 for row in rows):
            raise torch.OutOfMemoryError("no memory for this row")

    worker = DeviceWorker(FaultyBackbone(small_backbone, fault))
    work = [run_rows(worker.session("task"), rows) for rows in (heavy, make_rows(small_backbone, 3))]
    failed, served = asyncio.run(step_until_done(worker, *work))
    assert isinstance(failed, OutOfMemory)
    assert isinstance(served, list)
    assert len(served) == 3


# An error of the worker itself.


@contextmanager
def running(worker: DeviceWorker) -> Iterator[DeviceWorker]:
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_a_reader_of_figures_that_fails_stops_nothing(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    worker.on_batch = lambda *_: 1 / 0  # type: ignore[assignment]
    with running(worker):
        for _ in range(2):
            assert len(asyncio.run(run_rows(worker.session("task"), make_rows(small_backbone, 2)))) == 2
        assert worker.alive


@pytest.mark.parametrize("error", [SystemExit("end"), KeyboardInterrupt()])
def test_the_batch_of_a_failed_worker_is_answered_and_the_queue_is_kept(
    small_backbone: StableDiffusion, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(worker_module, "RESTART_SECONDS", 0.0)
    errors = [error]

    def fault(rows: object) -> None:
        if errors:
            raise errors.pop()

    async def ask(worker: DeviceWorker) -> list[Any]:
        sessions = [worker.session(task) for task in ("held", "kept")]
        work = [run_rows(session, make_rows(small_backbone, 1)) for session in sessions]
        return await asyncio.gather(*work, return_exceptions=True)

    with running(DeviceWorker(FaultyBackbone(small_backbone, fault), max_batch_rows=1)) as worker:
        held, kept = asyncio.run(ask(worker))
        assert isinstance(held, RuntimeError)
        assert len(kept) == 1
        assert worker.alive
        assert not worker.restarting


def test_a_worker_that_fails_again_and_again_answers_every_request_and_ends(
    small_backbone: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(worker_module, "choose_batch", lambda *_, **__: 1 / 0)

    async def ask() -> list[Any]:
        rows = [run_rows(worker.session("task"), make_rows(small_backbone, 2)) for _ in range(3)]
        return await asyncio.gather(*rows, return_exceptions=True)

    with running(DeviceWorker(small_backbone)) as worker:
        assert all(isinstance(answer, Cancelled) for answer in asyncio.run(ask()))
        assert not worker.alive
        (late,) = asyncio.run(ask())[:1]
        assert isinstance(late, Cancelled)


# Functions: "run" calls, which follow the batch before them.


@dataclass
class Crowd:
    """A worker with interactive clients that always have waiting rows, in sessions of 1 to 16 rows.

    size: the number of clients. turn: the number of steps so far.
    """

    worker: DeviceWorker = field(default_factory=lambda: DeviceWorker(InstantBackbone()))
    size: int = 31
    turn: int = 0

    async def _run_client(self, count: int) -> None:
        while True:
            with self.worker.session("client") as session:
                await session.unet(await session.run(make_instant_rows, count))
                await session.run(list)

    async def step(self) -> None:
        await let_requests_continue()
        self.worker.step()
        self.turn += 1

    async def step_until_done(self, request: Coroutine[Any, Any, Result], *, max_turns: int) -> Result:
        """The result of a request that arrives at a crowd of clients, within `max_turns` of its arrival."""
        clients = [asyncio.ensure_future(self._run_client(1 + 5 * number % 16)) for number in range(self.size)]
        for _ in range(10):
            await self.step()
        task = asyncio.ensure_future(request)
        while not task.done():
            assert self.turn <= 10 + max_turns
            await self.step()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return task.result()


@pytest.mark.parametrize("rounds", [[20], [1000], [250, 250, 250, 250]])
def test_a_request_ends_soon_after_its_last_row_beside_31_clients(rounds: list[int]) -> None:
    crowd = Crowd()

    async def run_rounds() -> list[int]:
        """Steps from the last row of each round to the end of the function that reduces it."""
        turns = []
        with crowd.worker.session("task") as session:
            for count in rounds:
                captures = await session.unet(await session.run(make_instant_rows, count))
                last_row = crowd.turn
                await session.run(len, captures)
                turns.append(crowd.turn - last_row)
        return turns

    # With as many places as requests, an equal share is one row a turn.
    turns = asyncio.run(crowd.step_until_done(run_rounds(), max_turns=10 + sum(rounds)))
    assert turns == [1] * len(rounds)


def test_rows_that_a_request_had_while_it_was_alone_do_not_delay_it_in_a_crowd() -> None:
    crowd = Crowd(size=60)
    session = crowd.worker.session("task")

    async def run_alone() -> None:
        await step_until_done(crowd.worker, session.unet(make_instant_rows(1000)))

    async def run_in_crowd() -> None:
        with session:
            await session.unet(make_instant_rows(50))
            await session.decode([torch.zeros(1, 1, 1)])

    async def run_both() -> None:
        await run_alone()
        # An equal share is a little more than one row in two turns.
        await crowd.step_until_done(run_in_crowd(), max_turns=100)

    asyncio.run(run_both())


def test_a_bulk_request_ends_beside_31_interactive_clients() -> None:
    crowd = Crowd()

    async def run_bulk() -> int:
        with crowd.worker.session("bulk", bulk=True) as session:
            for _ in range(3):
                captures = await session.unet(await session.run(make_instant_rows, 4))
                await asyncio.gather(*[session.run(len, captures) for _ in range(5)])
        return crowd.turn

    # A round is at most one wait for bulk's turn, and a turn for each function.
    asyncio.run(crowd.step_until_done(run_bulk(), max_turns=3 * (BULK_TURN + 2 + 6)))


def test_one_row_waits_for_one_batch_of_a_thousand_row_request() -> None:
    worker = DeviceWorker(InstantBackbone(), max_batch_rows=32)

    async def run_small() -> int:
        """Rows that the device runs from the request's arrival to the function that ends it."""
        before = worker.figures().rows_total
        with worker.session("small") as session:
            await session.unet(make_instant_rows(1))
            return await session.run(lambda: worker.figures().rows_total - before)

    async def arrive_late() -> int:
        large = asyncio.ensure_future(run_rows(worker.session("large"), make_instant_rows(1000)))
        for _ in range(5):
            await let_requests_continue()
            worker.step()
        (rows,) = await step_until_done(worker, run_small())
        assert not large.done()
        large.cancel()
        assert isinstance(rows, int)
        return rows

    assert asyncio.run(arrive_late()) == 32


Script = list[tuple[str, int]]

scripts: st.SearchStrategy[Script] = st.lists(
    st.tuples(st.sampled_from(["unet", "run", "decode"]), st.integers(1, 12)), min_size=1, max_size=5
)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), scripts), min_size=1, max_size=8), st.integers(1, 8))
def test_every_request_ends_and_no_item_is_lost_or_doubled(requests: list[tuple[bool, Script]], batch: int) -> None:
    model = InstantBackbone()
    worker = DeviceWorker(model, max_batch_rows=batch)
    calls: Counter[tuple[int, int, int]] = Counter()
    latents: list[Tensor] = []

    async def follow(number: int, bulk: bool, script: Script) -> None:
        with worker.session("task", bulk=bulk) as session:
            for place, (kind, count) in enumerate(script):
                if kind == "unet":
                    rows = make_instant_rows(count)
                    latents.extend(row.latents for row in rows)
                    captures = await session.unet(rows)
                    assert all(answer.output is row.latents for answer, row in zip(captures, rows, strict=True))
                elif kind == "decode":
                    tensors = [torch.zeros(1, 1, 1) for _ in range(count)]
                    decoded = await session.decode(tensors)
                    assert all(answer is tensor for answer, tensor in zip(decoded, tensors, strict=True))
                else:
                    keys = [(number, place, function) for function in range(count)]
                    await asyncio.gather(*[session.run(calls.update, [key]) for key in keys])

    # Each turn does one item at least, so there are no more turns than items.
    items = sum(count for _, script in requests for _, count in script)
    work = [follow(number, bulk, script) for number, (bulk, script) in enumerate(requests)]
    results = asyncio.run(step_until_done(worker, *work, max_steps=items + 1))
    assert results == [None] * len(requests)
    assert all(model.runs[id(own)] == 1 for own in latents)
    assert sum(model.runs.values()) == len(latents)
    assert sum(calls.values()) == len(calls)
    assert len(calls) == sum(count for _, script in requests for kind, count in script if kind == "run")
    figures = worker.figures()
    assert (figures.waiting_rows, figures.requests_open, figures.cancelled_rows_total) == (0, 0, 0)


def test_functions_run_in_order_of_arrival_before_the_next_batch() -> None:
    worker = DeviceWorker(InstantBackbone())
    kinds: list[str] = []
    order: list[int] = []
    worker.on_batch = lambda ran: kinds.append(ran.kind)

    async def submit() -> None:
        rows = asyncio.ensure_future(run_rows(worker.session("task"), make_instant_rows(3)))
        functions = [asyncio.ensure_future(worker.session("task").run(order.append, n)) for n in range(3)]
        await let_requests_continue()
        assert worker.figures().waiting_rows == 6
        assert worker.step() == 6
        await asyncio.gather(rows, *functions)

    asyncio.run(submit())
    assert kinds == ["run", "run", "run", "unet"]
    assert order == [0, 1, 2]


@pytest.mark.parametrize(("interactive", "first_turn"), [(True, ["run", "unet"]), (False, ["run"] * 3 + ["unet"])])
def test_one_bulk_function_runs_a_turn_while_interactive_requests_wait(
    interactive: bool, first_turn: list[str]
) -> None:
    worker = DeviceWorker(InstantBackbone(), max_batch_rows=2)
    kinds: list[str] = []
    worker.on_batch = lambda ran: kinds.append(ran.kind)

    async def submit() -> None:
        rows = asyncio.ensure_future(run_rows(worker.session("task", bulk=not interactive), make_instant_rows(20)))
        functions = [asyncio.ensure_future(worker.session("task", bulk=True).run(sum, [n])) for n in range(3)]
        await let_requests_continue()
        worker.step()
        assert kinds == first_turn
        for _ in range(2):
            worker.step()
        await asyncio.gather(*functions)
        rows.cancel()

    asyncio.run(submit())


def test_an_interactive_request_that_arrives_during_bulk_functions_is_next() -> None:
    backbone = InstantBackbone()
    worker = DeviceWorker(backbone)
    kinds: list[str] = []
    worker.on_batch = lambda ran: kinds.append(ran.kind)
    request = worker.open_request(backbone, "task", bulk=False, deadline=None)
    arrival = Call("unet", make_instant_rows(1), lambda answer: None)

    async def submit() -> None:
        with worker.session("task", bulk=True) as session:
            functions = [session.run(worker.submit, request, arrival), *(session.run(lambda: None) for _ in range(3))]
            tasks = [asyncio.ensure_future(function) for function in functions]
            await let_requests_continue()
            worker.step()
            assert kinds == ["run", "unet"]
            worker.step()
            await asyncio.gather(*tasks)

    asyncio.run(submit())


def test_a_function_that_raises_fails_its_own_request_only() -> None:
    worker = DeviceWorker(InstantBackbone())
    work = [worker.session("task").run(function) for function in (list, lambda: 1 // 0, dict)]
    results = asyncio.run(step_until_done(worker, *work, run_rows(worker.session("task"), make_instant_rows(2))))
    assert results[0] == []
    assert isinstance(results[1], ZeroDivisionError)
    assert results[2] == {}
    assert len(cast("list[Captures]", results[3])) == 2


def test_a_function_that_is_late_or_cancelled_does_not_run() -> None:
    worker = DeviceWorker(InstantBackbone())
    calls: list[str] = []

    async def submit() -> None:
        late = asyncio.ensure_future(worker.session("task", deadline_seconds=0).run(calls.append, "late"))
        cancelled = asyncio.ensure_future(worker.session("task").run(calls.append, "cancelled"))
        await let_requests_continue()
        cancelled.cancel()
        await let_requests_continue()
        assert worker.step() == 0
        with pytest.raises(DeadlinePassed):
            await late

    asyncio.run(submit())
    assert calls == []
    assert (worker.figures().waiting_rows, worker.figures().cancelled_rows_total) == (0, 2)


# Networks of heads, lanes, and functions of the host.


def test_inputs_of_several_requests_share_one_batch_of_their_network() -> None:
    worker = DeviceWorker(InstantBackbone())
    sizes: list[tuple[str, int]] = []
    worker.on_batch = lambda ran: sizes.append((ran.kind, ran.size))

    def double(inputs: Sequence[int]) -> list[int]:
        return [2 * value for value in inputs]

    def negate(inputs: Sequence[int]) -> list[int]:
        return [-value for value in inputs]

    async def apply(network: Any, inputs: list[int]) -> list[int]:
        with worker.session("task") as session:
            return await session.apply(network, inputs)

    work = [apply(double, [1, 2]), apply(negate, [3]), apply(double, list(range(APPLIED)))]
    results = asyncio.run(step_until_done(worker, *work))
    assert results == [[2, 4], [-3], [2 * value for value in range(APPLIED)]]
    assert sizes == [("apply", APPLIED), ("apply", 1), ("apply", 2)]


def test_two_lanes_run_two_batches_at_a_time() -> None:
    backbone = InstantBackbone()
    both = Barrier(2)
    run = backbone.forward

    def forward(rows: Sequence[UNetRow]) -> list[Captures]:
        both.wait(60)  # no lane passes before the other is here too
        return run(rows)

    backbone.forward = forward  # type: ignore[method-assign]
    prepared: list[int] = []
    worker = DeviceWorker(backbone, max_batch_rows=1)

    async def ask() -> list[Any]:
        return await asyncio.gather(*[run_rows(worker.session("task"), make_instant_rows(1)) for _ in range(4)])

    with running(worker):
        worker.prepare_lanes(2, lambda: prepared.append(get_ident()))
        answers = asyncio.run(ask())
        assert [len(answer) for answer in answers] == [1] * 4
        assert len(set(prepared)) == len(prepared) == 2
        assert worker.figures().running_rows == 0
    assert not worker.alive


@pytest.mark.parametrize(("on_host", "thread"), [(True, "host"), (False, "device")])
def test_functions_run_on_the_thread_of_the_setting(on_host: bool, thread: str) -> None:
    async def ask() -> str:
        with worker.session("task") as session:
            name: str = await session.run(lambda: current_thread().name)
            return name

    with running(DeviceWorker(InstantBackbone(), functions_on_host=on_host)) as worker:
        assert asyncio.run(ask()).startswith(thread)


def test_a_single_item_that_does_not_fit_lowers_no_limit() -> None:
    backbone = InstantBackbone()
    (row,) = make_instant_rows(1)

    def fail(rows: Sequence[UNetRow]) -> list[Captures]:
        raise torch.OutOfMemoryError("no memory for this row")

    backbone.forward = fail  # type: ignore[method-assign]
    worker = DeviceWorker(backbone)
    before = worker.limits.limit("unet", backbone, row)
    (failed,) = asyncio.run(step_until_done(worker, run_rows(worker.session("task"), [row])))
    assert isinstance(failed, OutOfMemory)
    assert worker.limits.limit("unet", backbone, row) == before
    assert worker.figures().out_of_memory_total == 1
