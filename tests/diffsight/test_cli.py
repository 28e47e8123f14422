"""The command as it is installed: help, predictions in process, errors as one line, a server that stops on Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import numpy as np
import pytest

from diffsight.cli.reference import walk_commands

SCRIPT = Path(sys.executable).with_name("diffsight")
# One thread: where cores are shared, torch's threads wait for each other longer than they compute.
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "DIFFSIGHT_ENGINE__TORCH_THREADS": "1"}
SECONDS = 180


def diffsight(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **environment},
        timeout=SECONDS,
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *told: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("diffsight: ")
    assert all(one in line for one in told), line


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, png: bytes) -> list[Path]:
    """Two files with a picture each."""
    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / "one.png", folder / "two.png"]
    for file in files:
        file.write_bytes(png)
    return files


HELP = dict(walk_commands())


@pytest.mark.parametrize("command", HELP, ids=lambda command: " ".join(command) or "diffsight")
def test_help_opens_with_an_example_to_copy(command: tuple[str, ...]) -> None:
    assert HELP[command].splitlines()[2].startswith("  diffsight " + " ".join(command))


@pytest.mark.parametrize("command", [(), ("predict", "depth")])
def test_help_is_what_the_script_prints(command: tuple[str, ...]) -> None:
    done = diffsight(*command, "--help")
    assert done.returncode == 0
    assert "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip() == HELP[command]


@pytest.mark.parametrize("command", [(), ("fit",), ("evaluate",), ("keys",)])
def test_help_does_not_wait_for_torch(command: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from diffsight.cli import app\n"
        f"sys.argv = ['diffsight', *{command!r}, '--help']\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'fastapi', 'uvicorn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_zero_shot_prints_a_line_an_image(pictures: list[Path]) -> None:
    done = diffsight("predict", "zero-shot", *pictures, "--labels", "zero,one", "--label", "two, or more")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{pictures[0]}: ")
    assert second.startswith(f"{pictures[1]}: ")
    assert all(label in first for label in ("zero ", "one ", "two, or more "))


def test_zero_shot_json_is_an_object_a_line_and_a_bad_file_stops_nothing(pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    options = ["--labels", "zero, one", "--template", "a handwritten {}", "--json"]
    done = diffsight("predict", "zero-shot", pictures[0], bad, tmp_path / "missing.png", pictures[1], *options)
    assert done.returncode == 2
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(file) for file in pictures]
    assert answers[0]["posterior"] == answers[1]["posterior"]
    assert answers[0]["posterior"][0]["label"] == answers[0]["label"]
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert "bad.png" in errors[0]
    assert "missing.png: cannot be read" in errors[1]


def test_features_writes_one_row_an_image(pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "features.npy"
    done = diffsight("predict", "features", *pictures, "--npy", out, "--block", "mid_block", "--json")
    assert done.returncode == 0, done.stderr
    vectors = np.load(out)
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["files"]) == ([str(file) for file in pictures], [str(out)])
    assert [len(answer["vectors"]), answer["dimension"]] == list(vectors.shape)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_models_lists_the_embedded_backbone_and_the_chosen_one(tmp_path: Path) -> None:
    done = diffsight("models", "--backbone", tmp_path, "--json")
    pocket, chosen = json.loads(done.stdout)
    assert (pocket["backbone"], pocket["served"]) == ("pocket", False)
    assert "diffusers folder" in pocket["found"]
    assert (chosen["backbone"], chosen["served"]) == (str(tmp_path), True)
    assert "no diffusers folder" in chosen["found"]
    assert "what the settings serve" in diffsight("models").stdout


def test_mistakes_are_one_line_with_the_next_step(pictures: list[Path], tmp_path: Path) -> None:
    zero_shot = ("predict", "zero-shot", pictures[0])
    assert_one_line_error(diffsight(*zero_shot), "--labels", "predict zero-shot --help")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a,b", "--budget", "soon"), "--budget", "--help")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a", "--dtype", "int8"), "DIFFSIGHT_DTYPE")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a", "--config", "/no.toml"), "/no.toml", "--config")
    out = pictures[0] / "below a file.npy"
    done = diffsight("predict", "features", pictures[0], "--npy", out)
    assert_one_line_error(done, "--npy", str(out), "name another file")
    assert_one_line_error(diffsight("models", DIFFSIGHT_BACKBON="x"), "did you mean DIFFSIGHT_BACKBONE?")


@pytest.mark.parametrize("told_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_address_logs_json_and_stops_when_told(told_to_stop: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [str(SCRIPT), "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=written, text=True, env=ENVIRONMENT
        )
        assert process.stdout is not None
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None
            assert "ready" in process.stdout.readline()
            curl = process.stdout.readline()
            assert f"{address[0]}/v1/classify/zero-shot" in curl
            assert httpx2.get(f"{address[0]}/health/ready").status_code == 200
            answer = httpx2.get(f"{address[0]}/v1/nowhere", headers={"X-Request-ID": "mine"})
            assert answer.status_code == 404
        finally:
            process.send_signal(told_to_stop)
            rest = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0
    assert rest == "diffsight: stopped\n"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (request,) = [line for line in lines if line.get("request_id") == "mine"]
    assert (request["event"], request["status"], request["path"]) == ("request", 404, "/v1/nowhere")
    assert request["level"] == "info"


def test_serve_says_that_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_line_error(diffsight("serve", "--port", str(port)), f"127.0.0.1:{port}", "choose another --port")


def test_serve_without_its_backbone_says_so_and_stops(tmp_path: Path) -> None:
    missing = diffsight("serve", "--port", "0", "--backbone", tmp_path)
    assert missing.returncode == 2
    *logged, last = missing.stderr.splitlines()
    assert [json.loads(line)["event"] for line in logged] == ["start-up failed"]
    assert last.startswith("diffsight: ")
    assert str(tmp_path) in last
    assert "Traceback" not in missing.stderr


def test_the_module_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "diffsight", "--version"], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout == diffsight("--version").stdout


def test_a_label_tree_is_descended(pictures: list[Path], tmp_path: Path) -> None:
    tree = tmp_path / "labels.json"
    tree.write_text(json.dumps({"small": ["zero", "one"], "large": ["eight", "nine"]}))
    options: list[str | Path] = [
        "--tree",
        tree,
        "--template",
        "a handwritten {}",
        "--confidence",
        "0.6",
        "--budget",
        "60",
    ]
    done = diffsight("predict", "label-tree", pictures[0], *options)
    assert done.returncode == 0, done.stderr
    assert f"{pictures[0]}: small" in done.stdout or f"{pictures[0]}: large" in done.stdout
    told = json.loads(diffsight("predict", "label-tree", pictures[0], *options, "--json").stdout)
    assert told["path"][0] in ("small", "large")
    assert told["rows"] <= 60

    tree.write_text('{"small": 3}')
    refused = diffsight("predict", "label-tree", pictures[0], *options)
    assert refused.returncode == 2
    assert "small has '3' below it" in refused.stderr


def test_labels_that_are_close_enough_tie(pictures: list[Path]) -> None:
    # So sure that eight blocks can drop nobody.
    options = ["--labels", "zero,one", "--indifference", "10", "--confidence", "0.9999999", "--json"]
    done = diffsight("predict", "zero-shot", pictures[0], *options)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["stopped"] == "indifferent"
    assert {answer["label"], *answer["tied"]} == {"zero", "one"}
    refused = diffsight("predict", "zero-shot", pictures[0], *options, "--scheme", "schedule")
    assert refused.returncode == 2
    assert "goes with scheme=race" in refused.stderr
