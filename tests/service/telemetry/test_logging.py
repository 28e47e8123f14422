"""service/telemetry/logging.py: values that are removed from a line before it is written."""

from __future__ import annotations

import errno
import io

import pytest
import structlog

from service.telemetry.logging import UnfailingStream, remove_secrets

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
    text_logged = str(remove_secrets(None, "", {"event": text, "exception": text, "seconds": 1.5}))
    assert "hunter2" not in text_logged
    assert "verysecretvalue" not in text_logged
    assert "1.5" in text_logged


def test_plain_texts_are_left_as_they_are() -> None:
    event = {"event": "is it ready? no: 3 = 4 / 2", "path": "/v1/models"}
    assert remove_secrets(None, "", dict(event)) == event


class FullDisk(io.StringIO):
    """A file on a full disk, which has space after a while."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_is_lost_and_the_next_one_is_not() -> None:
    disk = FullDisk()
    logger = structlog.PrintLoggerFactory(UnfailingStream(disk))()  # type: ignore[arg-type]
    logger.msg("lost")
    disk.full = False
    logger.msg("written")
    disk.close()
    logger.msg("lost too")
    disk = FullDisk()
    disk.full = False
    structlog.PrintLoggerFactory(UnfailingStream(disk))().msg("written")  # type: ignore[arg-type]
    assert disk.getvalue() == "written\n"
