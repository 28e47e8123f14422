"""Bars of progress."""

from __future__ import annotations

import io

from diffsight_client import ProgressBar, Step
from diffsight_client.progress import reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_changes() -> None:
    stream = Terminal()
    bar = ProgressBar(stream)
    bar(Step("wait", 6, 12, "3.0 a second"))
    bar(Step("wait", 12, 12))
    half, whole = stream.getvalue().split("\r")[1:]
    assert "[############............] 6 of 12 images 3.0 a second" in half
    assert "\n" not in half
    assert whole.endswith("\n")


def test_without_a_terminal_there_is_a_line_for_each_tenth() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    for done in range(0, 2_000_001, 10_000):
        bar(Step("upload", done, 2_000_000))
    bar(Step("download", 500_000, None))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[1] == "upload 0.2 of 2.0 MB"
    assert lines[-1] == "download 0.5 MB"


def test_a_reporter_is_a_function_a_bar_or_nothing() -> None:
    steps: list[Step] = []
    assert reporter(steps.append) == steps.append
    assert isinstance(reporter(True), ProgressBar)
    reporter(False)(Step("wait", 1, 1))
