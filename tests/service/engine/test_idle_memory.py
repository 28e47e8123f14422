"""The allocator returns freed memory to the system once, at the end of a load."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.engine.idle_memory import give_back_when_idle

KEPT = """
import os
from pathlib import Path
from service.engine.host_cpu import keep_freed_memory
from service.engine.idle_memory import give_back_freed_memory

assert keep_freed_memory()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

# The last block stays in use and holds the top of the heap.
blocks = [bytes(100_000) for _ in range(2_000)]
with_blocks = resident()
del blocks[:-1]
freed = resident()
assert give_back_freed_memory()
print(with_blocks, freed, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_kept_memory_is_given_back_also_below_a_block_in_use() -> None:
    ran = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    with_blocks, freed, after = map(int, ran.stdout.split())
    assert freed > with_blocks - 20
    assert after < with_blocks - 80


class EndOfReadings(Exception):
    """There are no more readings."""


def count_until_returned(readings: list[float]) -> list[int]:
    """The indices of the readings of finished work after which memory was returned."""
    left: Iterator[float] = iter(readings)
    read, calls = [0], []

    def work_done() -> float:
        read[0] += 1
        value = next(left, None)
        if value is None:
            raise EndOfReadings
        return value

    with pytest.raises(EndOfReadings):
        asyncio.run(give_back_when_idle(work_done, lambda: calls.append(read[0] - 1), look_seconds=0))
    return calls


def test_memory_is_given_back_once_after_each_load_and_never_within_one() -> None:
    assert count_until_returned([0.0, 0.0, 0.0, 1.5, 2.5, 2.5, 2.5, 2.5, 3.0, 4.0, 4.0, 4.0]) == [5, 10]


def test_a_server_that_never_worked_gives_nothing_back() -> None:
    assert count_until_returned([0.0, 0.0, 0.0]) == []
