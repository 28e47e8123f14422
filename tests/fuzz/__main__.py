"""`make fuzz`: generated requests and damaged images against a real server. The last line gives the counts.

python -m tests.fuzz --cases 2000 --images 2000 --uploads 200 --bodies 200 --archives 1000 --seed 0
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import structlog
from tqdm import tqdm

from tests.fuzz.api import fuzz_api, fuzz_uploads, fuzzed_server
from tests.fuzz.bodies import fuzz_bodies
from tests.fuzz.images import crash, damage_images
from tests.fuzz.sources import fuzz_archives


def main() -> int:
    """1 if there is a finding, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the API and the image decoder.")
    parser.add_argument("--cases", type=int, default=2000, help="generated requests, at least")
    parser.add_argument("--images", type=int, default=2000, help="damaged images for the decoder")
    parser.add_argument("--uploads", type=int, default=200, help="damaged images sent over HTTP")
    parser.add_argument("--bodies", type=int, default=200, help="bodies that are small to send and large to read")
    parser.add_argument("--archives", type=int, default=1000, help="archives and COCO files for jobs")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other cases")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("DIFFSIGHT_")]:
        del os.environ[name]
    # Decoders complain of nearly every file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    started = time.monotonic()

    with tqdm(damage_images(arguments.images, arguments.seed), "decoder", total=arguments.images, mininterval=2) as bar:
        crashes = {name: wrong for name, data in bar if (wrong := crash(data))}
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(desc="archives", total=arguments.archives, mininterval=2) as bar,
    ):
        archives = fuzz_archives(arguments.archives, arguments.seed + 3, Path(folder), on_case=bar.update)
    with fuzzed_server() as server:
        with tqdm(desc="uploads", total=arguments.uploads, mininterval=2) as bar:
            crashes |= fuzz_uploads(server, count=arguments.uploads, seed=arguments.seed + 1, on_case=bar.update)
        with tqdm(desc="bodies", total=arguments.bodies, mininterval=2) as bar:
            bodies = fuzz_bodies(server, count=arguments.bodies, seed=arguments.seed + 2, on_case=bar.update)
        with tqdm(desc="API", total=arguments.cases, mininterval=2) as bar:
            findings = fuzz_api(server, cases=arguments.cases, seed=arguments.seed, systematic=True, on_case=bar.update)

    for (operation, media_type, status), count in sorted(findings.cases.items()):
        print(f"{count:6}  {operation}  {media_type}  {status}")
    print(f"{time.monotonic() - started:.0f} s, {len(findings.not_http)} requests that the HTTP parser refused")
    print("\n".join(problem[:300] for problem in findings.not_http))
    print_findings("server error", findings.server_errors)
    print_findings("contradiction", findings.contradictions)
    print_findings("damaged image", crashes)
    print_findings("hostile body", bodies)
    print_findings("hostile archive", archives)
    print(
        f"fuzz: {findings.count} API cases, {len(findings.server_errors)} server errors, "
        f"{len(findings.contradictions)} contradictions; {arguments.images + arguments.uploads} damaged images, "
        f"{len(crashes)} crashes; {arguments.bodies} hostile bodies, {len(bodies)} faults; "
        f"{arguments.archives} hostile archives, {len(archives)} faults"
    )
    return 1 if findings.server_errors or findings.contradictions or crashes or bodies or archives else 0


def print_findings(what: str, texts: Mapping[str, str]) -> None:
    """Print the findings, each with what reproduces it."""
    for name, text in texts.items():
        print(f"\n{what}: {name}\n    " + text[:2000].replace("\n", "\n    "))


if __name__ == "__main__":
    sys.exit(main())
