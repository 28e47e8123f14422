"""Convert file names to text that every database, JSON and terminal can hold."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

_LONE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bqBQ]\?[^?\s]*\?=")


def readable_name(path: str) -> str:
    """A path as text: bytes that are no UTF-8 are written `\\xe9`, half letters and zeros `\\ud800`.

    All other names stay as they are.
    """
    if not _LONE.search(path):
        return path
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that do not encode a byte
        text = path
    return _LONE.sub(lambda match: _escape(match[0]), text)


def terminal_text(name: str) -> str:
    """A name for a terminal: control characters, which could move its cursor, are written `\\x1b`."""
    return _CONTROLS.sub(lambda match: _escape(match[0]), readable_name(name))


def choose_upload_name(filename: str, disposition: str = "") -> str:
    """The intended name of an uploaded file, without folders.

    disposition: the part's whole Content-Disposition, whose `filename*` (RFC 5987) takes precedence over `filename`.
    Encoded words (RFC 2047), which .NET writes, are decoded.
    """
    name = _decode_extended_name(disposition) or filename
    if _ENCODED_WORD.fullmatch(name.strip()):
        with suppress(HeaderParseError, LookupError, ValueError):
            name = str(make_header(decode_header(name.strip())))
    return name.replace("\\", "/").rpartition("/")[2]


def _decode_extended_name(disposition: str) -> str:
    """The decoded value of `filename*`; "" without one, or for one that cannot be decoded."""
    if "filename*" not in disposition.lower():
        return ""
    message = Message()
    message["content-disposition"] = disposition
    parameters = message.get_params(header="content-disposition", unquote=True) or []
    values: list[Any] = [value for name, value in parameters if name.lower() == "filename"]
    if not values or not isinstance(values[-1], tuple):
        return ""
    charset, _, text = values[-1]
    try:
        # The library has decoded the percent signs, one character a byte.
        name: str = text.encode("latin-1").decode(charset or "utf-8")
        return name
    except (LookupError, ValueError):
        return ""


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
