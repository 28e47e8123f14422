"""Which form an answer takes: by the request's `format`, else by its header `Accept`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.task import JSON
from service.inputs.request_body import ANY_BYTES
from service.threads import ANSWERS, run_in


async def json_response(build: Callable[[], BaseModel]) -> Response:
    """The result of `build` as JSON, computed on a thread: a long list would block all other requests."""
    return Response(await run_in(ANSWERS, lambda: build().model_dump_json()), media_type=JSON)


def choose_format(requested: str | None, accept: str, offered: Mapping[str, str]) -> str:
    """The name of the form to answer in: as requested, else by the header `Accept`, else the first offered form.

    offered: name -> media type; if several names have a media type, the first is chosen for it.
    Raises InvalidInput for a name that is not offered.
    """
    if requested is not None:
        if requested not in offered:
            raise InvalidInput(
                "format", f"{requested!r} is not a form of this answer", hint=f"send one of {', '.join(offered)}"
            )
        return requested
    by_type: dict[str, str] = {}
    for name, media_type in offered.items():
        by_type.setdefault(media_type, name)
    for media_type in list_accepted_types(accept):
        kind = media_type.removesuffix("/*")
        for offer, name in by_type.items():
            if media_type in ("*/*", offer) or (kind != media_type and offer.startswith(f"{kind}/")):
                return name
    return next(iter(offered))


def wants_bytes(accept: str, media_type: str) -> bool:
    """Whether to answer a file of this type as `application/octet-stream`, because `Accept` names only that."""
    return choose_format(None, accept, {"file": media_type, "bytes": ANY_BYTES}) == "bytes"


def file_response(media_type: str) -> dict[int | str, dict[str, Any]]:
    """The document's entry on an answer that is a file. Generated clients know files as `application/octet-stream`."""
    kinds = dict.fromkeys((media_type, ANY_BYTES))
    schemas = {kind: {"type": "string", "format": "binary", "contentMediaType": kind} for kind in kinds}
    return {200: {"content": {kind: {"schema": schema} for kind, schema in schemas.items()}}}


def list_accepted_types(accept: str) -> list[str]:
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
