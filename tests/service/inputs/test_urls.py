"""service/inputs/urls.py: a real TLS server on loopback, at names that only the test's resolver knows.

Nothing is patched: the fetcher is given its resolver, its judgement of addresses and its trusted authority.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backbones.errors import InvalidInput
from service.inputs.urls import ImageUrl, Refused, UrlFetcher, is_public, resolve, target_of
from service.settings.groups import UrlSettings

if TYPE_CHECKING:
    from tests.conftest import StartServer

PUBLIC = UrlSettings(enabled=True)
HOST = "images.example.org"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority (ca.pem) and its certificate for two names (site.pem, with its key)."""
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(
        *("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    openssl("req", *new_key[:-2], "-keyout", "site.key", "-out", "site.csr", "-subj", "/CN=site")
    (folder / "names").write_text(f"subjectAltName=DNS:{HOST},DNS:other.example.org\n")
    openssl(
        *("x509", "-req", "-in", "site.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"),
        *("-out", "site.crt", "-extfile", "names"),
    )
    (folder / "site.pem").write_bytes((folder / "site.key").read_bytes() + (folder / "site.crt").read_bytes())
    return folder


@dataclass
class Site:
    """The TLS server: its port, its requests, and the event that ends its slow page."""

    port: int
    trusted: ssl.SSLContext
    requests: list[tuple[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = HOST) -> str:
        """The address of a page."""
        return f"https://{host}:{self.port}{path}"


@contextmanager
def serving(authority: Path, png: bytes) -> Iterator[Site]:
    """A TLS server whose pages have the faults that their paths name."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.requests.append((self.headers["Host"], self.path))
            page, _, argument = self.path[1:].partition("/")
            if page == "to":
                return self.answer(302, b"", Location=base64.urlsafe_b64decode(argument).decode())
            if page == "hop":
                left = int(argument)
                return self.answer(307, b"", Location=f"/hop/{left - 1}" if left else "/picture.png")
            if page == "large":
                return self.answer(200, b"x" * 3 * MIB)
            if page == "endless":
                self.send_response(200)
                self.end_headers()
                while not running.ended.is_set():
                    self.wfile.write(b"x" * 65536)
                return None
            if page == "slow":
                self.send_response(200)
                self.send_header("Content-Length", "10")
                self.end_headers()
                self.wfile.write(b"x")
                self.wfile.flush()
                running.ended.wait(30)
                return None
            if page == "packed":
                return self.answer(200, b"x", **{"Content-Encoding": "gzip"})
            if page == "missing":
                return self.answer(404, b"the secret of the inside")
            return self.answer(200, png)

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no log."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Ignore the error: tests disconnect, and refuse the certificate, on purpose."""

    server = Quiet(("127.0.0.1", 0), Pages)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "site.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    running = Site(server.server_address[1], ssl.create_default_context(cafile=str(authority / "ca.pem")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        running.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def shared_site(authority: Path, png: bytes) -> Iterator[Site]:
    with serving(authority, png) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    """The server, with an empty list of requests."""
    shared_site.requests.clear()
    return shared_site


class Names:
    """A resolver of these names, each with the answers of its successive look-ups; it counts the look-ups."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {HOST: [["127.0.0.1"]], "other.example.org": [["127.0.0.1"]], **answers}
        self.looked_up: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        answers = self.answers[host]
        return answers[min(self.looked_up.count(host), len(answers)) - 1]


def loopback_is_public(address: str) -> bool:
    """The judgement of the service, except for the address of the test's server."""
    return address == "127.0.0.1" or is_public(address)


def fetch(
    site: Site,
    url: str,
    names: Names | None = None,
    *,
    is_allowed: Callable[[str], bool] = loopback_is_public,
    most_bytes: int = MIB,
    tls: ssl.SSLContext | None = None,
    **changed: Any,
) -> bytes:
    """The bytes that a fetcher with these settings returns."""
    settings = UrlSettings(**{"enabled": True, "ports": (443, site.port), "timeout_seconds": 20, **changed})
    fetcher = UrlFetcher(settings, resolve=names or Names(), is_allowed=is_allowed, tls=tls or site.trusted)
    return asyncio.run(fetcher.fetch(ImageUrl(url), field="image", most_bytes=most_bytes))


def check_refusal(site: Site, url: str, names: Names | None = None, **options: Any) -> InvalidInput:
    """Fetch a URL that is refused, and check the error, which is the same for every refusal."""
    with pytest.raises(InvalidInput, match="could not be fetched, or its URL is not allowed") as raised:
        fetch(site, url, names, **options)
    assert raised.value.field == "image"
    assert raised.value.__cause__ is None
    return raised.value


def redirect(site: Site, to: str) -> str:
    """An address that redirects."""
    return site.url(f"/to/{base64.urlsafe_b64encode(to.encode()).decode()}")


def test_an_image_is_fetched_with_the_hosts_name_and_from_its_address(site: Site, png: bytes) -> None:
    names = Names()
    assert fetch(site, site.url("/a b.png".replace(" ", "%20") + "?x=ä#part"), names) == png
    assert site.requests == [(f"{HOST}:{site.port}", "/a%20b.png?x=%C3%A4")]
    assert names.looked_up == [HOST]


def test_three_redirects_are_followed_and_each_host_is_looked_up(site: Site, png: bytes) -> None:
    assert fetch(site, site.url("/hop/2")) == png
    assert len(site.requests) == 4
    names = Names()
    assert fetch(site, redirect(site, site.url("/picture.png", "other.example.org")), names) == png
    assert names.looked_up == [HOST, "other.example.org"]


def test_a_fourth_redirect_is_refused(site: Site) -> None:
    check_refusal(site, site.url("/hop/3"))
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "to",
    [
        "http://images.example.org/a.png",
        "https://127.0.0.1/a.png",
        "https://inside.example.org/a.png",
        "https://images.example.org:22/a.png",
        "https://user@images.example.org/a.png",
        "//169.254.169.254/latest/meta-data",
        "https://images.example.org\\@10.0.0.7/a.png",
        "file:///etc/passwd",
        "gopher://images.example.org/",
        "",
    ],
)
def test_every_redirect_is_checked_like_the_first_address(site: Site, to: str) -> None:
    names = Names(**{"inside.example.org": [["10.0.0.7"]]})
    check_refusal(site, redirect(site, to), names)
    assert len(site.requests) == (4 if to == "" else 1)  # an empty one leads to itself


def test_a_second_look_up_does_not_happen(site: Site, png: bytes) -> None:
    names = Names(**{HOST: [["127.0.0.1"], ["10.0.0.7"]]})
    assert fetch(site, site.url("/picture.png"), names) == png
    assert names.looked_up == [HOST]


def test_a_redirect_to_the_same_host_is_looked_up_and_checked_again(site: Site) -> None:
    names = Names(**{HOST: [["127.0.0.1"], ["10.0.0.7"]]})
    check_refusal(site, site.url("/hop/0"), names)
    assert len(site.requests) == 1


@pytest.mark.parametrize("addresses", [[], ["10.0.0.7"], ["127.0.0.1", "10.0.0.7"], ["127.0.0.1", "::1"]])
def test_one_inner_address_of_a_host_is_enough_to_refuse_it(site: Site, addresses: list[str]) -> None:
    check_refusal(site, site.url("/picture.png"), Names(**{HOST: [addresses]}))
    assert site.requests == []


def test_loopback_is_refused_by_the_services_own_judgement(site: Site) -> None:
    check_refusal(site, site.url("/picture.png"), is_allowed=is_public)
    assert site.requests == []


def test_the_certificate_must_be_the_hosts_and_of_a_trusted_authority(site: Site) -> None:
    check_refusal(site, site.url("/picture.png", "third.example.org"), Names(**{"third.example.org": [["127.0.0.1"]]}))
    check_refusal(site, site.url("/picture.png"), tls=ssl.create_default_context())
    assert site.requests == []


@pytest.mark.parametrize("page", ["/large", "/endless"])
def test_too_many_bytes_are_refused_announced_or_not(site: Site, page: str) -> None:
    check_refusal(site, site.url(page), max_bytes=2 * MIB, most_bytes=100 * MIB)
    check_refusal(site, site.url(page), max_bytes=100 * MIB, most_bytes=2 * MIB)


def test_a_server_that_takes_too_long_is_refused(site: Site) -> None:
    check_refusal(site, site.url("/slow"), timeout_seconds=0.3)


def test_a_resolver_that_takes_too_long_is_refused(site: Site) -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    fetcher = UrlFetcher(UrlSettings(timeout_seconds=0.1), resolve=never)
    with pytest.raises(InvalidInput, match="could not be fetched"):
        asyncio.run(fetcher.fetch(ImageUrl(f"https://{HOST}/"), field="image", most_bytes=1))


@pytest.mark.parametrize("page", ["/missing", "/packed"])
def test_other_answers_are_refused_and_nothing_of_them_is_shown(site: Site, page: str) -> None:
    error = check_refusal(site, site.url(page))
    assert "secret" not in str(error)
    assert "404" not in str(error)


def test_all_refusals_read_alike(site: Site) -> None:
    inside = Names(**{"inside.example.org": [["10.0.0.7"]]})
    details = {
        str(check_refusal(site, site.url("/missing"))),
        str(check_refusal(site, "https://inside.example.org/", inside)),
        str(check_refusal(site, "http://127.0.0.1/")),
        str(check_refusal(site, site.url("/picture.png"), deny_hosts=(HOST,))),
    }
    assert len(details) == 1


def test_no_more_images_are_fetched_at_a_time_than_the_setting(site: Site) -> None:
    running: list[int] = []

    async def story() -> None:
        let_go = asyncio.Event()
        all_waiting = asyncio.Event()

        async def hold(host: str, port: int) -> Sequence[str]:
            running.append(1)
            if len(running) == 2:
                all_waiting.set()
            await let_go.wait()
            return ["10.0.0.7"]

        fetcher = UrlFetcher(UrlSettings(max_concurrent=2), resolve=hold)
        tasks = [
            asyncio.create_task(fetcher.fetch(ImageUrl(f"https://{HOST}/"), field="image", most_bytes=1))
            for _ in range(5)
        ]
        await all_waiting.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(running) == 2
        let_go.set()
        assert all(
            isinstance(outcome, InvalidInput) for outcome in await asyncio.gather(*tasks, return_exceptions=True)
        )

    asyncio.run(story())
    assert len(running) == 5


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "HTTP://example.org/a.png",
        "ftp://example.org/a.png",
        "https:/example.org/a.png",
        "https:example.org",
        "//example.org/a.png",
        "https://",
        "https:///a.png",
        "https://127.0.0.1/",
        "https://8.8.8.8/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://0x7f.0x1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://1.2.3.4./",
        "https://localhost/",
        "https://metadata/",
        "https://example.org./",
        "https://.example.org/",
        "https://example..org/",
        "https://-example.org/",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org:443@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org\\.inside.org/",
        "https:\\\\example.org/",
        "https://example.org:80/",
        "https://example.org:8443/",
        "https://example.org:/",
        "https://example.org:0443443/",
        "https://example.org:99999/",
        "https://exam\u200bple.org/",
        "https://ⓔxample.org/",
        "https://127。0。0。1/",
        "https://example.org\u212a/",
        "https://exämple.org/",
        " https://example.org/",
        "https://example.org/a b.png",
        "https://example.org/\n",
        "https://example.org/\r\nHost: inside",
        "https://example.org/\x00",
        "https://example.org\t/",
        "https://exam%70le.org/",
        "https://example_host.org/",
        f"https://{'a' * 64}.org/",
        f"https://{'a.' * 130}org/",
        f"https://example.org/{'a' * 5000}",
    ],
)
def test_an_address_in_any_other_form_is_refused_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(Refused):
        target_of(url, PUBLIC)


