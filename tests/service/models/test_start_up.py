"""The steps of a server for each model that it loads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from service.models.start_up import run_on_own_thread


def test_work_on_its_own_thread_gives_back_results_and_errors() -> None:
    def fail() -> None:
        raise ValueError("wrong")

    assert asyncio.run(run_on_own_thread(threading.current_thread)) is not threading.current_thread()
    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(run_on_own_thread(fail))


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
def test_reading_gives_way_to_the_threads_that_answer() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = priority()
    assert asyncio.run(run_on_own_thread(priority)) == own
    assert asyncio.run(run_on_own_thread(priority, gently=True)) > own
    assert priority() == own
