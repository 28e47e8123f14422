"""Read the three forms of a request (multipart, JSON with base64, the image itself) into one pydantic model."""

from __future__ import annotations

import codecs
import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request

from backbones.errors import InvalidInput
from service.errors import MalformedBody, UnsupportedBody
from service.inputs.archives import MEDIA_TYPES, ArchivedFile, is_archive, read_archive
from service.inputs.base64_text import decode_base64_text
from service.inputs.files import ImageSource
from service.inputs.forms import open_form
from service.inputs.json_values import VALUES_PER_NAME, check_values, shorten
from service.inputs.urls import ImageUrl
from service.settings.groups import LimitSettings
from service.threads import BODIES, run_in

Model = TypeVar("Model", bound=BaseModel)
Json = bytes | bytearray

# Names that a file part may have; all files of a request are its images, in order.
FILE_PARTS = ("image", "images", "images[]", "file")
# Further lists of images of some tasks, and the form's name of a single file.
FILE_LISTS = {"masks": "mask", "support_images": "support_image", "support_masks": "support_mask"}
# Generated clients send files with this type: the bytes show what the body is.
ANY_BYTES = "application/octet-stream"
_URL_FIELDS = ("url", "image_url", "urls", "image_urls")
_URLS_ARE_OFF = "URL inputs are off on this server (its setting urls.enabled): it fetches nothing"
_FETCH = "fetch_urls"
# Most errors in an answer; and a number of errors whose listing takes noticeable time.
_MOST_HINTED = 20
_MOST_LISTED = 1000


def read_image(value: object, info: ValidationInfo) -> ImageSource:
    """The bytes of a base64 text, or a URL to download if the validation's context allows it.

    Bytes and files of archives, which come from forms, are returned unchanged.
    """
    if isinstance(value, bytes | ArchivedFile):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("image_type", "An image is a base64 text here, or a file part of a form")
    if re.match(r"(?i)(https?|ftp|file|s3|gs)://", value):
        if not (info.context or {}).get(_FETCH):
            raise PydanticCustomError("url_input", _URLS_ARE_OFF + "; send the image's bytes")
        return ImageUrl(value)
    return decode_base64(value)


def decode_base64(value: str) -> bytes:
    """The bytes of a base64 text, with or without `data:...;base64,` before it."""
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise PydanticCustomError("data_uri", "A data URI must read data:image/...;base64,...")
    try:
        return decode_base64_text(value)
    except ValueError as error:
        raise PydanticCustomError("base64", "The text is not base64 of an image file") from error


ImageBytes = Annotated[
    ImageSource,
    PlainValidator(read_image),
    WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "image/*",
            "description": "An image file in base64, with or without the prefix `data:...;base64,`. If the "
            "server's setting `urls.enabled` is on, also the https:// URL of an image.",
        }
    ),
]


