"""What holds for every task: a new entry of `service.tasks.TASKS` is tested here without another line."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import httpx2
import numpy as np
import pytest
from PIL import Image, ImageOps

from heads.task import JSON, NPY, PNG
from service.tasks import TASKS, AnyTask
from tests.conftest import Server, running_server
from tests.heads.marigold.original_files import write_original as write_marigold
from tests.service.conftest import assert_problem, encode_image
from tests.service.models.small_catalogue import BACKBONES, add_all, write_backbone

# Cheaper than the task's own example, or with an id that the server makes.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "depth": {"maps": True},
    "pose": {"persons": "whole_image"},
    "zero-shot": {"labels": ["a zero", "a one"], "schedule": {"n_samples": [3], "to_keep": [1]}},
    "label-tree": {"tree": {"number": ["zero", "one"]}, "budget": 32},
    "image-text": {"captions": ["a one", "a zero"], "interval": 500},
}
AT_ONCE = 16


@dataclass(frozen=True)
class Subject:
    """A task with cheap options. path: its route. options: for route, job and perceive.

    fields: of a request to its route that brings all it needs by itself.
    """

    task: AnyTask
    path: str
    options: Mapping[str, Any]
    fields: Mapping[str, Any]


def text(file: bytes) -> str:
    return base64.b64encode(file).decode()


def draw_bar(seed: int, *, upright: bool = True) -> Image.Image:
    """A bright bar on noise, upright or lying, 32 by 32."""
    pixels = np.random.default_rng(seed).integers(0, 60, (32, 32, 3), dtype=np.uint8)
    pixels[(slice(4, 28), slice(12, 20)) if upright else (slice(12, 20), slice(4, 28))] = 250
    return Image.fromarray(pixels)


def odd_pictures(picture: Image.Image) -> dict[str, bytes]:
    """Files of odd sizes and kinds: name -> bytes."""
    grey16 = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
    files = {
        "one pixel": encode_image(Image.new("RGB", (1, 1), "red"), "PNG"),
        "wide strip": encode_image(picture.resize((40, 1)), "PNG"),
        "tall strip": encode_image(picture.resize((1, 40)), "PNG"),
        "grey": encode_image(picture.convert("L"), "PNG"),
        "alpha": encode_image(picture.convert("RGBA"), "PNG"),
        "16 bit": encode_image(grey16, "PNG"),
    }
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"turned by {orientation}"] = encode_image(picture, "JPEG", exif=exif)
    return files


def upright_size(file: bytes) -> tuple[int, int]:
    """(width, height) as Pillow turns it."""
    with Image.open(BytesIO(file)) as image:
        return ImageOps.exif_transpose(image).size


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of every task: of the embedded models, and of random weights for tasks whose weights do not ship."""
    folder = tmp_path_factory.mktemp("models")
    unet, seed = BACKBONES["sd21"]
    originals = {"sd21": write_backbone(folder / "sd21", unet, seed)}
    for prediction in ("depth", "normals"):
        originals[f"marigold-{prediction}"] = write_marigold(prediction, folder / prediction, unet=unet)
    add_all(originals, folder / "models")
    with running_server(models_folder=folder / "models", models=["pocket", *originals]) as running:
        assert running.state.models.failure is None
        yield running


@pytest.fixture(scope="module")
def stored_options(server: Server) -> Iterator[dict[str, dict[str, Any]]]:
    """Options with the ids of a classifier and of a concept that were made over REST."""
    pictures = [draw_bar(seed, upright=seed % 2 == 0) for seed in range(6)]
    files = [("image", encode_image(picture, "PNG")) for picture in pictures]
    labels = ["upright" if seed % 2 == 0 else "lying" for seed in range(6)]
    classifier = _read_id(server.client.post("/v1/classifiers", files=files, data={"labels": labels}))
    concept = _read_id(server.client.post("/v1/concepts", json={"name": "bar", **supports("images", "masks")}))
    yield {"classifier": {"classifier": classifier, "top": 2}, "few-shot": {"concepts": [concept]}}
    server.client.delete(f"/v1/classifiers/{classifier}")
    server.client.delete(f"/v1/concepts/{concept}")


