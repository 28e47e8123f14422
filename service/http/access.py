"""Refuses requests before they reach a route: without a key, over a rate limit, or with a too large body."""

from __future__ import annotations

import ipaddress
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from backbones.errors import InvalidInput
from service.errors import ForeignCaller, KeyNeeded, RateExceeded, TooManyAtOnce
from service.http.body_limit import LimitBody
from service.http.keys import Key, KeyStore
from service.http.problems import problem_response
from service.http.rate_limit import Limiter
from service.settings.groups import AccessSettings
from service.settings.loader import Settings
from service.threads import LIBRARY, run_in

# Health routes for supervisors, and the documentation, which contains only public information.
OPEN_PATHS = frozenset(
    {
        *("/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"),
        *("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"),
    }
)
# Scripts and styles of the documentation's pages.
DOCS_FILES = "/docs-files"
# The playground, which sends the key that its user types with each call.
PAGE = "/playground"
METRICS_PATH = "/metrics"
_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "X-Request-ID", "traceparent")
_OWN_SITES = ("same-origin", "none")
# Only a name or address and a port: parsers of URLs disagree about anything else.
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_EXPOSED = ("X-Request-ID", "Server-Timing", "Retry-After")


def guard(app: FastAPI, settings: Settings) -> None:
    """Add the middleware that refuses requests that the settings do not allow. The middleware added last runs first."""
    access = settings.access
    jobs = dict.fromkeys(("/v1/jobs", "/v1/jobs/upload", "/v1/jobs/zip"), settings.jobs.max_upload_bytes)
    limits = settings.limits
    app.add_middleware(
        LimitBody,
        max_bytes=limits.max_upload_bytes,
        by_path=jobs,
        seconds=limits.deadline_seconds,
        bytes_per_second=limits.min_bytes_per_second,
    )
    app.add_middleware(ControlAccess, settings=access, store=KeyStore(access.keys_path()))
    if access.cors_origins:
        # Runs before the check of keys: browsers send preflights without a key, and a page may read its refusal.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_HEADERS,
            expose_headers=_EXPOSED,
        )


def check_exposure(settings: Settings, host: str | None = None) -> None:
    """Raises InvalidInput if the server would answer other machines without keys or an explicit setting.

    host: the address to listen on; by default the settings'.
    """
    host = settings.host if host is None else host
    if settings.access.allow_anonymous or is_loopback(host):
        return
    store = KeyStore(settings.access.keys_path())
    if not store.in_use:
        raise InvalidInput(
            "host",
            f"{host} allows requests from other machines, and there is no API key",
            hint="create one with `diffsight keys create NAME`, or set DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS=true to "
            "answer requests without a key",
        )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only. Names other than `localhost` count as
    reachable.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class ControlAccess:
    """ASGI middleware: 401 without a valid key where one is needed, 429 past the caller's rate or concurrency.

    A key is needed as soon as there is one, and for requests from other machines, unless the settings allow
    anonymous requests. The key's name is noted in the request's state under `key`.
    While neither holds, 403 for what a page of another site makes a browser of this machine send.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: AccessSettings,
        store: KeyStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.settings = settings
        self.store = store
        self.limiter = Limiter(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        if not self.store.is_current():
            await run_in(LIBRARY, self.store.refresh)  # the file may be long, and its disk slow
        try:
            if is_page(scope["path"]):
                # With keys, calls of the page need one. Without keys, only clients on this machine may open it.
                if not self.store.in_use:
                    self._key(scope)
                await self.app(scope, receive, send)
                return
            key = self._key(scope)
            with self._admitted(key, scope):
                await self.app(scope, receive, send)
        except (ForeignCaller, KeyNeeded, RateExceeded, TooManyAtOnce) as error:
            await problem_response(error, scope)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        if path in OPEN_PATHS or path.startswith(f"{DOCS_FILES}/"):
            return True
        return path == METRICS_PATH and self.settings.metrics_open

    def _key(self, scope: Scope) -> Key | None:
        """The client's key; None if no key is needed. Raises KeyNeeded, which never says why a key is not valid."""
        in_use = self.store.in_use
        presented = read_presented_key(Headers(scope=scope))
        if in_use and presented is not None:
            key = self.store.find(presented, datetime.now(UTC))
            if key is not None:
                scope.setdefault("state", {})["key"] = key.name
                return key
            raise _key_needed()
        if not self.settings.allow_anonymous and (in_use or _is_remote(scope)):
            raise _key_needed()
        if not self.settings.allow_anonymous:
            check_local(scope, self.settings.cors_origins)
        return None

    @contextmanager
    def _admitted(self, key: Key | None, scope: Scope) -> Iterator[None]:
        own = self.settings
        if key is not None:
            rate = key.rate_per_minute or own.rate_per_minute
            with self.limiter.admitted(f"key {key.id}", rate, key.concurrency or own.concurrency):
                yield
        else:
            caller = client_network((scope.get("client") or ("",))[0])
            with self.limiter.admitted(caller, own.client_rate_per_minute, own.client_concurrency):
                yield


