"""Bodies that are small to send and large to read: JSON, forms, archives, pictures and videos of any size."""

from __future__ import annotations

import base64
import json
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from tests.conftest import Server
from tests.fuzz.api import wrong_problem
from tests.fuzz.images import many_scans, seed_images

Body = tuple[str, bytes, str | dict[str, str]]
"""Path, content, and content type or headers."""

_FEATURES, _ZERO_SHOT, _JOBS = "/v1/features", "/v1/classify/zero-shot", "/v1/jobs"
_JSON = "application/json"
# Statuses that a body may be answered with: all but those of server errors.
_ANSWERS = (200, 201, 400, 413, 415, 422, 429, 504)


def many_values(chance: random.Random) -> Body:
    """A list of many values of one kind, in any field."""
    value = chance.choice(["0", '"a"', "null", "[]", "{}", "1e999", "[0,0]", '{"a":0}'])
    name = chance.choice(["image", "images", "timesteps", "blocks", "labels", "nothing"])
    return _FEATURES, f'{{"{name}":[{",".join([value] * _size(chance))}]}}'.encode(), _JSON


def many_fields(chance: random.Random) -> Body:
    """Many unknown fields."""
    return _FEATURES, json.dumps({f"n{number}": number for number in range(_size(chance))}).encode(), _JSON


def deep_values(chance: random.Random) -> Body:
    """Lists and objects inside each other."""
    depth = _size(chance)
    opened, closed = chance.choice([("[", "]"), ('{"a":', "}")])
    return _FEATURES, f'{{"images":{opened * depth}0{closed * depth}}}'.encode(), _JSON


def spaced_text(chance: random.Random) -> Body:
    """Base64 with white space between its characters, and sometimes an invalid character."""
    picture = base64.b64encode(chance.choice(list(seed_images().values()))).decode()
    text = chance.choice([" ", "\\n", "\\t ", "="]).join(picture[at : at + 4] for at in range(0, len(picture), 4))
    return _FEATURES, json.dumps({"image": ""}).replace('""', f'"{text}"').encode(), _JSON


def long_field(chance: random.Random) -> Body:
    """A form's field that is a list of many values."""
    text = "[" + ",".join([chance.choice(['"a"', "0", "[]"])] * _size(chance)) + "]"
    parts = [("image", "a.png", seed_images()["rgb.png"]), (chance.choice(["labels", "seed"]), "", text.encode())]
    return _ZERO_SHOT, *_form(parts)


