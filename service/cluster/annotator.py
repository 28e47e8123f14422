"""An actor of a cluster: one device worker with its model, which does parts of a job by the same steps as a server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from backbones.errors import Cancelled, DiffsightError
from service.cluster.parts import JobWeights, Order, PartFolder
from service.errors import NotReady
from service.jobs.item_work import ItemWork, JobFailed, open_reader
from service.jobs.parameters import complete_parameters, read_options, require_task, take_model
from service.jobs.records import Item, Outcome
from service.jobs.sources import Source
from service.run_task import prepare
from service.settings.loader import Settings
from service.state import open_state
from service.tasks import TASKS
from service.telemetry.logging import configure_logging
from service.threads import DATABASE, run_in

log = structlog.get_logger("diffsight")

_KNOWN_BYTES = 64 << 20


class Annotator:
    """Computes parts of the job in a folder. An error that ends the whole job is returned and not raised.

    settings: the values of `Settings`; the environment of the actor's node is ignored. order: of the folder.
    """

    def __init__(self, settings: Mapping[str, Any], folder: str, order: Order) -> None:
        # As in `diffsight` itself, before torch is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        configure_logging("error")
        self.settings = Settings(**settings)
        self.folder = PartFolder(Path(folder))
        self.order = order
        self.problem = ""
        self._known: OrderedDict[str, str] = OrderedDict()
        self._known_bytes = 0
        self._leases = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="annotator", daemon=True)
        self._thread.start()
        try:
            self._await(self._start())
        except DiffsightError as error:
            self.problem = str(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """How the images of parts ended.

        batch: the parts' numbers under `part`. Threads may call it at the same time.
        """
        answers = [self._answer(int(part)) for part in batch["part"]]
        return {name: [answer[name] for answer in answers] for name in answers[0]}

    def close(self) -> None:
        """Release the model and its device."""
        self._await(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _answer(self, part: int) -> dict[str, Any]:
        answer = {"part": part, "done": 0, "failed": 0, "reused": 0, "problem": self.problem}
        if not self.problem:
            try:
                answer |= self._await(self._do(part))
            except (JobFailed, DiffsightError) as error:
                answer["problem"] = str(error)
            except OSError as error:
                answer["problem"] = f"{self.folder.path} can not be read or written: {error.strerror or error}"
        return answer

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        """Load the model, complete the parameters, and check that both are those that the job began with."""
        state = self.state = open_state(self.settings, TASKS)
        self._room = asyncio.Semaphore(self.settings.jobs.images_at_once)
        await state.models.start()
        if state.models.failure is not None:
            failure = state.models.failure
            raise failure if isinstance(failure, DiffsightError) else NotReady(f"the model did not load: {failure}")
        task = require_task(state, self.order.task)
        values = [(name, value) for name, value in self.order.values]
        parameters = await complete_parameters(state, task.name, values)
        model, options = take_model(parameters)
        prepared = prepare(state, task, read_options(task, options), model=model, long=True)
        work = await self._leases.enter_async_context(prepared)
        await run_in(DATABASE, self.folder.agree, JobWeights(work.loaded.id, work.revision, parameters))
        reader = open_reader(state, Source.model_validate(self.order.source), local=True)
        self._leases.callback(reader.close)
        self._work = ItemWork(state, work, parameters, reader, self._is_known)

    async def _stop(self) -> None:
        await self._leases.aclose()
        await asyncio.to_thread(self.state.models.stop)

    async def _do(self, part: int) -> dict[str, int]:
        """Compute the missing results of a part, and write them. Returns how its images ended. Raises as `ItemWork`."""
        items, before = await run_in(DATABASE, self._read_part, part)
        missing = [item for item in items if item.position not in before]
        tasks = [asyncio.create_task(self._outcome(item)) for item in missing]
        try:
            outcomes = {outcome.position: outcome for outcome in await asyncio.gather(*tasks)}
        finally:
            for task in tasks:
                task.cancel()
        every = [outcomes.get(item.position) or before[item.position] for item in items]
        if missing:
            await run_in(DATABASE, self.folder.write, part, items, every)
        failed = sum(bool(outcome.error) for outcome in every)
        return {"done": len(every) - failed, "failed": failed, "reused": len(before)}

    def _read_part(self, part: int) -> tuple[list[Item], dict[int, Outcome]]:
        return self.folder.items(part), self.folder.outcomes(part)

    async def _outcome(self, item: Item) -> Outcome:
        """The item's outcome, with its result if it has one."""
        async with self._room:
            try:
                outcome = await self._work.outcome(item)
            except (Cancelled, NotReady) as error:
                # The device is lost, and only a new process helps: Ray starts one, and gives it this part again.
                log.error("an actor ends itself", error=str(error))
                os._exit(1)
        if outcome.error:
            return outcome
        if outcome.result is None:
            return replace(outcome, result=self._known[outcome.key])
        self._remember(outcome.key, outcome.result)
        self._work.settle(outcome.key)
        return outcome

    async def _is_known(self, key: str) -> bool:
        if is_known := key in self._known:
            self._known.move_to_end(key)
        return is_known

    def _remember(self, key: str, result: str) -> None:
        """Keep a result for images with the same bytes: the latest, up to a number of bytes."""
        self._known[key] = result
        self._known_bytes += len(result)
        while self._known_bytes > _KNOWN_BYTES and len(self._known) > 1:
            self._known_bytes -= len(self._known.popitem(last=False)[1])
