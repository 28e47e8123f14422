"""The real server: the app under uvicorn on a free port, with the embedded backbone and the batching engine."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
import structlog
from PIL import Image

from service.telemetry.logging import UnfailingStream

if TYPE_CHECKING:
    from service.inputs.urls import UrlFetcher
    from service.state import AppState
    from service.tasks import AnyTask

# As `diffsight` does, before torch is loaded: spinning threads slow a busy machine down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Neither these tests nor the commands that they start use the API keys of the user who runs them.
os.environ["XDG_CONFIG_HOME"] = os.path.join(tempfile.gettempdir(), "diffsight-tests-without-configuration")

# Servers log from threads of this process: to a stream that stays, not to the `sys.stdout` of the moment. pytest's
# capsys exchanges and frees that one, and Python crashes if another thread prints to it meanwhile.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(UnfailingStream(sys.__stderr__ or sys.stderr)))  # type: ignore[arg-type]
_LOGGING = structlog.get_config()

# The servers of one run have a data folder of their own.
_DATA = tempfile.TemporaryDirectory(prefix="diffsight-tests-data-", ignore_cleanup_errors=True)
os.environ["XDG_DATA_HOME"] = _DATA.name


def pytest_unconfigure() -> None:
    """Remove the folder here: a worker of pytest-xdist ends without Python's own cleaning up."""
    _DATA.cleanup()


START_SECONDS = 120.0
WITHOUT_HEADS = Path(__file__).parent / "conformance/fixtures/diffusion_classifier/weights/sd1"
"""A small Stable Diffusion that, unlike `pocket`, nothing was fitted to."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, a client for it, and its state."""

    url: str
    client: httpx2.Client
    state: AppState


StartServer = Callable[..., Server]


@contextmanager
def running_server(
    *, fetcher: UrlFetcher | None = None, tasks: tuple[AnyTask, ...] | None = None, **changes: Any
) -> Iterator[Server]:
    """A warm server with these changes of the settings, stopped at the end. fetcher, tasks: as for `create_app`."""
    import uvicorn

    from service.app import create_app
    from service.engine.kept_costs import FILE
    from service.http.server_config import KEEP_ALIVE_SECONDS
    from service.settings.loader import load_settings
    from service.tasks import TASKS

    ready = threading.Event()
    # One thread: on shared cores torch's threads wait for each other longer than they compute.
    engine = {"torch_threads": 1, **changes.pop("engine", {})}
    settings = load_settings(**{"device": "cpu", "engine": engine, **changes})
    # What other tests' servers have measured would decide the sizes of batches, and so the last digits of answers.
    (settings.data_path() / FILE).unlink(missing_ok=True)
    served = TASKS if tasks is None else tasks
    app = create_app(settings, tasks=served, on_started=lambda _: ready.set(), fetcher=fetcher)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listening]),))
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        assert ready.wait(START_SECONDS), "the server did not get ready"
        with httpx2.Client(base_url=url, timeout=60) as client:
            yield Server(url, client, app.state.server)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith("DIFFSIGHT_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> None:
    """Commands and workers that run in this process set a level of their own, for all that comes after them."""
    structlog.configure(**_LOGGING)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server with default settings for the whole run."""
    with running_server() as running:
        assert running.state.models.failure is None
        yield running


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Starts servers with settings of their own: `start_server(engine={"max_waiting_rows": 10})`."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running_server(**changes))


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A picture with a bright slanted stroke and some noise, 40 wide and 30 high."""
    pixels = np.random.default_rng(7).integers(0, 60, (30, 40, 3), dtype=np.uint8)
    for y in range(5, 25):
        pixels[y, 10 + y // 2 : 14 + y // 2] = 250
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
