"""Names in the encoding of the sender, and as texts that a database can hold."""

from __future__ import annotations

import pytest

from service.inputs.names import choose_upload_name, readable_name, terminal_text

pytestmark = pytest.mark.field


@pytest.mark.parametrize(
    ("filename", "disposition", "expected"),
    [
        ("a.png", "", "a.png"),
        ("C:\\pictures\\a.png", "", "a.png"),
        ("x/y/a.png", "", "a.png"),
        ("=?utf-8?B?Y2Fmw6kucG5n?=", "", "café.png"),
        ("=?utf-8?q?caf=C3=A9.png?=", "", "café.png"),
        ("=?nonsense?B?Y2Fm?=", "", "=?nonsense?B?Y2Fm?="),
        ("file", "form-data; name=file; filename*=UTF-8''caf%C3%A9.png", "café.png"),
        ("=?utf-8?B?eA==?=", "form-data; filename=\"=?utf-8?B?eA==?=\"; filename*=utf-8''y.png", "y.png"),
        ("file", "form-data; filename*=iso-8859-1'en'caf%E9.png", "café.png"),
        ("file", "form-data; filename*=UTF-8''caf%E9.png", "file"),
    ],
)
def test_a_sent_name_is_read_in_any_encoding(filename: str, disposition: str, expected: str) -> None:
    assert choose_upload_name(filename, disposition) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("caf\udce9.png", "caf\\xe9.png"),
        ("a\ud800.png", "a\\ud800.png"),
        ("a\0b", "a\\x00b"),
        ("Screenshot\u202fAM \u200d \ufffe\x07.png", "Screenshot\u202fAM \u200d \ufffe\x07.png"),
    ],
)
def test_a_name_is_changed_only_where_no_text_holds_it(path: str, text: str) -> None:
    assert readable_name(path) == text
    readable_name(path).encode()


def test_a_terminal_gets_no_control_characters() -> None:
    assert terminal_text("a\x1b[2J\u202eb.png") == "a\\x1b[2J\\u202eb.png"
