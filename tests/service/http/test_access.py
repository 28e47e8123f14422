"""service/http/access.py: keys, limits, CORS and the loopback rule, on apps that are called as a server calls them."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from backbones.errors import InvalidInput
from service.app import create_app
from service.errors import ForeignCaller
from service.http.access import ControlAccess, check_exposure, check_local, client_network, is_loopback
from service.http.keys import KeyStore, create_key, revoke_key
from service.settings.groups import AccessSettings
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from tests.conftest import StartServer

NOW = datetime.now(UTC)
ROUTE = "/v1/models"  # an app that was not started answers a request that passes with 503


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of this test's keys."""
    return tmp_path / "keys.json"


def ask(
    access: dict[str, Any],
    *requests: tuple[str, str, dict[str, str]],
    server: str = "127.0.0.1",
    client: str = "127.0.0.1",
) -> list[httpx2.Response]:
    """The answers to (method, path, headers), of an app with these settings that was never started."""
    app = create_app(load_settings(access=access))

    async def answers() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app, client=(client, 5))
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{server}") as http:
            return [await http.request(method, where, headers=headers) for method, where, headers in requests]

    return asyncio.run(answers())


def status(access: dict[str, Any], headers: dict[str, str], where: str = ROUTE, **options: str) -> int:
    (answer,) = ask(access, ("GET", where, headers), **options)
    return answer.status_code


def test_without_any_key_this_machine_is_answered(path: Path) -> None:
    assert status({"keys_file": path}, {}) == 503
    assert status({"keys_file": path}, {"Authorization": "Bearer anything"}) == 503


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "authorization: bearer {}", "X-API-Key: {}"])
def test_a_valid_key_is_let_in_by_either_header(path: Path, form: str) -> None:
    _, text = create_key(path, "alice", now=NOW)
    name, _, value = form.format(text).partition(": ")
    assert status({"keys_file": path}, {name: value}) == 503


def test_a_key_may_be_the_password_of_basic_authentication(path: Path) -> None:
    _, text = create_key(path, "label studio", now=NOW)
    for credentials, expected in ((f"anybody:{text}", 503), (f"{text}:", 401), ("anybody:wrong", 401)):
        header = f"Basic {b64encode(credentials.encode()).decode()}"
        assert status({"keys_file": path}, {"Authorization": header}) == expected
    for broken in ("Basic", "Basic !!!", f"Basic {b64encode(bytes([255])).decode()}"):
        assert status({"keys_file": path}, {"Authorization": broken}) == 401


def test_all_keys_that_are_not_valid_get_one_and_the_same_answer(path: Path, check_problem: Any) -> None:
    create_key(path, "valid", now=NOW)
    _, revoked = create_key(path, "revoked", now=NOW)
    revoke_key(path, "revoked", now=NOW)
    _, expired = create_key(path, "expired", now=NOW - timedelta(days=2), expires=NOW - timedelta(days=1))
    headers = [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "diffsight_wrong"},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": "Basic YTpi"},
    ]
    answers = ask({"keys_file": path}, *(("GET", ROUTE, header) for header in headers))
    details = {check_problem(answer, 401, "key-needed")["detail"] for answer in answers}
    assert len(details) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="diffsight"'}


def test_a_key_is_refused_before_the_route_is_looked_up(path: Path, check_problem: Any) -> None:
    create_key(path, "alice", now=NOW)
    (answer,) = ask({"keys_file": path}, ("GET", "/v1/nothing", {}))
    check_problem(answer, 401, "key-needed")