async def read_body(request: Request) -> bytearray:
    """The request's whole body, which grows as it arrives: joining it at the end would block other requests."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
    return body


async def read_request(request: Request, model: type[Model], limits: LimitSettings, *, fetch_urls: bool) -> Model:
    """The request as `model`, from any of the three kinds of bodies. For tasks with several images, a zip is accepted
    too.

    fetch_urls: whether an image may be an address.

    Raises UnsupportedBody, MalformedBody, InvalidInput, and RequestValidationError with the nearest known field.
    """
    media_type = media_type_of(request)
    takes_several = "images" in model.model_fields
    options = list(request.query_params.multi_items())
    if media_type == "application/json":
        if options:
            raise InvalidInput(
                options[0][0], "query parameters do not go with a JSON body", hint="put them into the JSON object"
            )
        # Decoding base64 of large images takes long enough to block other requests.
        return await run_in(BODIES, validate, model, await read_body(request), limits, fetch_urls=fetch_urls)
    if media_type == "multipart/form-data":
        texts, files, lists = await _read_form(request, model, limits)

        def read() -> Model:
            images = unpack_archives(files, limits) if takes_several else files
            fields = {**fields_of(model, options + texts, limits), **_image_field(model, images), **lists}
            return validate(model, fields, limits, fetch_urls=fetch_urls)

        return await run_in(BODIES, read)
    zipped = media_type in MEDIA_TYPES and takes_several
    if zipped or media_type.startswith("image/") or media_type == ANY_BYTES:
        body = await read_body(request)
        zipped = zipped or (media_type == ANY_BYTES and takes_several and is_archive(body))

        def read_lone_file() -> Model:
            data = bytes(body)
            images = read_archive(data, limits) if zipped else [data]
            return validate(model, {**fields_of(model, options, limits), **_image_field(model, images)}, limits)

        return await run_in(BODIES, read_lone_file)
    raise UnsupportedBody(
        f"the Content-Type {media_type!r} is not read" if media_type else "the request has no Content-Type",
        hint="send one of: multipart/form-data (curl -F image=@cat.jpg -F labels=cat -F labels=dog URL); "
        'application/json ({"image": "<base64>", "labels": ["cat", "dog"]}); or the image itself with '
        "Content-Type: image/jpeg and its options in the query (URL?labels=cat&labels=dog)",
    )


def unpack_archives(files: Sequence[ImageSource], limits: LimitSettings) -> list[ImageSource]:
    """The files, in which each zip is replaced by its files.

    Raises InvalidInput for a zip that is refused. The bounds of one archive apply to all archives of a request
    together.
    """
    images: list[ImageSource] = []
    left = limits
    for file in files:
        if not (isinstance(file, bytes) and is_archive(file)):
            images.append(file)
            continue
        archived = read_archive(file, left)
        images.extend(archived)
        held = sum(len(file.data) for file in archived)
        left = left.model_copy(update={"max_archive_bytes": left.max_archive_bytes - held})
    return images


def validate(
    model: type[Model],
    content: Json | Mapping[str, Any],
    limits: LimitSettings | None = None,
    *,
    fetch_urls: bool = False,
    values_per_name: int = VALUES_PER_NAME,
) -> Model:
    """The content, JSON or the fields of a form as texts and bytes, as a `model`.

    limits: bounds on JSON from a client; None if the JSON was checked before. values_per_name: the JSON may hold one
    name for each so many values that it may hold. fetch_urls: whether images may be addresses.
    Raises MalformedBody for text that is not JSON, InvalidInput for too many values, and RequestValidationError for
    wrong fields.
    """
    if isinstance(content, Json):
        content = content.removeprefix(codecs.BOM_UTF8)  # editors and shells on Windows write it
    if isinstance(content, Json) and limits is not None:
        check_values(content, limits.max_json_values, values_per_name=values_per_name)
    try:
        return _as_model(model, content, fetch_urls=fetch_urls)
    except ValidationError as error:
        if (count := error.error_count()) > _MOST_LISTED:
            error = _first_errors(model, content, count, fetch_urls=fetch_urls)
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise MalformedBody(
                errors[0]["msg"] if content else "the body is empty",
                hint='send a JSON object in UTF-8, such as {"image": "<base64>", ...}',
            ) from error
        hinted = [_with_hint(dict(error), model, fetch_urls) for error in errors[:_MOST_HINTED]]
        raise RequestValidationError([*hinted, *errors[_MOST_HINTED:]]) from error


def _as_model(model: type[Model], content: Json | Mapping[str, Any], *, fetch_urls: bool) -> Model:
    if isinstance(content, Json):
        return model.model_validate_json(content, strict=True, context={_FETCH: fetch_urls})
    return model.model_validate(content, context={_FETCH: fetch_urls})


def _first_errors(
    model: type[BaseModel], content: Json | Mapping[str, Any], count: int, *, fetch_urls: bool
) -> ValidationError:
    """The errors in the beginning of each list and object of a body that has too many errors to list.

    Raises InvalidInput if the beginnings are right.
    """
    cut = shorten(from_json(content) if isinstance(content, Json) else dict(content))
    try:
        _as_model(model, to_json(cut) if isinstance(content, Json) else cut, fetch_urls=fetch_urls)
    except ValidationError as error:
        return error
    raise InvalidInput("body", f"{count:,} of its values were refused", hint="send a part of the list to see which")


def _with_hint(error: dict[str, Any], model: type[BaseModel], fetch_urls: bool) -> dict[str, Any]:
    """The error; for an unknown field, with the nearest known field in its message."""
    if error["type"] != "extra_forbidden":
        return error
    name = str(error["loc"][-1])
    if name in _URL_FIELDS and not fetch_urls:
        return {**error, "type": "url_input", "msg": _URLS_ARE_OFF, "ctx": {"hint": "send the image's bytes"}}
    if name in _URL_FIELDS:
        hint = "send the https:// address as `image`"
        return {**error, "msg": f"Unknown field; {hint}", "ctx": {"hint": hint}}
    if len(error["loc"]) > 1:
        return {**error, "msg": "Unknown field"}
    names = list(model.model_fields)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(names)}"
    return {**error, "msg": f"Unknown field; {hint}", "ctx": {"hint": hint}}


async def _read_form(
    request: Request, model: type[BaseModel], limits: LimitSettings
) -> tuple[list[tuple[str, str]], list[ImageSource], dict[str, list[bytes]]]:
    """(name, text) of the form's fields, the bytes of its images, and those of the model's further lists of images."""
    listed = {
        part: name for name, list_name in FILE_LISTS.items() if name in model.model_fields for part in (name, list_name)
    }
    # Enough for all labels and templates of one route, and for the longest lists of numbers of another.
    most_fields = 4 * limits.max_prompts + 256
    reading = open_form(
        request,
        max_files=limits.max_images + 1 + len(listed) * limits.max_shots,
        max_fields=most_fields,
        max_part_size=limits.max_upload_bytes,
    )
    texts: list[tuple[str, str]] = []
    files: list[ImageSource] = []
    lists: dict[str, list[bytes]] = {}
    try:
        async with reading as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    texts.append((name, value))
                elif name in FILE_PARTS:
                    files.append(await value.read())
                elif (listed_as := listed.get(name.removesuffix("[]"))) is not None:
                    lists.setdefault(listed_as, []).append(await value.read())
                else:
                    raise InvalidInput(
                        name,
                        f"the part {name!r} is a file ({value.filename!r})",
                        hint="send images as parts named 'image', and everything else as texts",
                    )
    except HTTPException as error:
        if str(error.detail).startswith("Too many files"):
            raise InvalidInput(
                "images", f"too many files; one request takes {limits.max_images}", hint="send fewer"
            ) from error
        if str(error.detail).startswith("Too many fields"):
            raise InvalidInput(
                "form", f"too many fields; one form takes {most_fields:,}", hint="send a list as one field of JSON"
            ) from error
        raise MalformedBody(
            f"the form can not be read: {error.detail}",
            hint="let the HTTP client write the multipart body and its boundary: curl -F image=@cat.jpg ...",
        ) from error
    return texts, files, lists


def _image_field(model: type[BaseModel], files: Sequence[ImageSource]) -> dict[str, Any]:
    """The files as the model's own field for images."""
    if not files:
        return {}
    if "images" in model.model_fields:
        return {"images": list(files)}
    if len(files) > 1:
        raise InvalidInput("image", f"{len(files)} images; this route takes one", hint="send one request for each")
    return {"image": files[0]}


