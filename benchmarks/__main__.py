"""Run every benchmark, one after the other: `python -m benchmarks [--out FOLDER]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where each writes NAME.json")
    chosen = parser.parse_args()
    failed = []
    for module in sorted(Path(__file__).parent.glob("[!_]*.py")):
        print(f"\n== benchmarks.{module.stem}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module.stem}", "--json", str(chosen.out / f"{module.stem}.json")]
        if subprocess.run(command, check=False).returncode:
            failed.append(module.stem)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
