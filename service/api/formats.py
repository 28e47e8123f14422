"""Which form an answer takes: by the request's `format`, else by its header `Accept`."""

from __future__ import annotations

from collections.abc import Mapping

from backbones.errors import InvalidInput


def choose_format(requested: str | None, accept: str, offered: Mapping[str, str]) -> str:
    """The name of the form to answer in: as requested, else by the header `Accept`, else the first that is offered.

    offered: name -> media type; of names with one media type the first stands for it.
    Raises InvalidInput for a name that is not offered.
    """
    if requested is not None:
        if requested not in offered:
            raise InvalidInput("format", f"{requested!r}", hint=f"send one of {', '.join(offered)}")
        return requested
    by_type: dict[str, str] = {}
    for name, media_type in offered.items():
        by_type.setdefault(media_type, name)
    for media_type in accepted_types(accept):
        kind = media_type.removesuffix("/*")
        for offer, name in by_type.items():
            if media_type in ("*/*", offer) or (kind != media_type and offer.startswith(f"{kind}/")):
                return name
    return next(iter(offered))


def accepted_types(accept: str) -> list[str]:
    """The media types of an Accept header, most wanted first."""
    wanted: list[tuple[float, str]] = []
    for part in accept.split(","):
        media_type, _, rest = part.strip().lower().partition(";")
        quality = rest.partition("q=")[2].partition(";")[0].strip() or "1"
        try:
            wanted.append((float(quality), media_type.strip()))
        except ValueError:
            wanted.append((1.0, media_type.strip()))
    return [media_type for quality, media_type in sorted(wanted, key=lambda pair: -pair[0]) if quality > 0]
