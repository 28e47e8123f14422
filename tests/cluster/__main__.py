"""`make ray-check`: a job and the service on a real Ray cluster of two nodes, while nodes, replicas and commands die.

python -m tests.cluster --images 600 --requests 200

The last line has the figures. The status is 1 if an image is missing, doubled or different, if a request gets a wrong
answer or none, or if one replica does not find an object that another has created.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.cluster.ray_package import require_ray


def main() -> int:
    """0 if all checks pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=600, help="of the job")
    parser.add_argument("--part", type=int, default=10, help="images of a part")
    parser.add_argument("--requests", type=int, default=200, help="to the service")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", choices=["data", "serve"], help="half of it")
    chosen = parser.parse_args()
    require_ray("tests.cluster")
    from tests.cluster.data_check import check_data
    from tests.cluster.serve_check import check_serve

    lines: list[str] = []

    def run(check: Callable[[Path, int, int], str], *counts: int) -> None:
        with tempfile.TemporaryDirectory(prefix="diffsight-ray-") as folder:
            lines.append(check(Path(folder), *counts))
        print(lines[-1], file=sys.stderr, flush=True)

    with suppress(KeyboardInterrupt):
        try:
            if chosen.only != "serve":
                run(check_data, chosen.images, chosen.part)
            if chosen.only != "data":
                run(check_serve, chosen.requests, chosen.clients)
            print(f"ray-check: {'; '.join(lines)}")
            return 0
        except AssertionError as error:
            print(f"ray-check: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
