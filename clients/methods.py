"""Operations of the OpenAPI document as methods of the Python client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clients.schema_types import docstring, name_of, option_type, references, type_of

JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"

# Written by hand, because their files are too large for memory; and routes that are not for clients.
_BY_HAND = {"begin_job", "job_results", "job_events"}
# Separate operations for each kind of body; a method uses one of them.
_BODIES = {"upload", "image", "zip"}
_OTHER_TAGS = {"Label Studio", "Hugging Face", "Open Inference Protocol", "Roboflow"}
# Parameters that come first in each method's documentation and signature, before the options.
_MANY = "images"
_OF_PYTHON = {"Any", "Image", "Iterable", "Literal", "Mapping", "None", "Sequence"}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method. name: the server's name. binary: whether it is an image, or images if `many`."""

    name: str
    annotation: str
    about: str
    required: bool
    place: str
    binary: bool = False
    many: bool = False

    @property
    def identifier(self) -> str:
        """The argument's name in Python."""
        return name_of(self.name)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. answer: of 2xx, a model's name, `bytes`, `str` or `None`. progress: model of its events."""

    name: str
    method: str
    path: str
    summary: str
    about: str
    arguments: tuple[Argument, ...]
    answer: str
    progress: str = ""

    def models(self) -> set[str]:
        """Names of the models that its method mentions."""
        annotations = [self.answer, self.progress, *(argument.annotation for argument in self.arguments)]
        return {word for text in annotations for word in re.findall(r"\b[A-Z]\w+", text)} - _OF_PYTHON


def operations_of(document: Mapping[str, Any]) -> list[Operation]:
    """The operations that get a method, by name.

    An operation can have others below it, for one kind of body or answer each. It gets one method for JSON, one for its
    files and one for its events; the client handles the other bodies itself.
    """
    operations: list[Operation] = []
    bases = {(path, method) for path, methods in document["paths"].items() for method in methods}
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            parent = path.rpartition("/")[0]
            name = entry["operationId"]
            part = (parent, method) in bases and name.startswith(f"{document['paths'][parent][method]['operationId']}_")
            if part or name in _BY_HAND or _OTHER_TAGS & set(entry.get("tags", ())):
                continue
            parts = {
                operation["operationId"].removeprefix(f"{name}_"): operation
                for below, inner in document["paths"].items()
                if below.rpartition("/")[0] == path
                and (operation := inner.get(method)) is not None
                and operation["operationId"].startswith(f"{name}_")
            }
            operations += _variants(path, method, entry, parts, document)
    return sorted(operations, key=lambda operation: operation.name)


def _variants(
    path: str,
    method: str,
    entry: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
    document: Mapping[str, Any],
) -> Iterator[Operation]:
    arguments = tuple(_arguments(entry, document))
    name, summary = entry["operationId"], entry["summary"]
    whole = Operation(name, method.upper(), path, summary, first_paragraph(entry), arguments, _answer(entry))
    yield whole
    parts = {part: operation for part, operation in parts.items() if part not in _BODIES}
    files = [part for part, operation in parts.items() if _answer(operation) == "bytes"]
    if files:
        about = " ".join(f"`{part}`: {_form_about(parts[part])}" for part in files)
        choice = Argument("format", f"Literal[{', '.join(map(repr, files))}]", about, True, "path")
        summary = f"{summary}: the answer as a file"
        yield replace(
            whole,
            name=f"{name}_file",
            path=f"{path}/{{format}}",
            summary=summary,
            arguments=(*arguments, choice),
            answer="bytes",
        )
    for part, part_entry in parts.items():
        if part == "events":
            yield _stream(whole, part_entry)
        elif part not in files:
            about = f"{part_entry['description']}"
            yield replace(whole, name=f"{name}_{part}", path=f"{path}/{part}", about=about, answer=_answer(part_entry))