@pytest.mark.parametrize(
    ("url", "taken_apart"),
    [
        ("https://example.org", ("example.org", 443, "/")),
        ("HTTPS://Example.ORG:443/A.png?b=c&d=%20#e", ("example.org", 443, "/A.png?b=c&d=%20")),
        ("https://xn--exmple-cua.org?x=@y:z\\w", ("xn--exmple-cua.org", 443, "/?x=@y:z\\w")),
        ("https://a-1.b2.example/ü/", ("a-1.b2.example", 443, "/%C3%BC/")),
    ],
)
def test_an_address_is_taken_apart_as_it_was_written(url: str, taken_apart: tuple[str, int, str]) -> None:
    target = target_of(url, PUBLIC)
    assert (target.host, target.port, target.rest) == taken_apart


@pytest.mark.parametrize(
    ("allow", "deny", "host", "allowed"),
    [
        ([], [], "example.org", True),
        (["example.org"], [], "example.org", True),
        (["example.org"], [], "a.example.org", False),
        (["*.example.org"], [], "a.b.example.org", True),
        (["*.example.org"], [], "example.org", False),
        (["*.example.org"], [], "badexample.org", False),
        (["*.Example.org"], [], "A.EXAMPLE.ORG", True),
        ([], ["*.example.org"], "a.example.org", False),
        ([], ["example.org"], "EXAMPLE.org", False),
        (["*.example.org"], ["b.example.org"], "b.example.org", False),
    ],
)
def test_the_lists_of_hosts_decide(allow: list[str], deny: list[str], host: str, allowed: bool) -> None:
    settings = UrlSettings(allow_hosts=tuple(allow), deny_hosts=tuple(deny))
    if allowed:
        target_of(f"https://{host}/", settings)
        return
    with pytest.raises(Refused):
        target_of(f"https://{host}/", settings)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d70e", True),  # a public IPv4 host behind NAT64
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("127.0.0.1", False),
        ("168.63.129.16", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.0.9", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("224.0.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_only_addresses_on_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_the_systems_resolver_gives_addresses() -> None:
    assert set(asyncio.run(resolve("localhost", 443))) <= {"127.0.0.1", "::1"}


ZERO_SHOT = "/v1/classify/zero-shot"


def test_the_server_fetches_where_it_is_set_to(
    start_server: StartServer, site: Site, png: bytes, check_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no server listens there
    urls = UrlSettings(enabled=True, ports=(site.port,))
    fetcher = UrlFetcher(urls, resolve=Names(), is_allowed=loopback_is_public, tls=site.trusted)
    picture = site.url("/picture.png")
    server = start_server(fetcher=fetcher, urls=urls, limits={"max_upload_bytes": 5 * MIB, "max_images": 3})
    response = server.client.post("/v1/features", json={"image": picture})
    assert response.status_code == 200, response.text
    assert "fetch;dur=" in response.headers["server-timing"]
    sent = base64.b64encode(png).decode()
    several = server.client.post("/v1/features", json={"images": [picture, sent]}).json()
    assert several["vectors"][0] == pytest.approx(several["vectors"][1], abs=1e-4)
    form = server.client.post(ZERO_SHOT, files={"image": (None, picture), "labels": (None, "a")})
    assert form.status_code == 200, form.text
    site.requests.clear()
    too_many = server.client.post("/v1/features", json={"images": [picture] * 4})
    assert check_problem(too_many, 422, "invalid-input")["field"] == "images"
    unknown = server.client.post(ZERO_SHOT, json={"image_url": picture, "labels": ["a"]})
    assert "as `image`" in unknown.text
    assert site.requests == []
    bad = server.client.post("/v1/features", json={"images": [picture, "https://10.0.0.7/a.png"]})
    problem = check_problem(bad, 422, "invalid-input")
    assert problem["field"] == "images.1"
    assert "10.0.0.7" not in bad.text


def test_a_job_fetches_its_addresses_and_one_that_fails_fails_alone(
    start_server: StartServer, site: Site, tmp_path: Path, check_problem: Any
) -> None:
    urls = UrlSettings(enabled=True, ports=(site.port,))
    fetcher = UrlFetcher(urls, resolve=Names(), is_allowed=loopback_is_public, tls=site.trusted)
    listed = tmp_path / "allowed" / "addresses.txt"
    listed.parent.mkdir()
    addresses = [site.url("/picture.png"), site.url("/missing"), site.url("/hop/1"), "https://10.0.0.7/a.png"]
    listed.write_text("# what to look at\n" + "\n".join(addresses))
    settings: dict[str, Any] = {"urls": urls, "data_folder": tmp_path, "jobs": {"sources": (str(listed.parent),)}}
    server = start_server(fetcher=fetcher, **settings)
    for sent in ({"urls": addresses}, {"source": str(listed)}):
        job = server.client.post("/v1/jobs", json={"task": "features", **sent})
        assert job.status_code == 201, job.text
        with server.client.stream("GET", f"{job.headers['location']}/events") as events:
            end = [line for line in events.iter_lines() if line.startswith("data: ")][-1]
        details = json.loads(end.removeprefix("data: "))
        assert (details["source"]["kind"], details["status"], details["done"], details["failed"]) == (
            "urls",
            "done",
            2,
            2,
        )
        assert [failure["image_name"] for failure in details["failures"]] == [addresses[1], addresses[3]]
        assert "the secret of the inside" not in end
    without = start_server(data_folder=tmp_path, jobs=settings["jobs"])
    site.requests.clear()
    for sent in ({"urls": addresses}, {"source": str(listed)}):
        refused = without.client.post("/v1/jobs", json={"task": "features", **sent})
        assert "urls.enabled" in check_problem(refused, 422, "invalid-input")["detail"]
    assert site.requests == []


def test_a_server_that_was_not_set_to_fetches_nothing(server: Any, site: Site, check_problem: Any) -> None:
    response = server.client.post("/v1/features", json={"image": site.url("/picture.png")})
    assert "urls.enabled" in check_problem(response, 422, "invalid-input")["detail"]
    assert site.requests == []
