"""What is set up on the host: the next batch uses the memory that a batch has freed."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import torch
from service.engine.host_cpu import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)

def work(rounds):
    for _ in range(rounds):
        maps = [torch.ones(3 << 19) for _ in range(12)]  # 6 MiB each
        del maps

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def run():
    work(2)
    before = faults()
    work(10)
    print(faults() - before)

thread = threading.Thread(target=run)  # as the worker is
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_new_page_faults() -> None:
    def faults(mode: str) -> int:
        ran = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert faults("keep") < faults("default") / 4