def first_paragraph(entry: Mapping[str, Any]) -> str:
    """The first paragraph of an operation's description, on one line."""
    paragraph: str = entry.get("description", "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _form_about(entry: Mapping[str, Any]) -> str:
    """A description of a form, from the description of its operation."""
    about: str = entry["description"].partition(": ")[2]
    return about


def _stream(whole: Operation, entry: Mapping[str, Any]) -> Operation:
    events = entry["responses"]["200"]["content"][EVENTS]["x-events"]
    progress, final = (events[kind].rpartition("/")[2] for kind in ("progress", "answer"))
    return replace(
        whole,
        name=f"{whole.name}_stream",
        path=f"{whole.path}/events",
        summary=f"{whole.summary}: the result each time it improves, then the answer",
        answer=final,
        progress=progress,
    )


def _answer(entry: Mapping[str, Any]) -> str:
    """The annotation of an operation's answer."""
    status, response = next(
        (code, response_entry) for code, response_entry in entry["responses"].items() if code.startswith("2")
    )
    content = response.get("content", {})
    if status == "204":
        return "None"
    if JSON in content:
        return type_of(content[JSON]["schema"])
    return "str" if any(kind.startswith("text/") for kind in content) else "bytes"


def _arguments(entry: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Argument]:
    """The arguments of the path, the body and, without a body, the query; required ones come first."""
    body = entry.get("requestBody", {}).get("content", {})
    arguments = [
        _argument(
            parameter["name"],
            {**parameter["schema"], "description": parameter.get("description", "")},
            required=parameter["required"],
            place=parameter["in"],
        )
        for parameter in entry.get("parameters", ())
    ]
    if FORM in body:
        schema = document["components"]["schemas"][body[FORM]["schema"]["$ref"].rpartition("/")[2]]
        required = set(schema.get("required", ()))
        for name, property_schema in schema["properties"].items():
            arguments.append(_argument(name, property_schema, required=name in required, place="options"))
    elif body:
        arguments.append(Argument("data", "bytes", "The file as it was exported.", True, "body"))
    order = {"path": 0, "body": 1}
    yield from sorted(
        arguments, key=lambda argument: (not argument.required, order.get(argument.place, 2), not argument.binary)
    )


def _argument(name: str, schema: Mapping[str, Any], *, required: bool, place: str) -> Argument:
    many = schema.get("type") == "array"
    kind = schema.get("items", {}) if many else schema
    binary = kind.get("format") == "binary"
    about = schema.get("description", "")
    if binary:
        name = _MANY if name == "image" and many else name
        annotation = "Image | Iterable[Image]" if many else "Image"
        about = about if many and about else ("Images." if many else "The image.")
        return Argument(name, annotation, about, required, place, binary=True, many=many)
    if "default" in schema:
        about = f"{about} Default: {json.dumps(schema['default'], ensure_ascii=False)}.".lstrip()
    annotation = option_type(schema)
    if any(references(schema)) and "$ref" not in schema and "anyOf" not in schema:
        annotation = "Mapping[str, Any]"
    annotation = " | ".join(_either(part) for part in annotation.split(" | "))
    return Argument(name, annotation, about, required, place)


def _either(part: str) -> str:
    """Allow an object as its model or as a dictionary."""
    return f"{part} | Mapping[str, Any]" if part.endswith("Request") else part


def method_lines(operation: Operation, *, waits: bool) -> list[str]:
    """The method's code."""
    asynchronous = "" if waits or operation.progress else "async "
    returned = operation.answer
    if operation.progress:
        iterator = "Iterator" if waits else "AsyncIterator"
        returned = f"{iterator}[{operation.progress} | {operation.answer}]"
    needed = [f"{argument.identifier}: {argument.annotation}" for argument in operation.arguments if argument.required]
    free = [
        f"{argument.identifier}: {argument.annotation.removesuffix(' | None')} | None = None"
        for argument in operation.arguments
        if not argument.required
    ]
    positional = [
        parameter
        for parameter in needed
        if parameter.startswith(("image:", "images:")) or parameter.endswith(": bytes")
    ]
    positional += [
        parameter
        for parameter in needed
        if parameter.endswith(": str") and not positional and _in_path(parameter, operation)
    ]
    named = [parameter for parameter in (*needed, *free) if parameter not in positional]
    signature = ", ".join(["self", *positional, *(["*", *named] if named else [])])
    return [
        "",
        f"    {asynchronous}def {operation.name}({signature}) -> {returned}:",
        *docstring(_document(operation), "        "),
        f"        return {_call(operation, waits=waits)}",
    ]


def _in_path(argument: str, operation: Operation) -> bool:
    return f"{{{argument.partition(':')[0]}}}" in operation.path


def _document(operation: Operation) -> str:
    arguments = [
        f"{argument.identifier}: {argument.about}"
        for argument in operation.arguments
        if argument.about and argument.place != "path"
    ]
    about = "" if operation.about.startswith(operation.summary) else operation.about
    return "\n\n".join(part for part in (f"{operation.summary}.", about, "\n".join(arguments)) if part)


def _call(operation: Operation, *, waits: bool) -> str:
    path = operation.path
    for argument in operation.arguments:
        # A value of a fixed list needs no quoting.
        if argument.place == "path" and not argument.annotation.startswith("Literal"):
            path = path.replace(f"{{{argument.name}}}", f"{{quote({argument.identifier}, safe='')}}")
    read = {"None": "nothing", "str": "text_of", "bytes": "bytes"}.get(
        operation.answer, f"{operation.answer}.model_validate_json"
    )
    parts = [f'"{operation.method}"', f'{"f" if "{" in path else ""}"{path}"', read]
    for place, name in (("options", "options"), ("query", "query")):
        chosen = [argument for argument in operation.arguments if argument.place == place and not argument.binary]
        if chosen:
            parts.append(f"{name}={{{', '.join(f'{argument.name!r}: {argument.identifier}' for argument in chosen)}}}")
    if images := [argument for argument in operation.arguments if argument.binary]:
        parts.append(f"images={{{', '.join(f'{image.name!r}: {image.identifier}' for image in images)}}}")
    if any(argument.place == "body" for argument in operation.arguments):
        parts.append("body=data")
    if operation.progress:
        return f"self._events(Call({', '.join([*parts, 'accept=EVENTS'])}), {operation.progress})"
    if operation.answer in ("bytes", "str"):
        parts.append("accept=ANY")
    return f"{'' if waits else 'await '}self._call(Call({', '.join(parts)}))"
