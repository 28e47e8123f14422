"""Which replica a request goes to: one that holds the model that it needs, else any. Ray's proxies import this.

Each replica reports to Ray which models it holds (`Replica.record_routing_stats`), and a proxy notes on each request
which one it needs (`ray_proxy.NoteModel`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica

REPORT_SECONDS = 1.0
"""How often a replica reports."""
_COMPARED = 2


class ModelRouter(FIFOMixin, RequestRouter):  # type: ignore[misc]
    """The shorter queue of two replicas, drawn at random from those that hold the model and have room."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ray asks the replicas of the inner list for the length of their queues."""
        model = "" if pending_request is None else pending_request.metadata.multiplexed_model_id
        places = choose_places([replica.routing_stats or {} for replica in candidate_replicas], model)
        replicas = [candidate_replicas[place] for place in places]
        return [random.sample(replicas, min(_COMPARED, len(replicas)))]


def choose_places(reports: Sequence[Mapping[str, Any]], model: str) -> list[int]:
    """Places of the replicas that hold the model and have room; else of those that have room; else all.

    reports: of each replica, {"models": ids and paths, "full": whether its rows fill it}; {} before the first report.
    So a model that more requests need than its replicas answer is loaded by another one.
    """
    roomy = [place for place, report in enumerate(reports) if not report.get("full", False)]
    holding = [place for place in roomy if model in reports[place].get("models", ())]
    return holding or roomy or list(range(len(reports)))


def router_config() -> RequestRouterConfig:
    """What a deployment that is served by this router has."""
    return RequestRouterConfig(
        request_router_class=f"{__name__}:{ModelRouter.__name__}", request_routing_stats_period_s=REPORT_SECONDS
    )
