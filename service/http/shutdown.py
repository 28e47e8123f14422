"""A server that ends after the signal to stop, even if its threads hang."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn

log = structlog.get_logger("diffsight")

# Beyond the requests' own seconds: for the running batch, the database, and the exit of the interpreter.
GRACE_SECONDS = 10.0


class BoundedServer(uvicorn.Server):
    """uvicorn's server; its process is killed some seconds after the first signal if it has not ended by then.

    Python waits for its threads at exit, and a thread that reads from a hanging network folder cannot be stopped.
    on_exit: called at the first signal, to end streams that would otherwise last until the client disconnects.
    """

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order, and by force if that takes too long."""
        self._bound_exit()
        super().handle_exit(sig, frame)

    def exit_soon(self) -> None:
        """Stop in order without a signal, from any thread, and by force if that takes too long."""
        self._bound_exit()
        self.should_exit = True

    def _bound_exit(self) -> None:
        if self.should_exit:
            return
        seconds = (self.config.timeout_graceful_shutdown or 0) + GRACE_SECONDS
        end = threading.Timer(seconds, _end_process)
        end.daemon = True
        end.start()
        if self.on_exit is not None:
            self.on_exit()


def _end_process() -> None:
    running = [thread.name for thread in threading.enumerate() if not thread.daemon]
    log.error("stopped by force: threads did not end", threads=running)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
