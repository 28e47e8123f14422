"""Requests that would use far more than their share, each with the statuses that may answer it."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from PIL import Image

from tests.fuzz.images import many_scans


@dataclass(frozen=True, slots=True)
class Attack:
    """One request. allowed: statuses that are right answers."""

    name: str
    path: str
    body: bytes
    content_type: str
    allowed: tuple[int, ...] = (422,)
    headers: Mapping[str, str] = field(default_factory=dict)


def blank(width: int, height: int) -> bytes:
    """A blank PNG."""
    file = BytesIO()
    Image.new("L", (width, height), 128).save(file, "PNG")
    return file.getvalue()


def form(parts: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """A multipart body of (name, file name or nothing, content), and its content type."""
    boundary = os.urandom(12).hex()
    body = b""
    for name, file, content in parts:
        shown = f'; filename="{file}"' if file else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def large_tile() -> bytes:
    """A TIFF of 64 x 64 pixels, in one tile of 40,000 x 40,000."""
    data = zlib.compress(bytes(64 * 1024))
    data += b"\0" * (len(data) % 2)
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 8, 325: len(data)}
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + listed + bytes(4)


def attacks(picture: bytes, folder: str) -> list[Attack]:
    """Every kind. picture: a small image. folder: one that jobs may read, with a pipe called `pipe.png` in it."""
    features, zero_shot, jobs = "/v1/features", "/v1/classify/zero-shot", "/v1/jobs"
    as_json = "application/json"
    zeros = ",".join(["0"] * 1_000_000)
    texts = ",".join(['"a"'] * 3_000_000)
    large, large_type = form([("image", "a.png", blank(7000, 7000))] * 24)
    labels, labels_type = form([("image", "a.png", picture), ("labels", "", f"[{texts}]".encode())])
    fields, fields_type = form([("task", "", b"features"), *[("urls", "", b"x" * 1_000_000)] * 24])
    wide, wide_type = form(
        [
            *[("image", f"{n}.png", picture) for n in range(4)],
            *[("labels", "", label) for label in (b"a", b"a", b"b", b"b")],
            ("head", "", b"attention"),
            ("blocks", "", b"mid_block"),
            ("head_options", "", b'{"width": 4096}'),
        ]
    )
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("a.png", picture)
        archive.writestr("a.json", b" " * 200_000_000)
    stars = {"task": "features", "source": f"{folder}/{'*?' * 12}*.nope"}
    pipes = {"task": "features", "source": folder}
    session = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    listed, listed_type = form([("task", "", b"features"), ("file", "a.mp4", b"ffconcat version 1.0\nfile a.mp4\n")])
    ports, ports_type = form([("task", "", b"features"), ("file", "a.mp4", session)])
    spaced = b'{"image":"' + b"A " * 8_000_000 + b'"}'
    image = base64.b64encode(picture).decode()
    unknown = {"image": image, **{f"n{n}": 1 for n in range(90_000)}}
    return [
        Attack("a million wrong images", features, f'{{"images":[{zeros}]}}'.encode(), as_json),
        Attack("90,000 wrong images", features, f'{{"images":[{zeros[:180_000]}0]}}'.encode(), as_json),
        Attack("90,000 unknown fields", features, json.dumps(unknown).encode(), as_json),
        Attack("base64 with spaces", features, spaced, as_json),
        Attack("labels without end", zero_shot, labels, labels_type),
        Attack("a JPEG of 3,000 scans", features, many_scans(4000, 3000), "image/jpeg"),
        Attack("24 pictures of 49 megapixels", features, large, large_type),
        Attack("a TIFF of one large tile", features, large_tile(), "image/tiff"),
        Attack("a head that fills the memory", "/v1/classifiers", wide, wide_type),
        Attack("texts without end in a job's form", jobs, fields, fields_type, (400, 422)),
        Attack("a zip that grows", jobs + "?task=features", bomb.getvalue(), "application/zip"),
        Attack("a pattern of many stars", jobs, json.dumps(stars).encode(), as_json, (201,)),
        Attack("a folder with a pipe", jobs, json.dumps(pipes).encode(), as_json, (201,)),
        Attack("a list that is called a video", jobs, listed, listed_type, (201, 422)),
        Attack("a port that is called a video", jobs, ports, ports_type, (201, 422)),
        Attack("a header without end", features, b"", "image/png", (431,), {"x-long": "a" * 1_000_000}),
    ]
