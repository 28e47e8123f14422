"""service/telemetry/logging.py: what is taken out of a line before it is written."""

from __future__ import annotations

import pytest

from service.telemetry.logging import without_secrets

KEY = "diffsight_0123456789ab_verysecretvalue"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "{'authorization': 'Basic hunter2', 'accept': 'x'}",
        "X-API-Key: hunter2",
        "cookie: a=hunter2; b=hunter2",
        "GET https://host/path?labels=cat&token=hunter2 HTTP/1.1",
        "/v1/models?api_key=hunter2",
        "postgresql://me:hunter2@host/name",
        "(b'authorization', b'Bearer hunter2')",
        f"the key {KEY}",
    ],
)
def test_credentials_and_queries_are_taken_out(text: str) -> None:
    told = str(without_secrets(None, "", {"event": text, "exception": text, "seconds": 1.5}))
    assert "hunter2" not in told
    assert "verysecretvalue" not in told
    assert "1.5" in told


def test_plain_texts_are_left_as_they_are() -> None:
    event = {"event": "is it ready? no: 3 = 4 / 2", "path": "/v1/models"}
    assert without_secrets(None, "", dict(event)) == event
