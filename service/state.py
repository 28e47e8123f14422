"""The state of one server. The app passes it to its parts; it is not a global."""

from __future__ import annotations

from dataclasses import dataclass

from service.inputs.decoding import Decoder, open_decoder
from service.inputs.urls import UrlFetcher
from service.library.library import Library
from service.models.store import ModelStore
from service.settings.loader import Settings
from service.tasks import AnyTask
from service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, eq=False)
class AppState:
    """One server: its settings, tasks, models, objects of clients, fetcher and decoder."""

    settings: Settings
    tasks: tuple[AnyTask, ...]
    models: ModelStore
    library: Library
    fetcher: UrlFetcher
    decoder: Decoder
    metrics: Metrics


def open_state(settings: Settings, tasks: tuple[AnyTask, ...], fetcher: UrlFetcher | None = None) -> AppState:
    """The state of a server that has not started yet: nothing is loaded."""
    metrics = Metrics()
    return AppState(
        settings,
        tasks,
        ModelStore(settings, tasks, metrics),
        Library(settings),
        fetcher or UrlFetcher(settings.urls),
        open_decoder(settings.limits),
        metrics,
    )
