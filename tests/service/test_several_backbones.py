"""One server with all added models: every task answers as on a server with its backbone alone."""

from __future__ import annotations

import asyncio
import base64
import gc
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heads.feature_pooling import features
from heads.vpd import depth
from service.models import slots as slots_module
from service.models import store as store_module
from service.models.slots import networks_in, networks_of
from tests.conftest import Server, StartServer
from tests.service.conftest import encode_image
from tests.service.models.small_catalogue import add_all, write_originals

TASKS = ("depth", "segmentation", "referring", "pose", "few-shot", "zero-shot", "features")
SMALL: dict[str, Any] = {"pose": {"crop_width": 96, "crop_height": 128}, "few_shot": {"image_size": 64}}
"""The smallest pictures that the settings allow: the tests are about which network answers."""
OF_SD15, OF_SD21 = TASKS[:3], TASKS[3:5]


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one of each model."""
    folder = tmp_path_factory.mktemp("catalogue")
    add_all(write_originals(folder / "originals"), folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def full_server(start_server: StartServer, models_folder: Path) -> Server:
    """A server with the models folder as its only setting."""
    running = start_server(models_folder=models_folder, **SMALL)
    assert running.state.models.failure is None
    return running


@pytest.fixture(scope="module")
def bodies(png: bytes) -> dict[str, dict[str, Any]]:
    image = base64.b64encode(png).decode()
    return {
        "depth": {"image": image},
        "segmentation": {"image": image},
        "referring": {"image": image, "expressions": ["the stroke"]},
        "pose": {"image": image, "boxes": [[4, 2, 20, 24]]},
        "few-shot": {"image": image, "support_images": [image], "support_masks": [image]},
        "zero-shot": {"image": image, "labels": ["cat", "dog"], "schedule": {"n_samples": [2], "to_keep": [1]}},
        "features": {"image": image, "timesteps": [100]},
    }


def route(server: Server, task: str) -> str:
    return next(entry.route for entry in server.state.tasks if entry.name == task)


def ask(server: Server, task: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = server.client.post(route(server, task), json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def assert_alike(actual: Any, expected: Any) -> None:
    """Equal except for the last digits of numbers, the timings, and rows that a cached bank saves."""
    if isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            if key not in ("timing", "rows"):
                assert_alike(actual[key], expected[key])
    elif isinstance(actual, list):
        assert len(actual) == len(expected)
        for left, right in zip(actual, expected, strict=True):
            assert_alike(left, right)
    elif isinstance(actual, float):
        assert actual == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert actual == expected


def test_every_task_is_answered_by_the_backbone_of_its_weights(full_server: Server, bodies: dict[str, Any]) -> None:
    backbones = {task: ask(full_server, task, bodies[task])["backbone"]["name"] for task in TASKS}
    assert {backbones[task] for task in OF_SD15} == {"sd15"}
    assert {backbones[task] for task in OF_SD21} == {"sd21"}
    listed = full_server.client.get("/v1/models").json()
    assert {model["id"]: model["state"] for model in listed["models"]} == dict.fromkeys(
        ("sd15", "sd21", "vpd-depth", "vpd-segmentation", "vpd-referring", "sdpose-body", "diffews"), "READY"
    )
    by_task = {task["task"]: task for task in listed["tasks"]}
    assert by_task["pose"]["model"] == "sdpose-body"
    assert by_task["features"]["models"] == ["sd15", "sd21"]
    assert by_task["features"]["model"] == "sd15"


def test_answers_are_those_of_a_server_with_that_backbone_alone(
    full_server: Server, start_server: StartServer, models_folder: Path, bodies: dict[str, Any]
) -> None:
    alone = {
        "sd15": start_server(
            models_folder=models_folder,
            backbone="sd15",
            heads={task: f"vpd-{task}" for task in OF_SD15},
        ),
        "sd21": start_server(
            models_folder=models_folder,
            backbone="sd21",
            pose={**SMALL["pose"], "checkpoint": "sdpose-body"},
            few_shot={**SMALL["few_shot"], "weights": "diffews"},
        ),
    }
    for name, server in alone.items():
        assert server.state.models.failure is None
        for task in TASKS:
            if task not in (OF_SD21 if name == "sd15" else OF_SD15):
                body = {**bodies[task], "model": name} if task in ("zero-shot", "features") else bodies[task]
                assert_alike(ask(full_server, task, body), ask(server, task, bodies[task]))


def test_a_whole_pose_folder_as_the_backbone_serves_few_shot_weights_too(
    full_server: Server, start_server: StartServer, models_folder: Path, bodies: dict[str, Any], tmp_path: Path
) -> None:
    originals = models_folder.parent / "originals"
    whole = shutil.copytree(originals / "sdpose", tmp_path / "whole")
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(originals / "sd21" / part, whole / part)
    few_shot = {**SMALL["few_shot"], "weights": "diffews"}
    alone = start_server(models_folder=models_folder, backbone=str(whole), pose=SMALL["pose"], few_shot=few_shot)
    assert alone.state.models.failure is None
    for task, result in (("pose", "persons"), ("few-shot", "concepts")):
        answer = ask(alone, task, bodies[task])
        assert answer["backbone"]["name"] == "whole"
        assert_alike(answer[result], ask(full_server, task, bodies[task])[result])


def test_a_request_chooses_its_model(full_server: Server, bodies: dict[str, Any], png: bytes) -> None:
    for name in ("sd15", "sd21"):
        assert ask(full_server, "features", {**bodies["features"], "model": name})["backbone"]["name"] == name
        form = full_server.client.post("/v1/features", files={"image": png}, data={"model": name})
        assert form.json()["backbone"]["name"] == name
    for model, status, words in (
        ("sd99", 404, "its models are: sd15"),
        ("sdpose-body", 404, "models that do: sd15, sd21"),
    ):
        refused = full_server.client.post("/v1/features", json={**bodies["features"], "model": model})
        assert refused.status_code == status
        assert words in refused.json()["hint"]


def test_perceive_spans_backbones(full_server: Server, bodies: dict[str, Any]) -> None:
    body = {"image": bodies["depth"]["image"], "tasks": {"depth": {}, "pose": {}, "features": {"model": "sd21"}}}
    together = full_server.client.post("/v1/perceive", json=body).json()
    pose = {**bodies["pose"]}
    del pose["boxes"]
    assert_alike(together["pose"]["persons"], ask(full_server, "pose", pose)["persons"])
    assert_alike(together["depth"]["statistics"], ask(full_server, "depth", bodies["depth"])["statistics"])


def test_sixty_four_clients_at_once_get_the_same_answers(full_server: Server, bodies: dict[str, Any]) -> None:
    expected = {task: ask(full_server, task, bodies[task]) for task in TASKS}
    order = [("pose", "few-shot", "zero-shot", "features")[number % 4] for number in range(60)]
    order += ["depth", "segmentation", "referring", "depth"]
    with ThreadPoolExecutor(64) as clients:
        for task, answer in zip(
            order, clients.map(lambda task: ask(full_server, task, bodies[task]), order), strict=True
        ):
            assert_alike(answer, expected[task])


def budget_of_one_and_a_half(server: Server) -> int:
    """Bytes that hold either backbone with its models, and half of the other."""
    groups: dict[str, int] = {}
    for slot in server.state.models.slots.values():
        groups[slot.spec.backbone] = groups.get(slot.spec.backbone, 0) + slot.bytes
    return int(max(groups.values()) + 0.5 * min(groups.values()))


def test_two_backbones_share_a_budget_that_holds_one_and_a_half(
    full_server: Server, start_server: StartServer, models_folder: Path, bodies: dict[str, Any]
) -> None:
    budget = budget_of_one_and_a_half(full_server)
    small = start_server(models_folder=models_folder, engine={"memory_bytes": budget, "host_memory_bytes": 0}, **SMALL)
    assert small.state.models.failure is None

    def loads() -> int:
        return sum(slot.loads for slot in small.state.models.slots.values() if not slot.spec.task)

    before, turns = loads(), ("depth", "pose", "depth", "depth", "pose")
    for task in turns:
        assert_alike(ask(small, task, bodies[task]), ask(full_server, task, bodies[task]))
        listed = small.client.get("/v1/models").json()
        assert sum(model["bytes"] for model in listed["models"] if model["state"] == "READY") <= budget
    assert loads() - before <= 4  # each change of backbone, and no more
    assert all(slot.loads_from_host == 0 for slot in small.state.models.slots.values())  # host_memory_bytes is 0
    with ThreadPoolExecutor(16) as clients:
        order = [("pose", "few-shot", "features")[number % 3] for number in range(30)] + ["depth", "depth"]
        for task, answer in zip(order, clients.map(lambda task: ask(small, task, bodies[task]), order), strict=True):
            assert_alike(answer, ask(full_server, task, bodies[task]))


def test_evicted_models_come_back_from_host_memory_and_answer_the_same(
    full_server: Server, start_server: StartServer, models_folder: Path, bodies: dict[str, Any]
) -> None:
    slots = full_server.state.models.slots
    budget = int(1.5 * max(slots[name].bytes for name in ("sd15", "sd21")))
    engine = {"memory_bytes": budget, "host_memory_bytes": budget}
    small = start_server(models_folder=models_folder, models="sd15,sd21", engine=engine, **SMALL)
    store = small.state.models
    for name in ("sd15", "sd21", "sd15", "sd21"):
        body = {**bodies["features"], "model": name}
        assert_alike(ask(small, "features", body), ask(full_server, "features", body))
    # Only the first load of each model read files: later loads were copies from host memory.
    assert {name: slot.loads - slot.loads_from_host for name, slot in store.slots.items()} == {"sd15": 1, "sd21": 1}
    listed = small.client.get("/v1/models").json()
    held = {model["id"]: model["host_bytes"] for model in listed["models"]}
    assert held["sd15"] > 0 == held["sd21"]
    assert sum(held.values()) <= listed["host_memory_bytes"] == budget
    small.client.post("/v1/models/sd15/unload")
    assert store.host.bytes_of("sd15") == 0  # a client that unloads a model by name wants its memory


def test_a_model_is_loaded_and_unloaded_by_hand(
    start_server: StartServer, models_folder: Path, bodies: dict[str, Any]
) -> None:
    server = start_server(models_folder=models_folder, models="sd15,vpd-depth,sd21", pinned_models="sd21")
    unloaded = server.client.post("/v1/models/sd15/unload").json()
    assert (unloaded["state"], unloaded["users"]) == ("UNAVAILABLE", 0)
    assert {model["id"]: model["state"] for model in server.client.get("/v1/models").json()["models"]} == {
        "sd15": "UNAVAILABLE", "vpd-depth": "UNAVAILABLE", "sd21": "READY",
    }  # fmt: skip
    assert server.client.post("/v1/models/vpd-depth/load").json()["state"] == "READY"
    assert ask(server, "depth", bodies["depth"])["backbone"]["name"] == "sd15"
    pinned = server.client.post("/v1/models/sd21/unload")
    assert (pinned.status_code, pinned.json()["type"]) == (409, "/problems/model-in-use")
    assert server.client.post("/v1/models/nothing/load").status_code == 404


def test_requests_go_on_while_another_backbone_is_read(
    start_server: StartServer, models_folder: Path, bodies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(models_folder=models_folder, models="sd15,sd21")
    server.client.post("/v1/models/sd21/unload")
    store = server.state.models
    reading, may_end, opened = threading.Event(), threading.Event(), slots_module.read_model

    def hold_back(*args: Any) -> Any:
        reading.set()
        assert may_end.wait(60)
        return opened(*args)

    monkeypatch.setattr(store_module, "read_model", hold_back)
    with ThreadPoolExecutor(3) as clients:
        cold = [clients.submit(ask, server, "features", {**bodies["features"], "model": "sd21"}) for _ in range(2)]
        assert reading.wait(60)
        assert ask(server, "features", {**bodies["features"], "model": "sd15"})["backbone"]["name"] == "sd15"
        listed = {model["id"]: model["state"] for model in server.client.get("/v1/models").json()["models"]}
        assert listed == {"sd15": "READY", "sd21": "LOADING"}
        late = server.client.post("/v1/features", json={**bodies["features"], "model": "sd21", "deadline_seconds": 0.1})
        assert (late.status_code, late.json()["type"]) == (503, "/problems/not-ready")
        assert int(late.headers["Retry-After"]) >= 1
        may_end.set()
        assert [answer.result()["backbone"]["name"] for answer in cold] == ["sd21", "sd21"]
    assert store.slots["sd21"].loads == 2  # at the start, and once for both


def test_unloaded_models_leave_memory_after_requests_and_errors(
    start_server: StartServer, models_folder: Path, bodies: dict[str, Any]
) -> None:
    server = start_server(models_folder=models_folder)
    store = server.state.models
    gc.collect()
    gc.disable()  # as `diffsight serve` keeps the models of its start from it
    try:
        for task in TASKS:
            ask(server, task, bodies[task])
            late = server.client.post(route(server, task), json={**bodies[task], "deadline_seconds": 1e-4})
            assert late.status_code in (503, 504), late.text
        parts = [
            weakref.ref(network)
            for slot in store.slots.values()
            for network in (*(networks_of(slot.heads.backbone).values() if slot.heads else ()), *networks_in(slot.head))
        ]
        assert len(parts) > 10
        for name in ("sd15", "sd21"):
            assert server.client.post(f"/v1/models/{name}/unload").status_code == 200
        assert [part() for part in parts if part() is not None] == []
    finally:
        gc.enable()


def fit_classifier(server: Server, png: bytes) -> str:
    """The path of a classifier that was fitted on `sd21`."""
    other = np.zeros((20, 20, 3), np.uint8)
    files = [("image", png), ("image", encode_image(Image.fromarray(other), "PNG")), ("image", png)]
    form = {"labels": ["stroke", "dark", "stroke"], "name": "on sd21", "model": "sd21"}
    made = server.client.post("/v1/classifiers", files=files, data=form)
    assert made.status_code in (200, 201), made.text
    return f"/v1/classify/{made.json()['id']}"


def test_a_classifier_is_used_on_the_backbone_that_it_was_fitted_on(full_server: Server, png: bytes) -> None:
    answer = full_server.client.post(fit_classifier(full_server, png), files={"image": png})
    assert answer.status_code == 200, answer.text
    assert answer.json()["backbone"]["name"] == "sd21"


def test_what_callers_made_outlives_the_unloading_of_its_model(full_server: Server, png: bytes) -> None:
    image = base64.b64encode(png).decode()
    made = full_server.client.post("/v1/concepts", json={"name": "stroke", "images": [image], "masks": [image]})
    assert made.status_code == 201, made.text
    requests = {
        "/v1/segmentation/few-shot": {"image": image, "concepts": [made.json()["id"]]},
        fit_classifier(full_server, png): {"image": image},
    }
    before = [full_server.client.post(path, json=body) for path, body in requests.items()]
    slots = full_server.state.models.slots
    open_before, loads = [name for name, slot in slots.items() if slot.state == "READY"], slots["sd21"].loads
    assert full_server.client.post("/v1/models/sd21/unload").json()["state"] == "UNAVAILABLE"
    after = [full_server.client.post(path, json=body) for path, body in requests.items()]
    for one, other in zip(before, after, strict=True):
        assert (one.status_code, other.status_code) == (200, 200), (one.text, other.text)
        assert_alike(one.json(), other.json())
    assert slots["sd21"].loads == loads + 1
    for name in open_before:  # as other tests found the server
        full_server.client.post(f"/v1/models/{name}/load").raise_for_status()


def test_a_model_is_counted_while_it_is_used(full_server: Server) -> None:
    assert full_server.state.models.get_open(depth.TASK).id == "vpd-depth"
    assert {loaded.task.name for loaded in full_server.state.models.list_open()} >= set(TASKS)
    assert asyncio.run(_use(full_server)) == "sd21"


async def _use(server: Server) -> str:
    async with server.state.models.use(features.TASK, "sd21") as loaded:
        assert server.state.models.slots["sd21"].users == 1
        name = loaded.id
    assert server.state.models.slots["sd21"].users == 0
    return name
