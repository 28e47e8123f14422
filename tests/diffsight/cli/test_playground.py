"""`diffsight playground` before it serves anything."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from diffsight.cli.serve import own_address
from tests.diffsight.command import invoke


def test_an_address_without_its_scheme_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is no URL"):
        invoke("playground", "--url", "diffsight.example.org")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("10.0.0.5", "http://10.0.0.5:8000"),
    ],
)
def test_the_page_reaches_its_own_server(host: str, address: str) -> None:
    assert own_address(host, 8000) == address
