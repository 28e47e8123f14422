"""Four tasks at once over HTTP, from 32 clients that send the next request after each answer, against simple servers.

The load is 40 % depth, 25 % pose, 25 % features and 10 % zero-shot of 20 rows; every picture is new. The servers have
the same weights and take turns under the same load, in every round in the opposite order:

- ours: `diffsight serve`;
- greedy: FastAPI, a thread for the device, a queue for each task, batches of all waiting requests;
- turns: the same, but a zero-shot batch lets others go after every 32 rows;
- lock: FastAPI, one request at a time;
- litserve, ray: with `--peers litserve,ray`, in environments that this command makes;
- ideal: no server, prepared batches of 16.

Then 31 clients send requests without zero-shot, alone and beside a request of 1,000 rows. First, every answer of ours
is compared with the simple server's. Ratios are within a round; the figure is the median of all rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._table import arguments, print_table, write_figures
from benchmarks.mixed.checks import compare

ROOT = Path(__file__).parents[1]
SIMPLE = ("greedy", "turns", "lock")
PACKAGES = {"litserve": ["litserve"], "ray": ["ray[serve]"]}
IDEAL_SECONDS = 6.0
CHECKED_PICTURES = 10_000_000
"""The number of the first picture of the comparison: no load reaches it, so no cache has seen it."""


@dataclass(slots=True)
class Running:
    """A running server. next_picture: the first number that it has not seen."""

    name: str
    url: str
    process: subprocess.Popen[str]
    next_picture: int = 0

    @property
    def takes_json(self) -> bool:
        """Whether it takes the image in base64."""
        return self.name == "litserve"

    def load(self, *options: str, seconds: float, warm: float) -> dict[str, Any]:
        """The clients' results."""
        command = [sys.executable, "-m", "benchmarks.mixed.load", self.url, *options]
        command += ["--seconds", str(seconds), "--warm", str(warm), "--pictures", str(int(200 * (seconds + warm)))]
        command += ["--first", str(self.next_picture), "--pid", str(self.process.pid)]
        command += ["--json"] if self.takes_json else []
        report: dict[str, Any] = json.loads(
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        )
        if report["errors"]:
            print(f"{self.name}: {report['errors']}", file=sys.stderr)
        self.next_picture = report["next"]
        return report


