"""A process ends some seconds after the signal, even if a thread of it hangs."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import os, signal, threading, time
import uvicorn
from service.http import shutdown

shutdown.GRACE_SECONDS = 0.3

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        threading.Thread(target=time.sleep, args=(600,), name="hung").start()
        os.kill(os.getpid(), signal.SIGTERM)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

signal.signal(signal.SIGTERM, lambda *_: None)
shutdown.BoundedServer(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=0)).run()
print("stopped in order", flush=True)
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "stopped in order" in done.stdout
    assert "hung" in done.stdout + done.stderr
