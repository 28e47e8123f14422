"""The tasks under LitServe: an API and a worker process for each, batches of up to 16, no waiting. usage: PORT THREADS

Every process has its own copy of the model, and computes at the same time as the others.
"""

# LitServe reads annotations as they are, and takes one that is a text for a parameter of the query: no
# `from __future__ import annotations` here.
import base64
import sys
from collections.abc import Sequence
from typing import Any

import litserve
from fastapi import Response

from benchmarks.mixed.load import PATHS, SAMPLES
from benchmarks.mixed.work import Work

IMAGES = 16


class TaskAPI(litserve.LitAPI):  # type: ignore[misc]
    """One task."""

    def __init__(self, task: str, threads: int, **options: Any) -> None:
        super().__init__(**options)
        self._task = task
        self._threads = threads

    def setup(self, device: str) -> None:
        """In the worker's process."""
        self.work = Work(self._threads)

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The prepared image."""
        samples = request["schedule"]["n_samples"][0] if "schedule" in request else SAMPLES
        return self.work.prepare(self._task, base64.b64decode(request["image"]), samples)

    def batch(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs unchanged: images of one batch may differ in more than their pixels."""
        return list(inputs)

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """Each input with its result."""
        return list(zip(batch, self.work.run(self._task, batch), strict=True))

    def unbatch(self, output: Any) -> Any:
        """The output unchanged."""
        return output

    def encode_response(self, output: tuple[Any, Any]) -> Response:
        """The JSON answer."""
        return Response(self.work.answer(self._task, *output), media_type="application/json")


if __name__ == "__main__":
    apis = [
        TaskAPI(task, int(sys.argv[2]), max_batch_size=IMAGES, batch_timeout=0.0, api_path=path)
        for task, path in PATHS.items()
    ]
    server = litserve.LitServer(
        apis, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True, timeout=False
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
