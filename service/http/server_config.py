"""How uvicorn serves the app: bounds of heads, of answers and of connections."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from service.http.head_limit import limit_head
from service.http.protocol import make_bounded_protocol
from service.settings.loader import Settings

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open.

It is longer than clients and proxies keep theirs: five seconds in httpx, a minute in nginx and in load balancers of
clouds. The side that closes first must be the one that sends, or a request meets a connection that is being closed.
"""


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The configuration of the server of an app."""
    limits = settings.limits
    protocol = make_bounded_protocol(limits.head_seconds, limits.deadline_seconds)
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        http=limit_head(protocol, limits.max_header_bytes),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
