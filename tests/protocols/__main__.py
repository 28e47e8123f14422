"""`make protocols-check`: every call of docs/protocols.md by its real client. The last line counts them.

python -m tests.protocols [--sdk PYTHON]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

import structlog

from tests.conftest import running_server
from tests.protocols.native import CHECKS, Native, fit_classifier
from tests.protocols.page import read_examples
from tests.protocols.run import run_example


def main() -> int:
    """1 if a call fails or answers otherwise than the task's own route, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.protocols", description="Run the calls of docs/protocols.md."
    )
    parser.add_argument(
        "--sdk", metavar="PYTHON", help="of the environment with inference-sdk; without, it is left out"
    )
    sdk = parser.parse_args().sdk
    for name in [name for name in os.environ if name.startswith("DIFFSIGHT_")]:
        del os.environ[name]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    started = time.monotonic()
    failed, done = [], 0
    with running_server() as server:
        native = Native(server.client, fit_classifier(server.client))
        for example in read_examples():
            if example.apart and sdk is None:
                continue
            done += 1
            began = time.monotonic()
            try:
                run_example(example, server, native, sdk)
            except Exception:
                failed.append(example)
                traceback.print_exc()
            outcome, seconds = "FAILED" if example in failed else "ok", time.monotonic() - began
            print(f"{outcome:7} {example.client}: {example.task} by {example.method}, {seconds:.1f} s")
    examples = {(example.client, example.task) for example in read_examples()}
    missing = [pair for pair in CHECKS if pair not in examples]
    print(f"{time.monotonic() - started:.0f} s; {len(CHECKS) - done} calls left out; {len(missing)} not on the page")
    print(f"protocols: {done} calls, {len(failed)} failed")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