def test_health_and_documentation_stay_open_and_metrics_by_setting(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    for where in ("/health/live", "/docs", "/openapi.json"):
        assert status({"keys_file": path}, {}, where) == 200
    assert status({"keys_file": path}, {}, "/metrics") == 401
    assert status({"keys_file": path, "metrics_open": True}, {}, "/metrics") == 200
    for where in ("/health/live/", "/health/../v1/models", "/docs/x"):
        assert status({"keys_file": path}, {}, where) != 200


def test_anonymous_requests_are_answered_where_they_are_allowed_and_wrong_keys_never(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    access = {"keys_file": path, "allow_anonymous": True}
    assert status(access, {}) == 503
    assert status(access, {"X-API-Key": "wrong"}) == 401


@pytest.mark.parametrize("server", ["192.168.1.5", "[2001:db8::1]"])
def test_without_keys_no_request_is_answered_on_an_address_beyond_loopback(path: Path, server: str) -> None:
    assert status({"keys_file": path}, {}, server=server) == 401
    assert status({"keys_file": path, "allow_anonymous": True}, {}, server=server) == 503
    assert status({"keys_file": path}, {}, "/health/live", server=server) == 200


def test_keys_made_and_revoked_while_the_server_runs_count_at_once(
    start_server: StartServer, path: Path, png: bytes, check_problem: Any
) -> None:
    server = start_server(access={"keys_file": path})
    picture = {"Content-Type": "image/png"}
    assert server.client.post("/v1/features", content=png, headers=picture).status_code == 200
    _, text = create_key(path, "alice", now=NOW)
    check_problem(server.client.post("/v1/features", content=png, headers=picture), 401, "key-needed")
    keyed = {**picture, "Authorization": f"Bearer {text}"}
    assert server.client.post("/v1/features", content=png, headers=keyed).status_code == 200
    revoke_key(path, "alice", now=NOW)
    check_problem(server.client.post("/v1/features", content=png, headers=keyed), 401, "key-needed")
    assert server.client.get("/health/ready").status_code == 200


def test_a_keys_own_rate_goes_before_the_servers(path: Path, check_problem: Any) -> None:
    _, slow = create_key(path, "slow", now=NOW, rate_per_minute=1)
    _, usual = create_key(path, "usual", now=NOW)
    requests = [("GET", ROUTE, {"X-API-Key": key}) for key in (slow, slow, usual, usual, usual)]
    answers = ask({"keys_file": path, "rate_per_minute": 2}, *requests)
    assert [answer.status_code for answer in answers] == [503, 429, 503, 503, 429]
    check_problem(answers[1], 429, "rate-exceeded")
    assert 50 <= int(answers[1].headers["retry-after"]) <= 60
    assert 20 <= int(answers[4].headers["retry-after"]) <= 30


def test_addresses_without_a_key_are_limited_by_setting_only(path: Path) -> None:
    request: tuple[str, str, dict[str, str]] = ("GET", ROUTE, {})
    assert [response.status_code for response in ask({"keys_file": path}, *[request] * 50)] == [503] * 50
    answers = ask({"keys_file": path, "client_rate_per_minute": 2}, *[request] * 3, ("GET", "/health/live", {}))
    assert [answer.status_code for answer in answers] == [503, 503, 429, 200]


def test_no_more_requests_at_a_time_than_the_limit(path: Path) -> None:
    release = asyncio.Event()
    entered = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await release.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def story() -> list[httpx2.Response]:
        guarded = ControlAccess(waits, settings=AccessSettings(client_concurrency=1), store=KeyStore(path))
        transport = httpx2.ASGITransport(app=guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app") as http:
            first = asyncio.create_task(http.get(ROUTE))
            await entered.wait()
            second = await http.get(ROUTE)
            release.set()
            return [second, await first, await http.get(ROUTE)]

    refused, first, third = asyncio.run(story())
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/too-many-at-once"
    assert refused.headers["retry-after"] == "1"
    assert (first.status_code, third.status_code) == (204, 204)


def test_a_place_is_released_if_the_app_fails(path: Path) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a fault")

    guarded = ControlAccess(fails, settings=AccessSettings(client_concurrency=1), store=KeyStore(path))
    transport = httpx2.ASGITransport(app=guarded)

    async def call() -> None:
        async with httpx2.AsyncClient(transport=transport, base_url="http://app") as http:
            await http.get(ROUTE)

    for _ in range(3):
        with pytest.raises(RuntimeError, match="a fault"):
            asyncio.run(call())


def test_an_address_in_ipv6_stands_for_its_network() -> None:
    assert client_network("2001:db8:1:2:3::4") == client_network("2001:db8:1:2::9") != client_network("2001:db8:1:3::9")
    assert client_network("::ffff:10.0.0.1") == client_network("10.0.0.1") != client_network("10.0.0.2")


PREFLIGHT = {
    "Origin": "https://app.example.org",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


def test_a_preflight_of_a_listed_origin_passes_without_a_key(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    access = {"keys_file": path, "cors_origins": ["https://app.example.org"]}
    preflight, refused, other = ask(
        access,
        ("OPTIONS", "/v1/features", PREFLIGHT),
        ("GET", ROUTE, {"Origin": "https://app.example.org"}),
        ("OPTIONS", "/v1/features", {**PREFLIGHT, "Origin": "https://other.example.org"}),
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example.org"
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


def test_without_origins_no_page_is_allowed(path: Path) -> None:
    preflight, plain = ask(
        {"keys_file": path}, ("OPTIONS", "/v1/features", PREFLIGHT), ("GET", "/health/live", {"Origin": "https://a.b"})
    )
    assert preflight.status_code == 405
    assert not [name for answer in (preflight, plain) for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"])
def test_loopback_needs_no_key(path: Path, host: str) -> None:
    assert is_loopback(host)
    check_exposure(load_settings(host=host, access={"keys_file": path}))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.0.1", "10.0.0.1", "fe80::1", "8.8.8.8", "0", "127.1", "example.org", "::ffff:0:1"],
)
def test_beyond_loopback_there_must_be_a_key_or_the_setting(path: Path, host: str) -> None:
    settings = load_settings(host=host, access={"keys_file": path})
    with pytest.raises(InvalidInput, match=r"keys create NAME.*DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS=true"):
        check_exposure(settings)
    check_exposure(load_settings(host=host, access={"keys_file": path, "allow_anonymous": True}))
    create_key(path, "alice", now=NOW)
    check_exposure(settings)


def test_an_app_that_would_be_exposed_does_not_start(path: Path) -> None:
    app = create_app(load_settings(host="0.0.0.0", access={"keys_file": path}))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")

    with pytest.raises(InvalidInput, match="keys create"):
        asyncio.run(start())


# Without a key: programs of this machine, and no page of another site.


def is_foreign(headers: dict[str, str], method: str = "POST", origins: tuple[str, ...] = ()) -> bool:
    """Whether a request that came in on loopback is refused."""
    fields = {"host": "127.0.0.1:8000", **{name.lower(): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    try:
        check_local({"type": "http", "method": method, "server": ("127.0.0.1", 8000), "headers": raw}, origins)
    except ForeignCaller:
        return True
    return False


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "evil.",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "",
        "[::",
        "10.0.0.1",
        "167772161",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost/.evil.example",
        "localhost#.evil.example",
        "localhost?.evil.example",
        "localhost\\.evil.example",
        "127.0.0.1:evil.example",
        "127.0.0.1%2eevil.example",
        "[::1].evil.example",
        "[::1]evil:80",
        "localhost..",
    ],
)
def test_another_host_name_is_foreign(host: str) -> None:
    assert is_foreign({"Host": host}, "GET")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "localhost:8000",
        "LOCALHOST",
        "[::1]:8000",
        "127.8.9.1",
        "my-machine:8000",
        "localhost.",
        "localhost.:8000",
        "[::ffff:127.0.0.1]",
    ],
)
def test_names_of_loopback_are_not(host: str) -> None:
    assert not is_foreign({"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_is_foreign(headers: dict[str, str]) -> None:
    assert is_foreign(headers)
    assert is_foreign(headers, "DELETE")


def test_the_own_page_and_listed_pages_are_not() -> None:
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert not is_foreign(own)
    listed = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
    assert not is_foreign(listed, origins=("https://app.example.org",))
    assert not is_foreign(listed, origins=("*",))
    # A followed link gives the other page nothing to read.
    assert not is_foreign({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "GET")


FOREIGN = {"Host": "evil.example", "Origin": "https://evil.example"}


def test_without_a_key_every_route_refuses_pages_of_other_sites(path: Path, check_problem: Any) -> None:
    paths = ("/v1/concepts", "/v1/jobs", "/v1/features", "/label-studio/webhook", "/v1/nothing")
    for answer in ask({"keys_file": path}, *[("POST", where, FOREIGN) for where in paths]):
        check_problem(answer, 403, "foreign-caller")


def test_with_a_key_or_anonymous_access_any_host_name_and_page_is_answered(path: Path) -> None:
    assert status({"keys_file": path, "allow_anonymous": True}, FOREIGN) == 503
    _, text = create_key(path, "alice", now=NOW)
    answers = ask({"keys_file": path}, ("GET", ROUTE, {**FOREIGN, "X-API-Key": text}), ("GET", ROUTE, FOREIGN))
    assert [answer.status_code for answer in answers] == [503, 401]


def test_the_documentation_loads_nothing_from_other_hosts(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    pages = ask({"keys_file": path}, ("GET", "/docs", {}), ("GET", "/redoc", {}))
    files = [file for page in pages for file in re.findall(r'(?:src|href)="([^"]+)"', page.text)]
    assert files
    assert all(file.startswith("/docs-files/") for file in files)
    answers = ask({"keys_file": path}, *[("GET", file, {}) for file in (*files, "/docs-files/../v1/models")])
    assert [answer.status_code for answer in answers] == [*[200] * len(files), 401]
