"""Forms of clients that encode file names in their own way."""

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
        'form-data; name="image"',
        'form-data; name="image"\r\nContent-Type: image/png',
    ],
)
def test_a_part_with_any_kind_of_file_name_is_a_file(server: Any, png: bytes, disposition: str) -> None:
    head = f"--x\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/v1/features", content=head + png + b"\r\n--x--\r\n", headers=kind)
    assert answer.status_code == 200, answer.text


def test_a_file_without_a_name_begins_a_job(server: Any, png: bytes) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="task"\r\n\r\nfeatures\r\n'
    head += b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/v1/jobs", content=head + png + b"\r\n--x--\r\n", headers=kind)
    assert answer.status_code == 201, answer.text
    assert server.client.delete(f"/v1/jobs/{answer.json()['id']}").status_code == 204


def test_files_without_names_are_counted_and_texts_in_other_scripts_stay_texts(server: Any, png: bytes) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + png + b"\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    many = server.client.post("/v1/features", content=part * 200 + b"--x--\r\n", headers=kind)
    assert (many.status_code, many.json()["field"]) == (422, "images")
    label = b'--x\r\nContent-Disposition: form-data; name="expression"\r\n\r\ncaf\xe9\r\n'
    answer = server.client.post("/v1/segmentation/referring", content=label + part + b"--x--\r\n", headers=kind)
    assert answer.json()["masks"][0]["name"] == "café"


@pytest.mark.parametrize(("end", "status"), [("\r\n--x--\r\n", 200), ("\r\n--x--", 200), ("\r\n", 400), ("", 400)])
def test_a_form_that_is_cut_short_does_not_lose_its_last_part_in_silence(
    server: Any, png: bytes, end: str, status: int
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + png
    last = f'\r\n--x\r\nContent-Disposition: form-data; name="timesteps"\r\n\r\n100{end}'.encode()
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/v1/features", content=head + last, headers=kind)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert "last boundary" in answer.json()["detail"]