def long_job_texts(chance: random.Random) -> Body:
    """A job's form of many or long texts."""
    count = chance.randint(1, 1100)
    return _JOBS, *_form([("task", "", b"features"), *[("urls", "", b"x" * (_size(chance) // count))] * count])


def archive(chance: random.Random) -> Body:
    """A zip with odd names, copies and growth, or with an invalid COCO file."""
    file = BytesIO()
    with warnings.catch_warnings(), ZipFile(file, "w", ZIP_DEFLATED) as held:
        warnings.simplefilter("ignore")  # of names that occur twice
        for number in range(chance.randint(1, 30)):
            ending = chance.choice([".png", ".json", ".PNG", "", "/"])
            name = chance.choice(["a", "a/b", "../a", "/a", "a:b", "\u202f", "é", "a" * 200, "__MACOSX/a"])
            content = chance.choice([seed_images()["rgb.png"], b"\0" * _size(chance), b'{"images": [[]]}', b"[" * 9000])
            held.writestr(f"{name}{number if chance.random() < 0.8 else ''}{ending}", content)
    return chance.choice([_FEATURES, f"{_JOBS}?task=features"]), file.getvalue(), "application/zip"


def scans(chance: random.Random) -> Body:
    """A JPEG of many scans, by itself or in a TIFF."""
    data, side = many_scans(64, chance.choice([10, 80, 500, 3000])), 64
    if chance.random() < 0.5:
        return _FEATURES, data, "image/jpeg"
    return _FEATURES, _tiff({256: side, 257: side, 259: 7, 273: 8, 278: side, 279: len(data)}, data), "image/tiff"


def tiles(chance: random.Random) -> Body:
    """A TIFF whose tile is of any size."""
    data = zlib.compress(bytes(64 * 1024))
    width, height = (chance.choice([0, 1, 16, 64, 4096, 40_000, 2**32 - 1]) for _ in range(2))
    tags = {256: 64, 257: 64, 259: 8, 322: width, 323: height, 324: 8, 325: len(data)}
    return _FEATURES, _tiff(tags, data), "image/tiff"


def video(chance: random.Random) -> Body:
    """A playlist, which ffmpeg would follow to other files, named as a video."""
    text = chance.choice(
        [
            b"ffconcat version 1.0\nfile a.mp4\n",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
        ]
    )
    name = f"a{chance.choice(['.mp4', '.mkv', '.avi', '.webm', '.mov'])}"
    return _JOBS, *_form([("task", "", b"features"), ("file", name, text * chance.randint(1, 50))])


def tensors(chance: random.Random) -> Body:
    """Tensors of any shape and type, in JSON and after it, with right, wrong or no lengths."""
    picture = chance.choice(list(seed_images().values()))
    data = chance.choice(
        [struct.pack("<I", len(picture)) + picture, picture, bytes(12), b"\xff" * 9, bytes(_size(chance))]
    )
    shape = chance.choice([[1], [1, 1], [2, 2, 3], [len(data)], [0], [2**31, 2**31], [], [-1], [1] * 9])
    name = chance.choice(["image", "image", "labels", "nothing", "support_images"])
    tensor = {"name": name, "shape": shape, "datatype": chance.choice(["BYTES", "UINT8", "FP32", "BOOL", "INT64", "X"])}
    sizes = chance.choice([len(data), len(data), len(data) + 1, 0, -1, "1", None])
    extra: dict[str, object] = {} if sizes is None else {"parameters": {"binary_data_size": sizes}}
    if chance.random() < 0.3:
        extra["data"] = chance.choice([[1.5], ["a"], [[1], [2]], [[[]]], [0] * 12, [2**70], [None], [[1], 2]])
    outputs = chance.choice([[], [{"name": "answer"}], [{"name": "depth", "parameters": {"binary_data": 1}}]])
    parameters = chance.choice([{}, {"timeout": -1}, {"priority": 3, "flip": "?"}, {"sequence_id": 1}, {"scene": []}])
    body = {"inputs": [{**tensor, **extra}] * chance.randint(1, 3), "outputs": outputs, "parameters": parameters}
    head = json.dumps(body).encode()
    length = chance.choice([len(head), len(head), len(head), len(head) + 1, 0, 10**9])
    path = f"/v2/models/{chance.choice(['depth', 'features', 'zero-shot', 'few-shot'])}/infer"
    return path, head + data, {"Inference-Header-Content-Length": str(length)}


def foreign(chance: random.Random) -> Body:
    """JSON for the routes of other servers' clients, with values of any kind in its members."""
    text = base64.b64encode(chance.choice(list(seed_images().values()))).decode()
    odd: list[object] = [None, True, -1, 1e300, "", "é", "https://127.0.0.1/a", text, [], [text] * 9]
    odd += [{}, {"type": "base64"}, [[[]]]]
    odd += [{"type": "url", "value": "file:///etc/passwd"}, {"type": "base64", "value": text}, {"threshold": 0}]
    odd += [{"candidate_labels": ["a", "b"] * chance.randint(1, 9)}, {"top_k": 10**9}]
    path, names = chance.choice(
        [
            ("/hf/zero-shot-image-classification", ("inputs", "parameters")),
            ("/hf/image-segmentation", ("inputs", "parameters")),
            ("/hf/feature-extraction", ("inputs", "normalize")),
            ("/hf/object-detection/pocket", ("inputs", "parameters")),
            ("/roboflow/infer/keypoints_detection", ("image", "confidence", "class_filter", "visualize_predictions")),
            ("/roboflow/infer/instance_segmentation", ("image", "model_id", "class_filter", "max_detections")),
            ("/roboflow/infer/depth-estimation", ("image", "depth_map_format", "model_id")),
            ("/roboflow/clip/compare", ("subject", "prompt", "subject_type")),
            ("/roboflow/model/add", ("model_id",)),
            ("/v2/repository/models/depth/load", ("parameters",)),
        ]
    )
    body = {name: chance.choice(odd) for name in names if chance.random() < 0.9}
    return path, json.dumps(body).encode(), chance.choice([_JSON, "image/png", "application/octet-stream"])


KINDS: tuple[Callable[[random.Random], Body], ...] = (
    many_values,
    many_fields,
    deep_values,
    spaced_text,
    long_field,
    long_job_texts,
    archive,
    scans,
    tiles,
    video,
    tensors,
    foreign,
)


def hostile_bodies(count: int, seed: int) -> Iterator[tuple[str, Body]]:
    """`count` bodies, every kind in turn, with names that say which; the same for the same seed."""
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        yield f"{index} {kind.__name__}", kind(random.Random(f"{seed} {index}"))


def fuzz_bodies(server: Server, *, count: int, seed: int, on_case: Callable[[], object]) -> dict[str, str]:
    """What is wrong with the answers to hostile bodies: name -> text."""
    wrong: dict[str, str] = {}
    for name, (path, content, sent) in hostile_bodies(count, seed):
        headers = {"Content-Type": sent} if isinstance(sent, str) else sent
        answer = server.client.post(path, content=content, headers=headers)
        problem = wrong_problem(answer.status_code, answer.headers, answer.content, path)
        if answer.status_code not in _ANSWERS or problem:
            wrong[name] = f"{answer.status_code} {problem}: {answer.text[:500]}"
        on_case()
    return wrong


def _size(chance: random.Random) -> int:
    """Mostly small, sometimes large."""
    return int(10 ** chance.uniform(0, 5.3))


def _form(parts: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """A multipart body of (name, file name or nothing, content), and its content type."""
    body = b""
    for name, file, content in parts:
        shown = f'; filename="{file}"' if file else ""
        body += f'--part\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--part--\r\n", "multipart/form-data; boundary=part"


def _tiff(tags: dict[int, int], data: bytes) -> bytes:
    """A grey TIFF whose data begin at byte 8."""
    data += b"\0" * (len(data) % 2)
    tags = {**tags, 258: 8, 262: 1, 277: 1}
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + listed + bytes(4)
