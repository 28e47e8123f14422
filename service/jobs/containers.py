"""Which videos ffmpeg may open: it also reads lists and session descriptions, and opens what those name."""

from __future__ import annotations

from typing import Any

# What the endings in `sources.VIDEOS` stand for, by ffmpeg's names. A file is looked into, however it is called.
CONTAINERS = ("mov", "matroska", "avi")

ONLY_VIDEOS: dict[str, Any] = {"options": {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}}
"""Further arguments of `av.open`."""


def bound_frames(container: Any, most_pixels: int | None) -> None:
    """Let the decoder refuse larger frames before it takes memory for them; None is no bound."""
    if most_pixels is not None:
        container.streams.video[0].codec_context.options = {"max_pixels": str(most_pixels)}
