"""Which containers ffmpeg may open: it also reads playlists and session descriptions, and opens the files in them."""

from __future__ import annotations

from typing import Any

from backbones.errors import InvalidInput

# ffmpeg's names of the formats in `sources.VIDEOS`. ffmpeg looks at the content of a file, not at its name.
CONTAINERS = ("mov", "matroska", "avi")

ONLY_VIDEOS: dict[str, Any] = {"options": {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}}
"""Further arguments of `av.open`."""


def bound_frames(container: Any, most_pixels: int | None) -> None:
    """Raises InvalidInput for a video of larger frames; None is no bound.

    If frames grow later in the video, the decoder refuses them before it allocates memory.
    """
    if most_pixels is None:
        return
    context = container.streams.video[0].codec_context
    if context.width * context.height > most_pixels:
        raise InvalidInput(
            "image",
            f"the video has frames of {context.width} x {context.height}; the limit is {most_pixels:,} pixels",
            hint="scale it down first: the networks read a few hundred pixels on each side",
        )
    # The decoder counts the margins that it keeps around a frame.
    context.options = {"max_pixels": str(2 * most_pixels + 1_000_000)}
