"""The `curl` command and the Python for a panel's request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

Fields = Sequence[tuple[str, str]]
"""Texts of a form, in their order; a list is a name that occurs several times."""

KEY_VARIABLE = "DIFFSIGHT_KEY"


def curl(
    url: str,
    fields: Fields,
    files: Sequence[tuple[str, str]],
    *,
    keyed: bool = False,
    streams: bool = False,
    output: str = "",
) -> str:
    """The `curl` command.

    files: the part and the name of each file. keyed: whether the server needs a key. streams: whether the answer is
    read as a stream. output: a file to write, for answers that are not text.
    """
    parts = ["curl -s" + ("N" if streams else "")]
    if keyed:
        parts.append(f'-H "Authorization: Bearer ${KEY_VARIABLE}"')
    if streams:
        parts.append("-H 'Accept: text/event-stream'")
    parts += [f"-F {shlex.quote(f'{part}=@{name}')}" for part, name in files]
    # `--form-string` takes a leading @ or < literally; `-F` would read a file name.
    parts += [
        f"{'--form-string' if value[:1] in ('@', '<') else '-F'} {shlex.quote(f'{name}={value}')}"
        for name, value in fields
    ]
    if output:
        parts.append(f"-o {shlex.quote(output)}")
    parts.append(shlex.quote(url))
    return " \\\n  ".join(parts)


def python(
    url: str,
    method: str,
    arguments: Mapping[str, Any],
    *,
    positional: Sequence[Any] = (),
    keyed: bool = False,
    streams: bool = False,
) -> str:
    """The same call by the Python client. arguments: by name, as Python values."""
    key = f', api_key=os.environ["{KEY_VARIABLE}"]' if keyed else ""
    heads = ["import os", ""] if keyed else []
    passed = [
        *(literal(value) for value in positional),
        *(f"{name}={literal(value)}" for name, value in arguments.items()),
    ]
    call = f"client.{method}({', '.join(passed)})"
    if len(call) > 90:
        call = f"client.{method}(\n    " + ",\n    ".join(passed) + ",\n)"
    lines = [*heads, "from diffsight_client import Client", "", f'client = Client("{url}"{key})']
    if streams:
        return "\n".join([*lines, f"for result in {call}:", "    print(result)"])
    return "\n".join([*lines, f"answer = {call}", "print(answer)"])


def literal(value: Any) -> str:
    """A value as Python source, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    return repr(value)


def text(value: Any) -> str:
    """A value as the text of a form's field."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
