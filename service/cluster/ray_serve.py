"""The service on a cluster by Ray Serve: each replica is the whole app with one device worker.

A request goes to one replica, whose engine batches its rows with those of other requests. Objects of clients are in the
data folder and the database of jobs, which all replicas share; see docs/scale.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from backbones.errors import DiffsightError
from service.app import create_app
from service.cluster.model_router import router_config
from service.cluster.ray_metrics import RayMetrics
from service.cluster.ray_package import worker_settings
from service.cluster.rows_policy import ROWS_A_REPLICA, RowsPolicy
from service.interpreter import keep_for_good, switch_often
from service.models.store import ModelStore
from service.settings.loader import Settings, load_settings
from service.telemetry.logging import configure_logging

NAME = "diffsight"
# The engine answers 429 by its bound on waiting rows; Ray's own bound counts requests and is switched off.
_ONGOING = 10_000
_GRACE_SECONDS = 10.0


class ServeOptions(BaseModel):
    """Arguments of the application in a config file of Ray Serve. Its environment holds the settings."""

    model_config = ConfigDict(extra="forbid")

    replicas: int | None = Field(default=None, ge=1, description="How many; unset: as many as rows want.")
    most_replicas: int = Field(default=1, ge=1, description="At most, where `replicas` is unset.")
    gpus: float = Field(default=0, ge=0, description="GPUs of each replica: 1, or 0 for the CPU.")
    rows_a_replica: int = Field(default=ROWS_A_REPLICA, ge=1, description="Rows waiting or running, of each replica.")


def application(arguments: Mapping[str, Any]) -> serve.Application:
    """The application of a config file: `import_path: service.cluster.ray_serve:application`, `args: ServeOptions`."""
    return build(load_settings(), ServeOptions.model_validate(arguments))


def build(settings: Settings, options: ServeOptions) -> serve.Application:
    """The application for Ray Serve, with these settings in every replica."""
    scaling: dict[str, Any] = {"num_replicas": options.replicas}
    if options.replicas is None:
        policy = {
            "policy_function": f"{RowsPolicy.__module__}:{RowsPolicy.__name__}",
            "policy_kwargs": {"rows_a_replica": options.rows_a_replica},
        }
        scaling = {"autoscaling_config": {"min_replicas": 1, "max_replicas": options.most_replicas, "policy": policy}}
    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_gpus": options.gpus, "num_cpus": 0 if options.gpus else 1},
        max_ongoing_requests=_ONGOING,
        request_router_config=router_config(),
        graceful_shutdown_timeout_s=settings.shutdown_seconds + _GRACE_SECONDS,
        **scaling,
    )
    return deployment(serve.ingress(app_factory(worker_settings(settings)))(Replica)).bind()


def app_factory(values: Mapping[str, Any]) -> Callable[[], FastAPI]:
    """A function that makes the app in a replica. values: of `Settings`."""

    def make() -> FastAPI:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        settings = Settings(**values)
        configure_logging(settings.log_level)
        switch_often()
        return warm_app(settings)

    return make


def warm_app(settings: Settings) -> FastAPI:
    """The app, whose start-up ends when the models are warm: Ray sends no requests before that. A failure is raised."""
    warm: asyncio.Future[None] | None = None

    def finish_warm_up(failure: BaseException | None) -> None:
        assert warm is not None
        if failure is None:
            keep_for_good()
            warm.set_result(None)
        else:
            warm.set_exception(failure)

    app = create_app(settings, on_started=finish_warm_up)
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def until_warm(inner: FastAPI) -> AsyncIterator[Any]:
        nonlocal warm
        warm = asyncio.get_running_loop().create_future()
        async with lifespan(inner) as state:
            await warm
            exporting = asyncio.create_task(RayMetrics(app.state.server.metrics.registry).repeat())
            try:
                yield state
            finally:
                exporting.cancel()

    app.router.lifespan_context = until_warm
    return app


class Replica:
    """The methods of a replica that Ray calls besides its app."""

    app: FastAPI

    def check_health(self) -> None:
        """Raises if only a new process helps: then Ray replaces this one."""
        self.app.state.server.models.check_live()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Rows that wait or run, for `RowsPolicy`; also among Ray's metrics."""
        return {"rows": self._rows()}

    def record_routing_stats(self) -> dict[str, Any]:
        """What `ModelRouter` wants: ids of the models in memory, paths of the tasks that they serve, and whether its
        rows already fill it."""
        with suppress(DiffsightError):
            models: ModelStore = self.app.state.server.models
            ids = [name for name, slot in models.slots.items() if slot.state == "READY"]
            paths = [loaded.task.route for loaded in models.list_open()]
            return {"models": sorted({*ids, *paths}), "full": self._rows() >= ROWS_A_REPLICA}
        return {}

    def _rows(self) -> float:
        with suppress(DiffsightError):
            figures = self.app.state.server.models.worker.figures()
            return float(figures.waiting_rows + figures.running_rows)
        return 0.0
