"""Replay conformance folders: `python -m tests.conformance DIR [DIR ...]`.

Each DIR holds the cases of one system, a folder each with an info.json, laid out like the folders under `fixtures/`.
Prints tensor, largest error, tolerance and ok; exits with 1 when anything is beyond its tolerance or was not checked.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.conformance import diffews, diffusion_classifier, feature_pooling, sdpose, vpd
from tests.conformance.checks import Check, fail_unchecked, read_json

REPLAYS = {
    "diffews": diffews.replay,
    "diffusion_classifier": diffusion_classifier.replay,
    "feature_pooling": feature_pooling.replay,
    "sdpose": sdpose.replay,
    "vpd": vpd.replay,
}


def replay_folder(folder: Path) -> Iterator[Check]:
    """Checks of every case in a folder of one system; a case without checks is itself a failing check."""
    cases = {file.parent.name: read_json(file) for file in sorted(folder.glob("*/info.json"))}
    systems = {info.get("system") for info in cases.values()}
    if len(systems) != 1:
        yield fail_unchecked(folder.name, f"cases of one system ({len(cases)} found, of {sorted(map(str, systems))})")
        return
    system = str(systems.pop())
    if system not in REPLAYS:
        yield fail_unchecked(system, "a replay of this system")
        return
    checked = set()
    for check in REPLAYS[system](folder):
        checked.add(check.case)
        yield check
    yield from (fail_unchecked(case, "anything of this case") for case in cases if case not in checked)


def table_line(check: Check) -> str:
    """One line of the printed table."""
    error = "-" if math.isinf(check.error) else f"{check.error:.2e}"
    verdict = "ok" if check.ok else "FAIL"
    return f"{check.case:<26} {check.quantity:<44} {error:>9} {check.tolerance:>9.1e}  {verdict:<4} {check.rule}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--quiet", action="store_true", help="print failing checks and the summary only")
    chosen = parser.parse_args(arguments)
    failed = total = 0
    for folder in chosen.folders:
        started = time.perf_counter()
        print(f"{folder}\n{'case':<26} {'quantity':<44} {'error':>9} {'tolerance':>9}")
        checks = []
        for check in replay_folder(folder):
            checks.append(check)
            if not check.ok or not chosen.quiet:
                print(table_line(check), flush=True)
        bad = sum(not check.ok for check in checks)
        print(f"{len(checks) - bad} of {len(checks)} ok in {time.perf_counter() - started:.0f} s\n")
        failed, total = failed + bad, total + len(checks)
    print(f"{total - failed} passed, {failed} failed")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    # TF32 would move results on a GPU by more than the tolerances allow.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # The networks are tiny: a second thread costs more than it brings.
    torch.set_num_threads(1)
    sys.exit(main())