def _read_id(response: httpx2.Response) -> str:
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def supports(images: str, masks: str) -> dict[str, list[str]]:
    """A support and its mask under these names."""
    shown = draw_bar(0)
    mask = shown.convert("L").point(lambda value: 255 if value > 128 else 0)
    return {images: [text(encode_image(shown, "PNG"))], masks: [text(encode_image(mask, "PNG"))]}


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: task.name)
def subject(request: pytest.FixtureRequest, stored_options: dict[str, dict[str, Any]]) -> Subject:
    task: AnyTask = request.param
    options = {**OPTIONS.get(task.name, task.example), **stored_options.get(task.name, {})}
    in_path = {name: value for name, value in options.items() if f"{{{name}}}" in task.route}
    fields = {name: value for name, value in options.items() if name not in in_path}
    if task.inputs == "image_supports":
        fields = supports("support_images", "support_masks")
    return Subject(task, task.route.format(**in_path), options, fields)


def ask(server: Server, subject: Subject, file: bytes, **fields: Any) -> httpx2.Response:
    body = {"image": text(file), **subject.fields, **fields}
    response = server.client.post(subject.path, json=body)
    assert response.status_code == 200, response.text
    return response


def drop_envelope(subject: Subject, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without its envelope."""
    return {name: answer[name] for name in subject.task.answer.model_fields if name in answer}


def numbers(value: Any, name: str = "") -> dict[str, list[float]]:
    """All numbers of a JSON value by their name, or that of their list without the plural's `s`.

    Lists keep their order; objects, which have none, are read by name.
    """
    numbers_by_name: dict[str, list[float]] = {}
    if isinstance(value, bool | str) or value is None:
        return numbers_by_name
    if isinstance(value, int | float):
        return {name.removesuffix("s"): [value]}
    parts = sorted(value.items()) if isinstance(value, Mapping) else [(name, item) for item in value]
    for key, part in parts:
        for leaf, values in numbers(part, key).items():
            numbers_by_name.setdefault(leaf, []).extend(values)
    return numbers_by_name


def assert_close(answer: Any, other: Any) -> None:
    """Both hold the same numbers, as float arithmetic in other batches allows."""
    first, second = numbers(answer), numbers(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert second[name] == pytest.approx(values, rel=1e-3, abs=1e-3), name


@pytest.fixture(scope="module")
def answers_alone(server: Server, subject: Subject, picture: Image.Image) -> dict[str, dict[str, Any]]:
    """The task's answer to each odd picture, one after the other."""
    return {name: ask(server, subject, file).json() for name, file in odd_pictures(picture).items()}


@pytest.fixture(scope="module")
def answer(server: Server, subject: Subject, png: bytes) -> dict[str, Any]:
    """The route's answer to the picture, with the options that a job and perceive take too."""
    if subject.task.inputs != "image_supports":
        return dict(ask(server, subject, png).json())
    response = server.client.post(subject.path, json={"image": text(png), **subject.options})
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.fixture(scope="module")
def job(server: Server, subject: Subject, png: bytes) -> Iterator[str]:
    """A job that has ended: the picture and the task's options."""
    request = {"task": subject.task.name, "parameters": json.dumps(subject.options)}
    begun = server.client.post("/v1/jobs", data=request, files={"file": ("picture.png", png)})
    address = f"/v1/jobs/{_read_id(begun)}"
    server.client.get(f"{address}/events")  # it ends with the job
    ended = server.client.get(address).json()
    assert (ended["status"], ended["done"], ended["failed"]) == ("done", 1, 0), ended
    yield address
    server.client.delete(address)


def test_odd_pictures_are_answered_in_their_own_size(
    answers_alone: dict[str, dict[str, Any]], subject: Subject, picture: Image.Image
) -> None:
    for name, file in odd_pictures(picture).items():
        image = answers_alone[name]["images"][0] if subject.task.inputs == "images" else answers_alone[name]["image"]
        assert (image["width"], image["height"]) == upright_size(file), name


def test_an_answer_does_not_depend_on_what_runs_beside_it(
    answers_alone: dict[str, dict[str, Any]], server: Server, subject: Subject, picture: Image.Image
) -> None:
    files = list(odd_pictures(picture).items())
    requests = [files[place % len(files)] for place in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = list(pool.map(lambda request: ask(server, subject, request[1]).json(), requests))
    for (name, _), beside in zip(requests, together, strict=True):
        assert_close(drop_envelope(subject, answers_alone[name]), drop_envelope(subject, beside))


def test_every_form_is_what_it_says(server: Server, subject: Subject, png: bytes, picture: Image.Image) -> None:
    for name, form in subject.task.forms.items():
        response = ask(server, subject, png, format=name)
        assert response.headers["content-type"] == form.media_type, name
        if form.media_type == PNG:
            with Image.open(BytesIO(response.content)) as opened:
                assert (opened.format, opened.size) == ("PNG", picture.size), name
        elif form.media_type == NPY:
            assert np.load(BytesIO(response.content), allow_pickle=False).size, name
        else:
            assert form.media_type == JSON, name
            answer_type = form.answer or subject.task.answer
            assert response.json().keys() >= answer_type.model_fields.keys(), name


def test_a_job_gives_the_numbers_of_the_route(
    job: str, answer: dict[str, Any], server: Server, subject: Subject
) -> None:
    (line,) = server.client.get(f"{job}/results").text.splitlines()
    result = json.loads(line)
    size = result.pop("image")
    image = answer["images"][0] if subject.task.inputs == "images" else answer["image"]
    assert size == {"width": image["width"], "height": image["height"]}
    of_job, of_route = numbers(result), numbers(drop_envelope(subject, answer))
    shared = of_job.keys() & of_route.keys()
    assert shared
    assert_close({name: of_job[name] for name in shared}, {name: of_route[name] for name in shared})


def test_every_export_can_be_read(job: str, server: Server, subject: Subject) -> None:
    assert set(server.client.get(job).json()["formats"]) == {"jsonl", *subject.task.exports}
    for name in subject.task.exports:
        response = server.client.get(f"{job}/results", params={"format": name})
        assert response.status_code == 200, response.text
        media_type = response.headers["content-type"].partition(";")[0]
        if media_type == "application/zip":
            with zipfile.ZipFile(BytesIO(response.content)) as archive:
                assert archive.testzip() is None
                assert archive.namelist(), name
        elif media_type == "application/xml":
            assert len(ElementTree.fromstring(response.text)), name
        else:
            assert media_type == JSON
            assert response.json(), name


def test_perceive_gives_the_numbers_of_the_route(
    answer: dict[str, Any], server: Server, subject: Subject, png: bytes
) -> None:
    tasks = {subject.task.name: subject.options}
    response = server.client.post("/v1/perceive", json={"image": text(png), "tasks": tasks})
    assert response.status_code == 200, response.text
    assert_close(response.json()[subject.task.name], drop_envelope(subject, answer))


def test_the_server_lists_it_with_defaults_that_it_takes(server: Server, subject: Subject) -> None:
    (listed,) = [task for task in server.client.get("/v1/models").json()["tasks"] if task["task"] == subject.task.name]
    assert listed["route"] == subject.task.route
    assert listed["formats"] == ["json", *subject.task.forms]
    assert set(listed["exports"]) == subject.task.exports
    fields = subject.task.options.model_fields
    defaults = {name: value for name, value in listed["defaults"].items() if name in fields}
    if subject.task.name == "pose":
        assert defaults.pop("points") == 17  # 0.1 gave the number of keypoints under an option's name
    subject.task.options.model_validate_json(json.dumps({**subject.options, **defaults}))


def test_an_unknown_option_is_refused_with_the_nearest(server: Server, subject: Subject, png: bytes) -> None:
    for name in subject.task.options.model_fields:
        if f"{{{name}}}" in subject.task.route:
            continue
        body = {"image": text(png), **subject.fields, f"{name}x": 1}
        problem = assert_problem(server.client.post(subject.path, json=body), 422, "invalid-input")
        assert problem["field"] == f"{name}x"
        assert f"did you mean {name}?" in problem["hint"]


def test_every_option_is_described(subject: Subject) -> None:
    schema = subject.task.options.model_json_schema()
    for model in (schema, *schema.get("$defs", {}).values()):
        silent = [name for name, field in model.get("properties", {}).items() if not field.get("description")]
        assert not silent, f"{model['title']}: no description of {', '.join(silent)}"
