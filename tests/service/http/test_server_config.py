"""Bounds of the server that `diffsight serve` starts."""

from __future__ import annotations

import httpx2

from service.app import create_app
from service.http.server_config import server_config
from service.settings.loader import load_settings

PROXIES_SECONDS = 60
"""For how long nginx and load balancers of clouds keep an idle connection to a server."""


def test_clients_and_proxies_close_idle_connections_before_the_server() -> None:
    settings = load_settings(device="cpu", shutdown_seconds=3)
    config = server_config(create_app(settings), settings)
    kept = httpx2.Client()._transport._pool._keepalive_expiry  # type: ignore[attr-defined]
    assert config.timeout_keep_alive > max(PROXIES_SECONDS, kept)
    assert config.timeout_graceful_shutdown == 3