def is_page(path: str) -> bool:
    """Whether a path belongs to the playground."""
    return path == PAGE or path.startswith(f"{PAGE}/")


def check_local(scope: Scope, origins: Sequence[str]) -> None:
    """Raises ForeignCaller for a request that looks like a browser's for a page of another site.

    A foreign name may resolve to this machine (DNS rebinding), so `Host` must be a name of loopback, or one without a
    dot, such as this machine's own: such a name cannot be registered on the internet.
    An `Origin` must be the server's own, or one of `origins`, in which `*` is all.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    name = _host_name(host)
    if _has_address(scope) and not (is_loopback(name) or name == "localhost." or _PLAIN_NAME.fullmatch(name)):
        raise _foreign(f"the request is for the host {host[:200]!r}")
    origin = headers.get("origin")
    if origin is not None and scope["method"] != "OPTIONS":  # such a request changes nothing, and gets a 405
        if origin not in origins and "*" not in origins and origin not in (f"http://{host}", f"https://{host}"):
            raise _foreign(f"the request is sent by a page of {origin[:200]!r}")
    elif scope["method"] not in ("GET", "HEAD", "OPTIONS") and headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise _foreign("the request is sent by a page of another site")


def read_presented_key(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer KEY`, else in `X-API-Key: KEY`, else None.

    Label Studio has only a user and a password for a backend: the password of `Authorization: Basic` is the key.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        with suppress(ValueError):  # not base64, or not UTF-8
            return b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    return headers.get("x-api-key")


def client_network(address: str) -> str:
    """The key for limits of an address: the address itself, or its /64 network in IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return address


def _is_remote(scope: Scope) -> bool:
    """Whether the request arrived on an address other than loopback, whatever the settings say."""
    return _has_address(scope) and not is_loopback(scope["server"][0])


def _has_address(scope: Scope) -> bool:
    """Whether the request arrived on an IP address, and not in process or through a socket file."""
    try:
        ipaddress.ip_address((scope.get("server") or ("",))[0] or "")
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """The name in a Host header in lower case, without its port; empty if the header is none."""
    parts = _HOST.fullmatch(host)
    return parts[1].lower() if parts else ""


def _foreign(what: str) -> ForeignCaller:
    return ForeignCaller(
        f"{what}, but a server without API keys answers only programs on its own machine",
        hint="send requests to http://127.0.0.1, or ask the server's operator for a key (`diffsight keys create "
        "NAME`), or to list the "
        "page in DIFFSIGHT_ACCESS__CORS_ORIGINS",
    )


def _key_needed() -> KeyNeeded:
    return KeyNeeded(
        "this route needs a valid API key",
        hint="send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`; the server's operator creates keys with "
        "`diffsight keys create NAME`",
    )
