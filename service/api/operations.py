"""Separate operations for each kind of body, in addition to the routes that read several.

A route such as /v1/depth reads a form, JSON, and the image by itself, which is enough for handwritten clients. But most
generators of clients support only one kind of body and one kind of answer in an operation. So

    {path}            is described with a form and with JSON
    {path}/upload     reads the same form, and is described with it alone
    {path}/image      is the image by itself (zip, where only that goes), with the options in the query
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.inputs.archives import MEDIA_TYPES
from service.inputs.request_body import ANY_BYTES

FORM, JSON = "multipart/form-data", "application/json"
_ALONE = ("image/*", MEDIA_TYPES[0])
_UPLOAD = "The same as the route above, with a form as the only kind of body. For generated clients."
_BY_ITSELF = (
    "The same as the route above, with the file as the body: `image/*`, "
    "`application/octet-stream`, or `application/zip` if the task takes several images. The options are in the "
    "query."
)


def add_operations(router: APIRouter) -> APIRouter:
    """The router, with operations for each kind of body of its routes, and their documents split by kind."""
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        extra = route.openapi_extra or {}
        content = extra.get("requestBody", {}).get("content", {})
        if FORM not in content or JSON not in content:
            continue
        if alone := [kind for kind in _ALONE if kind in content]:
            suffix = "image" if alone[0] == _ALONE[0] else "zip"
            _add(router, route, suffix, _BY_ITSELF, _describe_lone_file(extra))
        _add(router, route, "upload", _UPLOAD, form_alone(extra))
        route.openapi_extra = _form_and_json(extra)
    return router


def form_alone(extra: dict[str, Any]) -> dict[str, Any]:
    """The document of a body that is a form."""
    return _with_content(extra, {FORM: extra["requestBody"]["content"][FORM]}, query=False)


def _form_and_json(extra: dict[str, Any]) -> dict[str, Any]:
    content = extra["requestBody"]["content"]
    return _with_content(extra, {kind: content[kind] for kind in (JSON, FORM)}, query=False)


def _describe_lone_file(extra: dict[str, Any]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "contentMediaType": ANY_BYTES}
    document = _with_content(extra, {ANY_BYTES: {"schema": file}}, query=True)
    document["requestBody"]["description"] = "The bytes of the file."
    return document


def _with_content(extra: dict[str, Any], content: dict[str, Any], *, query: bool) -> dict[str, Any]:
    document = deepcopy({**extra, "requestBody": {**extra["requestBody"], "content": content}})
    parameters = [parameter for parameter in document.pop("parameters", ()) if query or parameter["in"] != "query"]
    return document | ({"parameters": parameters} if parameters else {})


def _add(router: APIRouter, route: APIRoute, suffix: str, about: str, extra: dict[str, Any]) -> None:
    router.add_api_route(
        f"{route.path}/{suffix}",
        route.endpoint,
        methods=sorted(route.methods or ()),
        # The part after the colon is only for the document: metrics and logs use the route's name.
        name=f"{route.name}:{suffix}",
        tags=list(route.tags),
        summary=f"{route.summary} ({suffix})",
        description=about,
        status_code=route.status_code,
        response_model=route.response_model,
        responses=dict(route.responses),
        openapi_extra=extra,
    )
