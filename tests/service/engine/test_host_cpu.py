"""What is set up on the host: the next batch uses the memory that a batch has freed."""

import subprocess
import sys

import pytest

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