@contextmanager
def running(name: str, python: Path, *, threads: int, all_cores: bool, log: Path) -> Iterator[Running]:
    """A ready server of this name; each of its torch operations uses `threads` threads."""
    port = free_port()
    commands = {
        "ours": ["-m", "diffsight", "serve", "--backbone", "pocket", "--device", "cpu", "--port", str(port)],
        **{design: ["-m", "benchmarks.mixed.servers", design, str(port), str(threads)] for design in SIMPLE},
        "litserve": ["-m", "benchmarks.mixed.litserve_server", str(port), str(threads)],
        "ray": ["-m", "benchmarks.mixed.ray_server", str(port), str(threads)],
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DIFFSIGHT_")}
    environment |= {"DIFFSIGHT_DATA_FOLDER": str(log.parent / "data"), "DIFFSIGHT_OFFLINE": "true"}
    environment |= {"DIFFSIGHT_LIMITS__DEADLINE_SECONDS": "600", "PYTHONPATH": str(ROOT)}
    # Ray's own limit of 5 s is too short for a busy machine.
    environment |= {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
    if not all_cores:
        environment |= {"DIFFSIGHT_ENGINE__TORCH_THREADS": "1", "DIFFSIGHT_ENGINE__LANES": "1"}
    with log.open("w") as file:
        command = [str(python), *commands[name]]
        options: dict[str, Any] = {"stdout": file, "stderr": file, "text": True, "start_new_session": True}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, **options)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url + ("/health" if name == "litserve" else "/health/ready"), process, log)
            yield Running(name, url, process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            # Also end the workers that a server has left.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[str], log: Path, seconds: float = 600) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.3)
    raise TimeoutError(f"{url} did not become ready:\n{log.read_text()[-3000:]}")


def prepare_environment(peer: str, folder: Path) -> Path:
    """The Python of an environment with this peer and all packages of the current one. The environment is made once."""
    home = folder / peer
    python = home / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "-qq", "install", *PACKAGES[peer]], check=True)
        (site,) = home.glob("lib/python3*/site-packages")
        # After the peer's own packages, so that each package gets the versions that it needs.
        (site / "product.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return python


@dataclass(frozen=True, slots=True)
class Plan:
    """Duration and number of the rounds. folder: of environments and logs. peers: beside the simple servers."""

    rounds: int
    seconds: float
    warm: float
    clients: int
    peers: tuple[str, ...]
    folder: Path


def measure(plan: Plan, *, all_cores: bool) -> list[dict[str, Any]]:
    """Rounds of all servers: the report of each, and for some also reports beside a large request."""
    threads = os.cpu_count() or 1 if all_cores else 1
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diffsight-mixed-load-")))
        start = partial(running, threads=threads, all_cores=all_cores)
        servers = [
            stack.enter_context(start(name, Path(sys.executable), log=logs / f"{name}.log"))
            for name in ("ours", *SIMPLE)
        ]
        ideal = stack.enter_context(_ideal(threads))
        for place, other in enumerate(servers[1:]):
            _compare(servers[0], other, place)
        for number in range(plan.rounds):
            reports: dict[str, Any] = {}
            for server in servers if number % 2 == 0 else servers[::-1]:
                reports[server.name] = _measure_server(server, plan)
            for place, name in enumerate(plan.peers, start=len(SIMPLE)):
                # A peer runs only in its turn: LitServe's processes poll, and would take a core from the others.
                with ExitStack() as turn:
                    log = logs / f"{name}.log"
                    try:
                        peer = turn.enter_context(start(name, prepare_environment(name, plan.folder), log=log))
                    except (AssertionError, TimeoutError) as error:
                        # Its start has its own time limit, which a busy machine can exceed.
                        print(f"{name} IS LEFT OUT, because it did not start: {error}", file=sys.stderr, flush=True)
                        continue
                    if number == 0:
                        _compare(servers[0], peer, place)
                    reports[name] = _measure_server(peer, plan)
            reports["ideal"] = _ask_ideal(ideal)
            rounds.append(reports)
            _tell(number, reports)
    return rounds


def _compare(ours: Running, other: Running, place: int) -> None:
    """Raises AssertionError if their answers differ. place: among the others: each pair has pictures of its own."""
    first = CHECKED_PICTURES * (1 + place)
    differences = asyncio.run(compare(ours.url, other.url, other_takes_json=other.takes_json, first=first))
    print(f"answers of {other.name} differ by at most {differences}", file=sys.stderr, flush=True)


def _measure_server(server: Running, plan: Plan) -> dict[str, Any]:
    times = {"seconds": plan.seconds, "warm": plan.warm}
    report = server.load("--clients", str(plan.clients), **times)
    if server.name in ("ours", "greedy", "turns"):
        fewer = ("--clients", str(plan.clients - 1), "--without-zero-shot")
        report["alone"] = server.load(*fewer, **times)
        report["beside_large"] = server.load(*fewer, "--large", **times)
    return report


@contextmanager
def _ideal(threads: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.mixed.ideal", str(threads), str(IDEAL_SECONDS)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        yield process
    finally:
        process.kill()
        process.wait()


def _ask_ideal(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    report: dict[str, Any] = json.loads(process.stdout.readline())
    return report


def _tell(number: int, reports: Mapping[str, Any]) -> None:
    rates = ", ".join(f"{name} {report['images_per_second']:.1f}" for name, report in reports.items())
    load = os.getloadavg()[0]
    print(f"{time.strftime('%X')} round {number}, load {load:.1f}: images/s {rates}", file=sys.stderr, flush=True)


def ratios(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over the rounds of ours against the others."""

    def rate(reports: Mapping[str, Any], name: str) -> float:
        return float(reports[name]["images_per_second"])

    def percentile(report: Mapping[str, Any], *path: str) -> float:
        for key in path:
            report = report[key]
        return float(report)  # type: ignore[arg-type]

    def large(reports: Mapping[str, Any], name: str) -> float:
        tasks = reports[name]["beside_large"]["tasks"]
        # A request without an answer took longer than the whole window.
        seconds = reports[name]["beside_large"]["seconds"]
        return float(tasks["large"]["p50"]) / 1000 if "large" in tasks else float(seconds)

    def under_large(reports: Mapping[str, Any], name: str) -> float:
        own = reports[name]
        return percentile(own, "beside_large", "tasks", "depth", "p99") / percentile(
            own, "alone", "tasks", "depth", "p99"
        )

    each: dict[str, list[float]] = {}
    for reports in rounds:
        peers = [name for name in reports if name not in ("ours", "ideal")]
        depth = {name: percentile(reports, name, "tasks", "depth", "p99") for name in ("ours", *peers)}
        share = {
            name: rate(reports, name) / max(0.01, reports[name]["server_processor_share"]) for name in ("ours", *peers)
        }
        figures = {
            "throughput_over_best_peer": rate(reports, "ours") / max(rate(reports, name) for name in peers),
            **{f"throughput_over_{name}": rate(reports, "ours") / rate(reports, name) for name in peers},
            "throughput_by_processor_second_over_greedy": share["ours"] / share["greedy"],
            "over_ideal": rate(reports, "ours") / rate(reports, "ideal"),
            "greedy_over_ideal": rate(reports, "greedy") / rate(reports, "ideal"),
            "zero_shot_p50_over_greedy": percentile(reports, "ours", "tasks", "zero_shot", "p50")
            / percentile(reports, "greedy", "tasks", "zero_shot", "p50"),
            "depth_p99_over_best_peer": depth["ours"] / min(depth[name] for name in peers),
            "depth_p99_under_race_over_unloaded": under_large(reports, "ours"),
            "depth_p99_under_race_over_unloaded_turns": under_large(reports, "turns"),
            "race_seconds": large(reports, "ours"),
            "race_seconds_over_turns": large(reports, "ours") / large(reports, "turns"),
        }
        for name, value in figures.items():
            each.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in each.items()}


def table_rows(rounds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Medians of each server: images a second, processor share, and milliseconds of each task, p50 and p99."""
    rows = []
    for name in rounds[0]:
        mine = [reports[name] for reports in rounds if name in reports]
        row = [name, f"{statistics.median(report['images_per_second'] for report in mine):.1f}"]
        if "tasks" in mine[0]:
            row.append(f"{statistics.median(report['server_processor_share'] for report in mine):.2f}")
            for task in ("depth", "pose", "features", "zero_shot"):
                have = [report["tasks"][task] for report in mine if task in report["tasks"]]
                middle, last = (statistics.median(entry[p] for entry in have) if have else 0.0 for p in ("p50", "p99"))
                row.append(f"{middle:.0f} / {last:.0f}")
        rows.append(row + [""] * (7 - len(row)))
    return rows


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--warm", type=float, default=4, help="seconds before those that count")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--threads", choices=["one", "all", "both"], default="both", help="of torch, in each server")
    parser.add_argument("--peers", default="", help="litserve,ray: also these, installed from PyPI at their first use")
    parser.add_argument("--folder", type=Path, default=Path("out/bench/mixed_load"), help="of the peers' environments")
    chosen = parser.parse_args()
    peers = tuple(name for name in chosen.peers.split(",") if name)
    if unknown := set(peers) - set(PACKAGES):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    plan = Plan(chosen.rounds, chosen.seconds, chosen.warm, chosen.clients, peers, chosen.folder.absolute())
    figures: dict[str, float] = {}
    rounds: dict[str, list[dict[str, Any]]] = {}
    for mode in ("one", "all") if chosen.threads == "both" else (chosen.threads,):
        rounds[mode] = measure(plan, all_cores=mode == "all")
        own = ratios(rounds[mode])
        figures |= {name if mode == "one" else f"{name}_all_cores": value for name, value in own.items()}
        print_table(
            f"Mixed load, {plan.clients} clients, {'one thread' if mode == 'one' else 'all cores'} each",
            ["server", "images/s", "cores", "depth ms", "pose ms", "features ms", "zero-shot ms"],
            table_rows(rounds[mode]),
            [", ".join(f"{name} {value:.2f}" for name, value in own.items())],
        )
    write_figures(chosen.json, figures, rounds=rounds, cores=os.cpu_count())
    return 0


if __name__ == "__main__":
    sys.exit(main())
