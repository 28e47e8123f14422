"""Settings of the host: the next batch uses the memory that a batch has freed."""

import subprocess
import sys

import pytest

from service.engine import host_cpu
from service.engine.host_cpu import MOST_LANES, count_lanes
from service.settings.loader import load_settings

FAULTS = """
import resource, statistics, sys, threading
import torch
from service.engine.host_cpu import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)

def faults_of_a_round():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(mib << 18) for mib in (6, 4, 12, 20, 8, 6, 16, 24, 2, 4)]
    del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def run():
    # The median: the heap may grow once more in any single round.
    print(statistics.median(faults_of_a_round() for _ in range(15)))

thread = threading.Thread(target=run)  # as the worker is
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_new_page_faults() -> None:
    def faults(mode: str) -> float:
        ran = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
        return float(ran.stdout)

    assert faults("keep") < faults("default") / 4


def test_lanes_are_what_the_cores_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_cpu, "_CORES", 6)
    settings = load_settings()
    assert [count_lanes(threads, settings, "cpu") for threads in (1, 2, 3, 6, 12)] == [MOST_LANES, 3, 2, 1, 1]
    assert count_lanes(1, settings, "cuda") == 1
    assert count_lanes(6, load_settings(engine={"lanes": 2}), "cuda:1") == 2