def fields_of(
    model: type[BaseModel], texts: Iterable[tuple[str, str]], limits: LimitSettings | None = None
) -> dict[str, Any]:
    """Fields by name from (name, text) pairs: repeated names make a list, texts in JSON brackets are read as JSON.

    limits: bounds on texts from a client.
    Raises InvalidInput.
    """
    most = None if limits is None else limits.max_json_values
    by_name: dict[str, list[str]] = {}
    for name, text in texts:
        by_name.setdefault(name, []).append(text)
    fields: dict[str, Any] = {}
    for name, values in by_name.items():
        if takes(model, name, list):
            fields[name] = _parse_bracketed(name, values[0], "[]", most) if len(values) == 1 else values
            if isinstance(fields[name], str) and takes(model, name, dict):
                fields[name] = _parse_bracketed(name, values[0], "{}", most)
            if isinstance(fields[name], str):
                fields[name] = values
        elif len(values) > 1:
            raise InvalidInput(name, f"it was sent {len(values)} times", hint="send it once")
        else:
            fields[name] = _parse_bracketed(name, values[0], "{}", most)
    return fields


def _parse_bracketed(name: str, text: str, brackets: str, most: int | None) -> Any:
    """The JSON value of a text that begins and ends with these brackets, else the text itself."""
    stripped = text.strip()
    if not (stripped.startswith(brackets[0]) and stripped.endswith(brackets[1])):
        return text
    if most is not None:
        check_values(stripped, most, field=name)
    try:
        return from_json(stripped)
    except ValueError as error:
        example = json.dumps(["cat", "dog"]) if brackets == "[]" else '{"n_samples": [10, 50], "to_keep": [4, 1]}'
        raise InvalidInput(
            name, f"it is in {brackets}, but is not valid JSON: {error}", hint=f"write it like {example}"
        ) from error


def takes(model: type[BaseModel], name: str, kind: type) -> bool:
    """Whether a field of the model accepts this type, such as `list`."""
    field = model.model_fields.get(name)
    return field is not None and any(typing.get_origin(member) is kind for member in union_members(field.annotation))


def union_members(annotation: Any) -> list[Any]:
    """The types of a union, with nested unions expanded, without annotations; of another type, the type itself."""
    bare = bare_type(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return [member for part in typing.get_args(bare) for member in union_members(part)]
    return [bare]


def bare_type(annotation: Any) -> Any:
    """A type without annotations."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def media_type_of(request: Request) -> str:
    """The body's media type in lower case, without parameters; empty if there is none. Raises UnsupportedBody for a
    compressed body.
    """
    encoding = request.headers.get("content-encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        raise UnsupportedBody(f"Content-Encoding {encoding!r} is not read", hint="send the body uncompressed")
    content_type = request.headers.get("content-type", "")
    if not content_type:
        return ""
    message = Message()
    message["content-type"] = content_type
    return message.get_content_type() if "/" in content_type else content_type[:100]
