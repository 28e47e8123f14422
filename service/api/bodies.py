"""The request bodies of a task route, as its OpenAPI entry describes them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from service.http.openapi import REFERENCE
from service.inputs.archives import MEDIA_TYPES
from service.inputs.request_body import FILE_LISTS

# Generators of clients recognise files by `format: binary`; OpenAPI 3.1 itself uses `contentMediaType`.
_FILE = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
    "description": "An image file.",
}
_ZIP = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/zip",
    "description": "A zip of image files, read in the order of their names. It can also be sent as a file "
    "part of a form.",
}
_IMAGES = ("image", "images")


def request_bodies(
    model: type[BaseModel],
    *,
    curl: str,
    raw: bool = True,
    hidden: Collection[str] = (),
    form_name: str = "",
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads `model` in all forms. curl: the options of a multipart example.

    raw: False if an image, or a zip of images, cannot be the whole body. hidden: fields that are in the path.
    form_name: the name of the form's schema; by default `ThingForm` of a model `ThingRequest`.
    """
    form_name = form_name or f"{model.__name__.removesuffix('Request')}Form"
    schema = drop_null(model.model_json_schema(ref_template=REFERENCE))
    for name in hidden:
        schema["properties"].pop(name, None)
    options = {name: entry for name, entry in schema["properties"].items() if name not in (*_IMAGES, *hidden)}
    required = [name for name in schema.get("required", []) if name not in _IMAGES]
    several = "images" in schema["properties"]
    shown = {name: _file_list(option) if name in FILE_LISTS else option for name, option in options.items()}
    form = {
        "type": "object",
        "properties": {"image": {"type": "array", "items": _FILE, "minItems": 1} if several else _FILE, **shown},
        "required": [*(["image"] if raw or set(_IMAGES) & set(schema.get("required", [])) else []), *required],
        "additionalProperties": False,
    }
    alone = {"image/*": {"schema": _FILE}} if raw else {}
    if raw and several:
        alone[MEDIA_TYPES[0]] = {"schema": _ZIP}
    example = schema.get("examples", [None])[0]
    return {
        "requestBody": {
            "required": True,
            "description": f"Images and options: a form (`curl {curl} ...`), or JSON with images in base64"
            + (". Or the image itself as the body, with the options in the query." if raw else "."),
            "content": {
                "multipart/form-data": {"schema": {"$ref": REFERENCE.format(model=form_name)}},
                "application/json": {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": example},
                **alone,
            },
        },
        "parameters": [
            query_parameter(name, option) for name, option in options.items() if raw and name not in FILE_LISTS
        ],
        "x-schemas": {model.__name__: schema, form_name: form},
    }


def _file_list(schema: dict[str, Any]) -> dict[str, Any]:
    """A list of images as the file parts of a form."""
    return {**{key: value for key, value in schema.items() if key != "items"}, "items": _FILE}


def drop_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without null: clients leave an option out instead of sending null, which is accepted too."""
    for option in schema["properties"].values():
        if option.get("default", ...) is None:
            del option["default"]
        kinds = [kind for kind in option.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del option["anyOf"]
            option.update({**kinds[0], **option})
        elif kinds:
            option["anyOf"] = kinds
    return schema


def query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An option as a query parameter, for requests whose body is the image (forms may use it too).

    Its default is part of the description: generated clients send the defaults that a document declares, and with a
    JSON body, which has the same option, a query is refused.
    """
    inner = {key: value for key, value in schema.items() if key not in ("description", "title", "default")}
    text = schema.get("description", "")
    if any("$ref" in kind for kind in inner.get("anyOf", ())):
        inner = {"type": "string"}
        text += " In the query, write an object as JSON."
    if "default" in schema:
        text = f"{text} Default: `{json.dumps(schema['default'], ensure_ascii=False)}`.".lstrip()
    return {"name": name, "in": "query", "required": False, "schema": inner, "description": text}
