"""A real Label Studio and a real diffsight server with the embedded weights, for as long as a check lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
EMAIL, PASSWORD = "annotator@example.org", "check-it-with-care"
_START_SECONDS = 1800

# As docs/annotation-tools.md says: both variables, and local files for the export of a job.
_STUDIO = {
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


@contextmanager
def label_studio(folder: Path, logs: Path, files: Path) -> Iterator[str]:
    """Label Studio with a new database in `folder` and local files below `files`; its address."""
    port = free_port()
    program = Path(sys.executable).with_name("label-studio")
    command = [str(program), "start", "--no-browser", "--port", str(port), "--data-dir", str(folder)]
    command += ["--username", EMAIL, "--password", PASSWORD]
    variables = _STUDIO | {"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files)}
    log = logs / "label-studio.log"
    with _process(command, variables, log):
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health", log)
        yield url


@contextmanager
def diffsight(folder: Path, logs: Path, port: int, studio: str, token: str) -> Iterator[str]:
    """The server with a token for Label Studio; its address. Its data are in `folder`."""
    settings = {"LABEL_STUDIO__URL": studio, "LABEL_STUDIO__API_KEY": token, "DATA_FOLDER": str(folder / "data")}
    variables = {f"DIFFSIGHT_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}
    command = [str(ROOT / ".venv/bin/python"), "-m", "diffsight", "serve", "--port", str(port)]
    log = logs / "diffsight.log"
    with _process(command, variables, log):
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health/ready", log)
        yield url


@contextmanager
def _process(command: list[str], variables: Mapping[str, str], log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(command, env={**os.environ, **variables}, cwd=ROOT, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port on which no server listens now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise SystemExit(f"{url} did not answer within {_START_SECONDS} seconds; see {log}")
