"""service/http/request_log.py: what a real server writes to standard error, and what it does not write."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
import subprocess
import sys
import threading
from typing import Any

import httpx2
import pytest
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from backbones.errors import DiffsightError, InvalidInput
from service.errors import NothingStored
from service.http.problems import problem_response
from service.http.request_log import ObserveRequests
from service.telemetry.metrics import Metrics
from tests.fuzz.images import seed_images

KEY = "diffsight_0123456789ab_verysecretvalue"
SECRETS = ("hunter2", "verysecretvalue", "sessionvalue")

# A server with a route that fails, one that prints as C libraries do, one whose thread dies, and one that warns.
SERVE = """
import os, sys, threading, warnings
from service import app as app_module
created = app_module.create_app
def create_app(*given, **named):
    app = created(*given, **named)
    @app.get("/fault")
    def fault(): raise RuntimeError("https://me:hunter2@files.example/a.png?sig=hunter2 Authorization: Bearer hunter2")
    @app.get("/native")
    def native(): os.write(2, b"libfoo: bad strip\\n")
    @app.get("/thread")
    def thread():
        dying = threading.Thread(target=lambda: 1 / 0)
        dying.start()
        dying.join()
    @app.get("/warn")
    def warn(): warnings.warn("mind the gap")
    return app
app_module.create_app = create_app
sys.argv = ["diffsight", "serve", "--port", "0", "--device", "cpu"]
from diffsight.cli import main
main()
"""


@pytest.fixture(scope="module")
def log_lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All lines that a server wrote to standard error while it answered all kinds of requests."""
    file = tmp_path_factory.mktemp("log") / "stderr"
    with file.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        output = ""
        for line in process.stdout:
            output += line
            if "ready" in line:
                break
        address = re.search(r"http://127\.0\.0\.1:\d+", output)
        assert address, (output, file.read_text())
        ask_everything(address[0])
    finally:
        process.terminate()
        process.communicate(timeout=60)
        watchdog.cancel()
    return file.read_text().splitlines()


def ask_everything(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "X-API-Key": KEY, "Cookie": "session=sessionvalue"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
        for path in ("/fault", "/native", "/thread", "/warn", "/v1/models?api_key=hunter2", "/nowhere?token=hunter2"):
            client.get(path, headers={"X-Request-ID": f"id-of-{path.strip('/').partition('?')[0].replace('/', '.')}"})
        damaged = seed_images()["fax.tif"]
        damaged = damaged[:120] + bytes(60) + damaged[180:]
        client.post("/v1/features", content=damaged, headers={"Content-Type": "image/tiff"})
        client.post(
            "/v1/features", content=b"--x\r\nbad[]header", headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /?key=hunter2 NOT HTTP\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")


def events(log_lines: list[str], name: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, log_lines) if event["event"] == name]


def test_every_line_is_json_with_level_and_time(log_lines: list[str]) -> None:
    for line in log_lines:
        event = json.loads(line)
        assert {"event", "level", "timestamp"} <= event.keys()


def test_uvicorn_writes_json_too(log_lines: list[str]) -> None:
    (event,) = events(log_lines, "Invalid HTTP request received.")
    assert event["logger"] == "uvicorn.error"


def test_no_secret_is_logged(log_lines: list[str]) -> None:
    text = "\n".join(log_lines)
    assert not [secret for secret in SECRETS if secret in text]


def test_a_fault_has_its_request_and_its_traceback(log_lines: list[str]) -> None:
    (event,) = events(log_lines, "fault")
    assert event["request_id"] == "id-of-fault"
    assert event["level"] == "error"
    assert "Traceback" in event["exception"]
    assert "RuntimeError" in event["exception"]
    assert "files.example" in event["exception"]


def test_every_request_has_one_line(log_lines: list[str]) -> None:
    by_id = {event["request_id"]: event for event in events(log_lines, "request")}
    models = by_id["id-of-v1.models"]
    assert (models["method"], models["path"], models["status"], models["task"]) == ("GET", "/v1/models", 200, "models")
    assert models.keys() >= {"seconds", "rows", "problem", "client"}
    assert by_id["id-of-nowhere"]["task"] == "none"
    assert by_id["id-of-fault"]["status"] == 500
    assert by_id["id-of-fault"]["level"] == "warning"


def test_output_of_native_code_is_an_event(log_lines: list[str]) -> None:
    assert "libfoo: bad strip" in [event["text"] for event in events(log_lines, "native code printed")]


def test_a_thread_that_dies_and_a_warning_are_events(log_lines: list[str]) -> None:
    (died,) = events(log_lines, "a thread died")
    assert "ZeroDivisionError" in died["exception"]
    assert any("mind the gap" in line for line in log_lines)


def test_texts_of_callers_make_no_series(log_lines: list[str]) -> None:
    assert {event["task"] for event in events(log_lines, "request")} <= {
        *("fault", "native", "thread", "warn", "models", "features", "none")
    }


# In process: what an app raises.


def observe(app: Any, path: str = "/v1/depth") -> tuple[int, list[dict[str, Any]]]:
    """The status with which a request is answered whose app is this, and the events of the log."""
    statuses = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    with structlog.testing.capture_logs() as events:
        asyncio.run(ObserveRequests(app, metrics=Metrics())(scope, receive, send))
    return statuses[0], [dict(event) for event in events]


def make_failing_app(error: Exception) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClientDisconnect(), 499),
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EROFS, "Read-only file system"), 507),
        (PermissionError(errno.EACCES, "Permission denied"), 507),
        (OSError(errno.EBADF, "Bad file descriptor"), 500),
        (MemoryError(), 503),
        (RuntimeError("a fault"), 500),
    ],
)
def test_a_full_disk_and_a_client_that_left_are_no_faults(error: Exception, status: int) -> None:
    answered, events = observe(make_failing_app(error))
    assert answered == status
    assert ("fault" in [event["event"] for event in events]) == (status == 500)


def test_an_answer_that_cannot_be_finished_is_no_fault() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            raise NothingStored("the job was deleted")
        except DiffsightError as error:
            raise RuntimeError("Caught handled exception, but response already started.") from error

    answered, events = observe(app)
    assert answered == 200
    assert [event["event"] for event in events] == ["answer not finished", "request"]
    assert "deleted" in events[0]["reason"]


def test_an_error_that_label_studio_does_not_show_is_in_the_log() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        error = InvalidInput("label_config", "nothing in it can be filled")
        await problem_response(error, scope)(scope, receive, send)

    (line,) = observe(app, "/label-studio/setup")[1]
    assert (line["detail"], line["field"]) == ("nothing in it can be filled", "label_config")
    (line,) = observe(app)[1]
    assert "detail" not in line
