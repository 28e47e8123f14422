"""Images downloaded from URLs of clients: off by default, and then only from public hosts over https.

The client chooses where this server connects, so nothing is trusted: a strict pattern parses the address once, every
redirect is checked like the first address, and the connection goes to the IP address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urljoin

import httpx2
import structlog

from backbones.errors import InvalidInput
from service.settings.groups import UrlSettings

log = structlog.get_logger("diffsight")

MAX_REDIRECTS = 3
_LONGEST = 4096

# The server connects only to matches: a domain name of plain labels, the last of which begins with a letter. It
# excludes IP addresses in every spelling, user names, backslashes, white space, and look-alike characters.
_URL = re.compile(
    r"https://(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][^\s\x00-\x20\x7f#]*)?(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)
# In path and query only characters beyond ASCII are encoded.
_AS_WRITTEN = "".join(map(chr, range(33, 127)))
_REDIRECTS = (301, 302, 303, 307, 308)
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Networks that wrap an IPv4 address of the client's choice, or that lead to a cloud's control plane.
_NEVER = tuple(
    ipaddress.ip_network(text) for text in ("2001::/32", "2002::/16", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16")
)

# Not the threads that decode images: a name server that does not answer would block those.
_LOOK_UPS = ThreadPoolExecutor(8, "look up")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to its IP addresses as texts."""


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """A URL instead of an image."""

    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed address. rest: path and query."""

    host: str
    port: int
    rest: str

    @property
    def authority(self) -> str:
        """Host, and port if it is not the default one."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"


class Refused(Exception):
    """Why a URL was not downloaded. For the log only: such answers would let a client map the internal network."""


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses from the system's resolver."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    addresses = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return [str(address[4][0]) for address in addresses]


def is_public(address: str) -> bool:
    """Whether an IP address is one host on the public internet, and does not wrap another address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(parsed in network for network in _NEVER):
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)))
        return parsed in _UNICAST and parsed.is_global
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def target_of(url: str, settings: UrlSettings) -> Target:
    """The parsed address. Raises Refused for addresses that the pattern, the ports or the lists do not allow."""
    match = _URL.fullmatch(url) if len(url) <= _LONGEST else None
    if match is None:
        raise Refused("not https://, a domain name and a path")
    host, port = match["host"].lower(), int(match["port"] or 443)
    if len(host) > 253:
        raise Refused("the host is too long")
    if port not in settings.ports:
        raise Refused("a port that is not allowed")
    if _is_listed(host, settings.deny_hosts):
        raise Refused("a denied host")
    if settings.allow_hosts and not _is_listed(host, settings.allow_hosts):
        raise Refused("a host that is not allowed")
    rest = match["rest"] or "/"
    return Target(host, port, quote(rest if rest.startswith("/") else f"/{rest}", safe=_AS_WRITTEN))


class UrlFetcher:
    """Fetches images by the rules of the settings, a bounded number at a time.

    resolve, is_allowed, tls: the look-up of names, the check of an IP address, and the trusted certificates.
    """

    def __init__(
        self,
        settings: UrlSettings,
        *,
        resolve: Resolve = resolve,
        is_allowed: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self.resolve = resolve
        self.is_allowed = is_allowed
        self._tls = tls
        self._places = asyncio.Semaphore(settings.max_concurrent)

    async def fetch(self, url: ImageUrl, *, field: str, most_bytes: int) -> bytes:
        """The body behind the address, at most the settings' bytes and `most_bytes`.

        Raises InvalidInput, which shows the client only the rules; the reason is in the log.
        """
        most = min(most_bytes, self.settings.max_bytes)
        try:
            async with self._places, asyncio.timeout(self.settings.timeout_seconds):
                return await self._follow(url.text, most)
        except (Refused, TimeoutError, OSError, httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, ValueError) as error:
            host = match["host"] if (match := _URL.fullmatch(url.text[:_LONGEST])) else ""
            why = str(error) if isinstance(error, Refused) else type(error).__name__
            log.warning("an image was not fetched", host=host, why=why)
        # Outside, as in `run_procedure`, and without the reason, which is not for the client.
        raise InvalidInput(
            field,
            "the image could not be fetched, or its URL is not allowed",
            hint=f"send an https:// URL of a public host, with an image of at most {self.settings.max_bytes:,} bytes "
            f"that comes within {self.settings.timeout_seconds:g} seconds; or send the image's bytes",
        )

    async def _follow(self, url: str, most_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            target = target_of(url, self.settings)
            answer = await self._get(target, await self._choose_address(target), most_bytes)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(f"https://{target.authority}{target.rest}", answer)
        raise Refused(f"more than {MAX_REDIRECTS} redirects")

    async def _choose_address(self, target: Target) -> str:
        """The one IP address to connect to. Raises Refused unless every address of the host is allowed."""
        addresses = await self.resolve(target.host, target.port)
        if not addresses:
            raise Refused("the host has no address")
        if not all(self.is_allowed(address) for address in addresses):
            raise Refused("the host has an address that is not public")
        # IPv4 if there is one: many hosts have no IPv6 connection, and there is no second try.
        return next((address for address in addresses if ":" not in address), addresses[0])

    async def _get(self, target: Target, address: str, most_bytes: int) -> bytes | str:
        """The body, or where the answer redirects to."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        literal = f"[{address}]" if ":" in address else address
        # The URL has the checked address, so that nothing is looked up again; the certificate must be the host's. Each
        # hop has its own client: pooled connections are reused by address, whatever host they were opened for.
        async with (
            httpx2.AsyncClient(
                verify=self._tls, trust_env=False, follow_redirects=False, timeout=self.settings.timeout_seconds
            ) as client,
            client.stream(
                "GET",
                f"https://{literal}:{target.port}{target.rest}",
                headers={
                    "Host": target.authority,
                    "User-Agent": "diffsight",
                    "Accept": "image/*",
                    "Accept-Encoding": "identity",
                },
                extensions={"sni_hostname": target.host},
            ) as response,
        ):
            if response.status_code in _REDIRECTS:
                return str(response.headers.get("location", ""))
            if response.status_code != 200:
                raise Refused(f"answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Refused("answered with a compressed body, which was not requested")
            announced = response.headers.get("content-length", "")
            if announced.isdigit() and int(announced) > most_bytes:
                raise Refused("more bytes than allowed")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > most_bytes:
                    raise Refused("more bytes than allowed")
            return bytes(body)


def _is_listed(host: str, patterns: Sequence[str]) -> bool:
    """Whether a host is one of the patterns; `*.example.org` is every name below example.org, and not itself."""
    return any(host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in patterns)
