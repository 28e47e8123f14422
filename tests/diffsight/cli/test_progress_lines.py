"""Lines of progress: only of long work, and only without a terminal."""

from __future__ import annotations

import threading

import pytest

from diffsight.cli.progress_lines import PREFIX, progress_lines


def test_long_work_writes_lines_and_short_work_none(capsys: pytest.CaptureFixture[str]) -> None:
    described = threading.Event()

    def describe() -> str:
        described.set()
        return "3 of 9 images"

    with progress_lines(describe, seconds=0.001):
        assert described.wait(60)
    with progress_lines(describe, seconds=3600):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith(f"{PREFIX}3 of 9 images, ") for line in lines)


def test_no_line_is_written_without_news_or_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described = threading.Event()

    def describe() -> str:
        described.set()
        return ""

    with progress_lines(describe, seconds=0.001):
        assert described.wait(60)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    before = threading.active_count()
    with progress_lines(lambda: "anything", seconds=0.001):
        assert threading.active_count() == before
