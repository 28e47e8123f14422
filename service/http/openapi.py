"""The OpenAPI document: FastAPI's own, completed by problems and bodies that FastAPI does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.http.problems import FOREIGN_MEDIA_TYPE, MEDIA_TYPE, Problem
from service.version import read_version

REFERENCE = "#/components/schemas/{model}"

# A white stroke on black, 16 x 16: a small, valid PNG, so that the examples can be sent unchanged.
EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAF0lEQVR42mNgIBv8/w9lMKHLDBYBMgAAsgYCEQornuUAAAAASUVORK5CYII="
)

_SUMMARY = "Perception on frozen Stable Diffusion backbones. Requests share U-Net batches."
_DESCRIPTION = """Every task route reads three kinds of bodies: `multipart/form-data` with file parts; JSON with
images in base64; and the image itself as the body, with the options in the query.
If the server has API keys, send one with every request except those for health and this document:
`Authorization: Bearer KEY` or `X-API-Key: KEY`.
Errors are `application/problem+json` (RFC 9457), with a `hint` that says what to send instead."""
_PROBLEMS: dict[int | str, str] = {
    401: "The request has no valid API key.",
    403: "The request comes from a web page of another site, and the server has no API keys.",
    408: "The body arrived too slowly.",
    413: "The body is too large.",
    415: "The server does not read this Content-Type.",
    422: "A value was refused: `field` says which value, and `hint` what to send.",
    429: "The queue is full, or the key has reached its limit. Send the request again after `Retry-After` seconds.",
    503: "The backbone is not loaded yet, or could not be loaded.",
    504: "The deadline passed before the work was done.",
    507: "The server could not store the data: its disk is full, or its database is not reachable.",
    "default": "Any other problem.",
}


# By either header, or by none if the server has no keys.
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, created with `diffsight keys create`."},
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same API key, in another header.",
    },
}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {}]


def describe() -> dict[str, Any]:
    """Keyword arguments of FastAPI: the document's description of the server."""
    return {
        "title": "diffsight",
        "version": read_version(),
        "summary": _SUMMARY,
        "description": _DESCRIPTION,
        "license_info": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "generate_unique_id_function": operation_id,
        # FastAPI's own 422 would have another schema; `default` removes it.
        "responses": {"default": problem_response_entry("default")},
    }


# Names of methods in generated clients, as in version 0.1.
_OPERATION_IDS = {
    "classifier": "classify_fitted",
    "edit_concept": "change_concept",
    "few-shot": "few_shot_segmentation",
    "image-text": "match_image_text",
}


def operation_id(route: APIRoute) -> str:
    """Name of the route's method in generated clients: its endpoint's or task's name, stable over versions."""
    name, _, part = route.name.partition(":")
    return "_".join(filter(None, (_OPERATION_IDS.get(name, name), part))).replace("-", "_")


def problem_response_entry(status: int | str) -> dict[str, Any]:
    """The entry of a problem under a route's `responses`."""
    entry: dict[str, Any] = {
        "description": _PROBLEMS[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
    }
    if status == 401:
        entry["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to send a key."}}
    if status == 429:
        entry["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before the next request."}
        }
    return entry


def not_ready() -> dict[int | str, dict[str, Any]]:
    """The problem of a route that needs the backbone and reads no body, for its `responses`."""
    return {503: problem_response_entry(503)}


def key_problems() -> dict[int | str, dict[str, Any]]:
    """The problems of a route that may need a key and reads no body, for its `responses`."""
    return {status: problem_response_entry(status) for status in (401, 429)}


def task_problems() -> dict[int | str, dict[str, Any]]:
    """The problems of a route that reads a body and uses the device, for its `responses`."""
    return {status: problem_response_entry(status) for status in _PROBLEMS}


def foreign_problems() -> dict[int | str, dict[str, Any]]:
    """The problems of a route of a foreign protocol, for its `responses`: with the member that its clients read."""
    problems = task_problems()
    for entry in problems.values():
        entry["content"] = {FOREIGN_MEDIA_TYPE: entry["content"][MEDIA_TYPE]}
    return problems


def json_body(
    model: type[BaseModel], others: Mapping[str, Any] | None = None, *, required: bool = True
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads `model` as JSON, the first of its examples shown.

    others: schemas of further kinds of body, by media type. required: False if there may be no body.
    """
    schema = model.model_json_schema(ref_template=REFERENCE)
    content = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": schema["examples"][0]}
    bodies = {media_type: {"schema": body_schema} for media_type, body_schema in (others or {}).items()}
    return {
        "requestBody": {"required": required, "content": {"application/json": content, **bodies}},
        "x-schemas": {model.__name__: schema},
    }


def complete(app: FastAPI) -> None:
    """Add to the app's document the schemas that only bodies and problems refer to, and the security schemes."""
    written: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        first = app.openapi_schema is None
        document = written()
        if first:
            components = document.setdefault("components", {})
            components["securitySchemes"] = _SECURITY_SCHEMES
            schemas = components.setdefault("schemas", {})
            schemas.update(_with_definitions("Problem", Problem.model_json_schema(ref_template=REFERENCE)))
            for path in document["paths"].values():
                for operation in path.values():
                    operation["security"] = _SECURITY if "401" in operation["responses"] else []
                    for name, schema in operation.pop("x-schemas", {}).items():
                        schemas.update(_with_definitions(name, schema))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _with_definitions(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema and the schemas that it defines, by name."""
    own = {key: value for key, value in schema.items() if key != "$defs"}
    return {name: own, **schema.get("$defs", {})}
