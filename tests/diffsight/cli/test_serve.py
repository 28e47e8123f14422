"""`diffsight serve` as it is installed: its address, its log, and how it starts and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import httpx2
import pytest

from diffsight.cli.serve import receive_beside_data
from service.settings.loader import load_settings
from tests.diffsight.command import ENVIRONMENT, SCRIPT, SECONDS, assert_one_line_error, diffsight, script


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_serving_other_machines_without_a_key_is_refused(keys_file: dict[str, str], host: str) -> None:
    done = diffsight("serve", "--host", host, "--port", "0", **keys_file)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "diffsight keys create NAME" in line
    assert "DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS=true" in line


@pytest.mark.parametrize("way_out", ["a key", "the setting"])
def test_a_key_or_the_setting_lets_the_server_start(keys_file: dict[str, str], way_out: str) -> None:
    headers = {}
    environment = {**os.environ, **keys_file, "DIFFSIGHT_ENGINE__TORCH_THREADS": "1"}
    if way_out == "a key":
        headers = {"Authorization": f"Bearer {diffsight('keys', 'create', 'alice', **keys_file).stdout.strip()}"}
    else:
        environment["DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS"] = "true"
    command = [str(SCRIPT), "serve", "--host", "0.0.0.0", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[1].replace("0.0.0.0", "127.0.0.1")
            assert "ready" in process.stdout.readline()
            assert httpx2.get(f"{address}/v1/models", headers=headers).status_code == 200
            without = httpx2.get(f"{address}/v1/models").status_code
            assert without == (401 if way_out == "a key" else 200)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)


@pytest.mark.parametrize("told_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_address_logs_json_and_stops_on_a_signal(told_to_stop: signal.Signals, tmp_path: Path) -> None:
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
    missing = script("serve", "--port", "0", "--backbone", tmp_path)
    assert missing.returncode == 2
    *logged, last = missing.stderr.splitlines()
    assert [json.loads(line)["event"] for line in logged][-1] == "start-up failed"
    assert last.startswith("diffsight: ")
    assert str(tmp_path) in last
    assert "Traceback" not in missing.stderr


def test_uploads_are_received_on_the_disk_of_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "unchanged")
    (tmp_path / "file").write_text("no folder")
    receive_beside_data(load_settings(data_folder=tmp_path / "file"))
    assert tempfile.tempdir == "unchanged"
    receive_beside_data(load_settings(data_folder=tmp_path / "data"))
    assert tempfile.gettempdir() == str(tmp_path / "data" / "incoming")
    with tempfile.SpooledTemporaryFile(max_size=1) as file:
        file.write(b"past its size in memory")
        # A process that is killed leaves no name behind.
        assert list((tmp_path / "data" / "incoming").iterdir()) == []
