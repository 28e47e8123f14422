"""The tasks under Ray Serve: one replica with the model, `@serve.batch` of up to 16 for each. usage: PORT THREADS"""

from __future__ import annotations

import sys
import time
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.mixed.load import PATHS, samples_of
from benchmarks.mixed.work import Work

IMAGES, WAIT_SECONDS = 16, 0.0


@serve.deployment(max_ongoing_requests=128, ray_actor_options={"num_cpus": 0})
class Perception:
    """All four tasks: a queue for each, one batch at a time."""

    def __init__(self, threads: int) -> None:
        self.work = Work(threads)
        self.tasks = {path: task for task, path in PATHS.items()}

    async def __call__(self, request: Request) -> Response:
        task = self.tasks.get(request.url.path)
        if task is None:
            return JSONResponse({})
        prepared = self.work.prepare(task, await request.body(), samples_of(request.query_params))
        result = await getattr(self, task)(prepared)
        return Response(self.work.answer(task, prepared, result), media_type="application/json")

    @serve.batch(max_batch_size=IMAGES, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def depth(self, batch: list[Any]) -> list[Any]:
        """Depth maps."""
        return self.work.run("depth", batch)

    @serve.batch(max_batch_size=IMAGES, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def pose(self, batch: list[Any]) -> list[Any]:
        """Keypoints."""
        return self.work.run("pose", batch)

    @serve.batch(max_batch_size=IMAGES, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def features(self, batch: list[Any]) -> list[Any]:
        """Vectors."""
        return self.work.run("features", batch)

    @serve.batch(max_batch_size=IMAGES, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def zero_shot(self, batch: list[Any]) -> list[Any]:
        """Posteriors."""
        return self.work.run("zero_shot", batch)


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Perception.bind(int(sys.argv[2])), name="perception", route_prefix="/")  # type: ignore[attr-defined]
    while True:
        time.sleep(60)
