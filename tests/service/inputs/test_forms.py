"""Forms of clients that write names of files their own way."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.field


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data; name=image; filename*=UTF-8''caf%C3%A9.png",
        'form-data; name="image"; filename="=?utf-8?B?Y2Fmw6kucG5n?="; filename*=utf-8\'\'caf%C3%A9.png',
        'form-data; name="image"; filename="blob"',
    ],
)
def test_a_part_with_any_kind_of_file_name_is_a_file(server: Any, png: bytes, disposition: str) -> None:
    head = f"--x\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/v1/features", content=head + png + b"\r\n--x--\r\n", headers=kind)
    assert answer.status_code == 200, answer.text
