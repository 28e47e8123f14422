"""The ML backend of Label Studio on real servers: the projects that it fills, and the places of their images."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backbones.errors import InvalidInput
from heads.outputs import Rle, decode_rle
from service.protocols.label_studio import finish_until
from service.protocols.label_studio_images import studio_images
from service.protocols.label_studio_project import prepare_controls, read_controls, version_of
from service.settings.loader import load_settings
from tests.conftest import WITHOUT_HEADS, Server, StartServer, running_server
from tests.heads.sdpose.test_pose import BOXES, POSE, PUBLISHED
from tests.service.jobs.formats.finished_jobs import unpack_brush
from tests.service.library.test_few_shot import picture, supports

TOKEN = "legacy-token"
JWT = "a.personal.token"
KEYPOINTS = """<View><Image name="picture" value="$photo"/>
<RectangleLabels name="other" toName="picture"><Label value="car"/></RectangleLabels>
<RectangleLabels name="points_bbox" toName="picture"><Label value="human"/></RectangleLabels>
<KeyPointLabels name="points" toName="picture">{labels}</KeyPointLabels></View>"""
NAMED = KEYPOINTS.format(labels='<Label value="nose"/><Label value="left_wrist"/><Label value="tail"/>')
INDEXED = KEYPOINTS.format(labels='<Label value="Nase" model_index="0"/><Label value="Hand" model_index="9"/>')
ORIGINS = ("prediction", "prediction-changed")


@contextmanager
def label_studio(png: bytes) -> Iterator[str]:
    """A server that sends one picture as Label Studio does: only for its tokens."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] in (f"Token {TOKEN}", "Bearer short-lived")
            if not allowed:
                return self.answer(401, b"who are you?")
            return self.answer(200, png) if self.path == "/data/upload/1/a.png" else self.answer(404, b"the inside")

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            fits = self.path == "/api/token/refresh" and JWT.encode() in sent
            self.answer(200 if fits else 401, b'{"access": "short-lived"}' if fits else b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def studio(png: bytes) -> Iterator[str]:
    with label_studio(png) as url:
        yield url


@pytest.fixture(scope="module")
def pose_server(studio: str) -> Iterator[Server]:
    settings: dict[str, Any] = {"label_studio": {"url": studio, "api_key": TOKEN}}
    with running_server(backbone=str(PUBLISHED), pose=POSE, **settings) as running:
        assert running.state.models.failure is None
        yield running


def uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def predict(server: Server, config: str, *images: Any, **more: Any) -> Any:
    tasks = [{"id": at, "data": {"photo": image, "image": image}} for at, image in enumerate(images)]
    return server.client.post("/label-studio/predict", json={"tasks": tasks, "label_config": config, **more})


def test_the_ml_backend_is_up_and_accepts_a_project(pose_server: Server) -> None:
    for path in ("/label-studio/health", "/label-studio/"):
        assert pose_server.client.get(path).json() == {"status": "UP", "model_class": "diffsight"}
    sent = {"project": "12.17", "schema": NAMED, "hostname": "http://x", "access_token": "t", "extra_params": None}
    answer = pose_server.client.post("/label-studio/setup", json=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"].split()[2] == "pose"
    assert pose_server.client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201
    assert pose_server.client.get("/label-studio/metrics").json() == {}


def test_points_come_under_the_projects_names(pose_server: Server, png: bytes) -> None:
    pose = pose_server.client.post("/v1/pose", files={"image": png}).json()
    person = pose["persons"][0]
    expected = {
        pose["names"][at]: (100 * x / 40, 100 * y / 30)
        for at, (x, y) in enumerate(person["keypoints"])
        if person["keypoint_scores"][at] >= 0.3 and 0 <= x <= 40 and 0 <= y <= 30
    }
    everything = "".join(f'<Label value="{name}"/>' for name in pose["names"])
    (answer,) = predict(pose_server, KEYPOINTS.format(labels=everything), uri(png)).json()["results"]
    box, *points = answer["result"]
    assert (box["from_name"], box["to_name"], box["type"]) == ("points_bbox", "picture", "rectanglelabels")
    assert box["value"]["rectanglelabels"] == ["human"]
    assert {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}.items() <= box["value"].items()
    assert {point["from_name"] for point in points} == {"points"}
    assert {point["parentID"] for point in points} == {box["id"]}
    assert {point["value"]["keypointlabels"][0] for point in points} == expected.keys()
    # Weights are random: some maps have no clear peak, so most points are compared, not all.
    near = [
        (point["value"]["x"], point["value"]["y"])
        == pytest.approx(expected[point["value"]["keypointlabels"][0]], abs=0.1)
        for point in points
    ]
    assert sum(near) >= 0.9 * len(near)


def test_labels_choose_points_by_name_or_by_index(pose_server: Server, png: bytes) -> None:
    for config, labels in ((NAMED, {"nose", "left_wrist"}), (INDEXED, {"Nase", "Hand"})):
        (answer,) = predict(pose_server, config, uri(png)).json()["results"]
        points = [region for region in answer["result"] if region["type"] == "keypointlabels"]
        assert {point["value"]["keypointlabels"][0] for point in points} <= labels


def rectangle(name: str, box: list[float], **more: Any) -> dict[str, Any]:
    """A rectangle that was drawn in the image of 40 x 30 pixels, as Label Studio sends it."""
    x, y, width, height = box
    value = {"x": x / 0.4, "y": y / 0.3, "width": width / 0.4, "height": height / 0.3, "rectanglelabels": ["human"]}
    about = {"id": name, "type": "rectanglelabels", "from_name": "points_bbox", "to_name": "picture"}
    return {**about, "value": value, "original_width": 40, "original_height": 30, "origin": "manual", **more}


def draw(server: Server, png: bytes, *regions: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """The answer to regions that are drawn for automatic annotation."""
    task = {"id": 1, "data": {"photo": uri(png)}, **more}
    sent = {"tasks": [task], "label_config": NAMED, "params": {"login": None, "context": {"result": list(regions)}}}
    (answer,) = server.client.post("/label-studio/predict", json=sent).json()["results"]
    assert 0 <= answer["score"] <= 1
    result: list[dict[str, Any]] = answer["result"]
    return result


def test_drawn_rectangles_are_the_persons(pose_server: Server, png: bytes) -> None:
    drawn = rectangle("aB3", BOXES[0])
    box, *points = draw(pose_server, png, drawn)
    # It stays, or Label Studio would throw it away with its suggestions; and it is known again in the next context.
    assert box == drawn | {"origin": "prediction-changed"}
    assert draw(pose_server, png, box) == [box]
    alone = pose_server.client.post("/v1/pose", json={"image": uri(png), "boxes": [BOXES[0]]}).json()
    places = dict(zip(alone["names"], alone["persons"][0]["keypoints"], strict=True))
    seen = dict(zip(alone["names"], alone["persons"][0]["keypoint_scores"], strict=True))
    inside = {name for name, (px, py) in places.items() if seen[name] >= 0.3 and 0 <= px <= 40 and 0 <= py <= 30} & {
        "nose",
        "left_wrist",
    }
    assert inside
    assert {point["value"]["keypointlabels"][0] for point in points} == inside
    assert {point["parentID"] for point in points} == {"aB3"}
    assert {point["id"] for point in points} == {f"aB3-kp-{alone['names'].index(name)}" for name in inside}
    broken = {"context": {"result": [drawn | {"value": {"x": 1, "rectanglelabels": ["human"]}}]}}
    assert predict(pose_server, NAMED, uri(png), params=broken).json()["field"] == "params"


def test_a_second_person_leaves_the_first_as_it_was_corrected(pose_server: Server, png: bytes) -> None:
    first, second = rectangle("first", BOXES[0]), rectangle("second", [5.0, 5.0, 20.0, 20.0])
    _, *points = draw(pose_server, png, first)
    corrected = [point | {"value": point["value"] | {"x": 1.0}} for point in points]
    for sent in (
        draw(pose_server, png, first, *corrected, second),
        draw(pose_server, png, first, second, drafts=[{"id": 1, "result": [first, *corrected]}], predictions=[3]),
        draw(pose_server, png, first, second, annotations=[{"result": corrected}, {"result": None}]),
    ):
        assert [region["id"] for region in sent if region["type"] == "rectanglelabels"] == ["first", "second"]
        others = [region for region in sent if region["type"] == "keypointlabels"]
        assert others
        assert {region["parentID"] for region in others} == {"second"}
        assert not {region["id"] for region in others} & {region["id"] for region in points}


def test_predicted_rectangles_keep_the_points_that_they_have(pose_server: Server, png: bytes) -> None:
    predicted = [rectangle(f"bbox-{at}", BOXES[0], origin=origin) for at, origin in enumerate(ORIGINS)]
    drawn = rectangle("mine", BOXES[0])
    *boxes, point, _ = draw(pose_server, png, *predicted, drawn)
    assert boxes == [*predicted, drawn | {"origin": "prediction-changed"}]
    assert point["parentID"] == "mine"


def test_other_rectangles_are_no_persons_and_nothing_drawn_is_nothing_found(pose_server: Server, png: bytes) -> None:
    car = rectangle("car", BOXES[0], from_name="other")
    car["value"]["rectanglelabels"] = ["car"]
    assert draw(pose_server, png, car) == []
    cat = rectangle("cat", BOXES[0])
    cat["value"]["rectanglelabels"] = ["cat"]
    assert draw(pose_server, png, cat) == [cat]  # not answered, so still as it was drawn
    assert draw(pose_server, png) == []


def test_images_lie_in_label_studio(pose_server: Server, studio: str, png: bytes, check_problem: Any) -> None:
    (sent,) = predict(pose_server, NAMED, uri(png)).json()["results"]
    for address in ("/data/upload/1/a.png", f"{studio}/data/upload/1/a.png"):
        (answer,) = predict(pose_server, NAMED, address).json()["results"]
        assert [region["id"] for region in answer["result"]] == [region["id"] for region in sent["result"]]
    wrong: tuple[Any, ...] = (
        "/nothing",
        "//nothing",
        "/a b",
        "s3://bucket/a.png",
        "https://example.org/a.png",
        7,
        None,
        "",
        "x",
    )
    for other in wrong:
        problem = check_problem(predict(pose_server, NAMED, other), 422, "invalid-input")
        assert problem["field"] == "tasks"
        assert "the inside" not in str(problem)


def test_one_broken_image_fails_alone_among_others(pose_server: Server, png: bytes) -> None:
    good, broken = predict(pose_server, NAMED, uri(png), uri(b"no image")).json()["results"]
    assert good["result"]
    assert broken.keys() == {"error"}  # with a `result`, Label Studio would keep an empty prediction for good


def test_images_that_all_fail_are_a_problem(pose_server: Server, check_problem: Any) -> None:
    problem = check_problem(predict(pose_server, NAMED, "/data/no.png", "/data/no.png"), 422, "invalid-input")
    assert "404" in problem["detail"]


def test_a_thousand_tasks_are_read_with_all_that_label_studio_sends_of_them(pose_server: Server, png: bytes) -> None:
    facts = {f"fact_{at}": "2026-11-30T06:17:20.158Z" for at in range(10)}
    tasks = [{"id": at, "data": {"photo": uri(png) if at == 0 else "nowhere.png"}, **facts} for at in range(1_100)]
    answer = pose_server.client.post("/label-studio/predict", json={"tasks": tasks, "label_config": NAMED})
    assert answer.status_code == 200, answer.text[:500]
    assert [at for at, result in enumerate(answer.json()["results"]) if "result" in result] == [0]
    tasks = [{"data": {}}] * 10_001
    answer = pose_server.client.post("/label-studio/predict", json={"tasks": tasks, "label_config": NAMED})
    assert (answer.status_code, answer.json()["field"]) == (422, "tasks")


def test_work_that_is_not_done_in_time_is_left_for_the_next_call() -> None:
    async def ready(value: int) -> int:
        return value

    async def never() -> int:
        await asyncio.Event().wait()
        return 0

    async def fail() -> int:
        raise ValueError("out of order")

    async def finish(*work: Coroutine[Any, Any, int]) -> list[int | None]:
        return await finish_until(
            [asyncio.create_task(coroutine) for coroutine in work], asyncio.get_running_loop().time()
        )

    assert asyncio.run(finish()) == []
    assert asyncio.run(finish(ready(1), never(), ready(3))) == [1, None, 3]
    with pytest.raises(ValueError, match="out of order"):
        asyncio.run(finish(never(), fail()))


def test_the_version_changes_with_parameters_and_labels(pose_server: Server) -> None:
    def version(config: str, **settings: Any) -> str:
        async def compute() -> str:
            async with prepare_controls(read_controls(config), pose_server.state) as fillings:
                fields = {"options": fillings[0].work.options.model_copy(update=settings)}
                return version_of([replace(fillings[0], work=replace(fillings[0].work, **fields))])

        return asyncio.run(compute())

    same = pose_server.client.post("/label-studio/setup", json={"schema": NAMED}).json()["model_version"]
    assert version(NAMED) == same
    assert len({same, version(NAMED, keypoint_threshold=0.31), version(INDEXED)}) == 3


def test_choices_are_made_by_a_classifier_or_zero_shot(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(backbone=str(WITHOUT_HEADS), data_folder=tmp_path)
    config = (
        '<View><Image name="i" value="$image"/><Choices name="what" toName="i">'
        '<Choice value="red"/><Choice value="blue" alias="B"/><Choice value="green"/></Choices></View>'
    )
    setup = server.client.post("/label-studio/setup", json={"schema": config}).json()["model_version"]
    assert setup.split()[2] == "zero-shot"
    (answer,) = predict(server, config, uri(plain("blue"))).json()["results"]
    alone = server.client.post(
        "/v1/classify/zero-shot", json={"image": uri(plain("blue")), "labels": ["red", "blue", "green"]}
    )
    (choice,) = answer["result"]
    named = {"red": "red", "blue": "B", "green": "green"}[alone.json()["label"]]
    assert (choice["from_name"], choice["to_name"], choice["value"]) == ("what", "i", {"choices": [named]})
    assert answer["score"] == choice["score"] == pytest.approx(alone.json()["posterior"][0]["probability"])
    files = [
        ("file", (f"{name}/{at}.png", plain(name, at), "image/png")) for name in ("red", "blue") for at in range(4)
    ]
    labels = [name for name in ("red", "blue") for _ in range(4)]
    made = server.client.post("/v1/classifiers", files=files, data={"name": "colours", "labels": labels})
    assert made.status_code == 201, made.text
    again = server.client.post("/label-studio/setup", json={"schema": config}).json()["model_version"]
    assert again.split()[2] == "classifier"
    answers = predict(server, config, uri(plain("blue", 9)), uri(plain("red", 9))).json()["results"]
    assert [answer["result"][0]["value"]["choices"] for answer in answers] == [["B"], ["red"]]


def plain(colour: str, at: int = 0) -> bytes:
    """A small picture of one colour, a little different with each number."""
    file = io.BytesIO()
    Image.new("RGB", (48 + at, 48), colour).save(file, "PNG")
    return file.getvalue()


def test_a_personal_token_is_changed_for_a_short_lived_one(studio: str) -> None:
    async def read(key: str) -> list[bytes]:
        state: Any = SimpleNamespace(settings=load_settings(label_studio={"url": studio, "api_key": key}))
        async with studio_images(state) as images:
            return [await images.read("/data/upload/1/a.png") for _ in range(2)]

    assert all(image.startswith(b"\x89PNG") for image in asyncio.run(read(JWT)))
    with pytest.raises(InvalidInput, match="answered 401 to the personal token"):
        asyncio.run(read("an.old.token"))


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View",
        "<View/>",
        '<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>',
        '<View><Image name="i" value="$i"/><BrushLabels name="c" toName="i"/></View>',
        '<View><KeyPointLabels name="k" toName="i"><Label value="nose"/></KeyPointLabels></View>',
        '<!DOCTYPE x [<!ENTITY a "b">]><View/>',
    ],
)
def test_a_project_that_cannot_be_filled_is_refused(
    pose_server: Server, png: bytes, config: str, check_problem: Any
) -> None:
    for response in (
        pose_server.client.post("/label-studio/setup", json={"schema": config}),
        predict(pose_server, config, uri(png)),
    ):
        assert check_problem(response, 422, "invalid-input")["field"] == "label_config"


def test_a_server_without_the_weights_says_so(start_server: StartServer, check_problem: Any) -> None:
    server = start_server(backbone=str(WITHOUT_HEADS))
    check_problem(server.client.post("/label-studio/setup", json={"schema": NAMED}), 404, "model-not-found")


def test_brushes_are_concepts_classes_and_expressions(
    start_server: StartServer,
    heads_folder: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    server = start_server(
        heads={name: str(heads_folder / f"{name}.safetensors") for name in ("segmentation", "referring")},
        few_shot={"weights": str(weights)},
        data_folder=tmp_path,
    )
    made = server.client.post("/v1/concepts", json={"name": "square", **supports(7)}).json()
    image = picture(3)
    classes = server.client.post("/v1/segmentation", files={"image": image}).json()
    present = max(classes["segments"], key=lambda item: item["area"])
    labels = ["square", present["name"], "a two"]
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    config = f'<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">{inside}</BrushLabels></View>'
    setup = server.client.post("/label-studio/setup", json={"schema": config}).json()
    assert setup["model_version"].split()[2] == "few-shot+segmentation+referring"
    (answer,) = predict(server, config, uri(image)).json()["results"]
    regions = {item["value"]["brushlabels"][0]: item for item in answer["result"]}
    assert {"square", present["name"]} <= regions.keys() <= set(labels)
    route = "/v1/segmentation/few-shot"
    alone = server.client.post(route, files={"image": image}, data={"concepts": made["id"]}).json()
    for name, concept in (("square", alone["concepts"][0]["mask"]), (present["name"], present)):
        expected = decode_rle(Rle(**concept["rle"]))
        pixels = unpack_brush(regions[name]["value"]["rle"]).reshape(*expected.shape, 4)[..., 3] > 0
        assert (pixels != expected).mean() < 0.005
        assert np.array_equal(pixels.shape, (regions[name]["original_height"], regions[name]["original_width"]))
