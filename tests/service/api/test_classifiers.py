"""Classifiers fitted over REST on the real server, from a first fit to the next server that reads the same folder."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from service.library.classifiers import as_tensors, from_file
from service.library.store import Store, pack, unpack
from training.datasets.digits import DIGIT_NAMES, load_held_out_digits, load_training_digits

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

ROUTE = "/v1/classifiers"
PARTS = {"Content-Type": "application/octet-stream"}


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def digits(per_class: int, classes: int = 10, *, first: int = 0, held_out: bool = False) -> list[tuple[str, bytes]]:
    """(name, PNG) of so many digits of each class, from its digit `first` on."""
    source = load_held_out_digits() if held_out else load_training_digits()
    chosen = [np.flatnonzero(source.labels == digit)[first : first + per_class] for digit in range(classes)]
    return [(DIGIT_NAMES[source.labels[index]], png(source.image(int(index)))) for part in chosen for index in part]


def make_zip(examples: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for place, (name, data) in enumerate(examples):
            archive.writestr(f"digits/{name}/{place:04d}.png", data)
    return file.getvalue()


def form(examples: list[tuple[str, bytes]]) -> dict[str, Any]:
    return {"files": [("image", data) for _, data in examples], "data": {"labels": [name for name, _ in examples]}}


def fit_classifier(server: Server, examples: list[tuple[str, bytes]], **options: Any) -> dict[str, Any]:
    request = form(examples)
    response = server.client.post(ROUTE, files=request["files"], data={**request["data"], **options})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture(scope="module")
def ten_digits(server: Server) -> dict[str, Any]:
    """A classifier of all ten digits, fitted from a zip of folders. No other test sends these digits, so none is cached
    before.
    """
    content = make_zip(digits(12, first=20))
    response = server.client.post(
        ROUTE, content=content, params={"name": "digits"}, headers={"Content-Type": "application/zip"}
    )
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_fit_reports_its_accuracy(ten_digits: dict[str, Any]) -> None:
    assert ten_digits["name"] == "digits"
    assert [class_["label"] for class_ in ten_digits["classes"]] == sorted(DIGIT_NAMES)
    assert {class_["images"] for class_ in ten_digits["classes"]} == {12}
    assert ten_digits["accuracy"] > 0.5
    assert np.trace(np.array(ten_digits["confusion"])) == pytest.approx(ten_digits["accuracy"] * 120)
    recalls = [class_["recall"] for class_ in ten_digits["classes"]]
    assert recalls == [row[place] / 12 for place, row in enumerate(ten_digits["confusion"])]
    assert ten_digits["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert ten_digits["calibrated"] is True
    assert (ten_digits["duplicates"], ten_digits["rows"], ten_digits["usable"], ten_digits["can_grow"]) == (
        0,
        120,
        True,
        True,
    )


def test_it_knows_digits_that_it_never_saw(server: Server, ten_digits: dict[str, Any]) -> None:
    unseen = digits(4, held_out=True)
    files = [("image", data) for _, data in unseen]
    answer = server.client.post(f"/v1/classify/{ten_digits['id']}", files=files, data={"top": 3}).json()
    right = [item["label"] == name for item, (name, _) in zip(answer["answers"], unseen, strict=True)]
    assert np.mean(right) > 0.5
    for item in answer["answers"]:
        probabilities = [score["probability"] for score in item["scores"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert (len(probabilities), item["probability"], item["label"]) == (
            3,
            probabilities[0],
            item["scores"][0]["label"],
        )
        assert item["known"] is (item["novelty"] <= answer["threshold"])


def test_an_image_that_is_no_digit_is_not_known(server: Server, ten_digits: dict[str, Any], png: bytes) -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise, "PNG")
    answer = server.client.post(
        f"/v1/classify/{ten_digits['id']}", files=[("image", noise.getvalue()), ("image", png)]
    ).json()
    assert [item["known"] for item in answer["answers"]] == [False, False]


def test_all_forms_of_a_request_give_the_same_classifier(server: Server) -> None:
    examples = digits(3, 2)
    sent = fit_classifier(server, examples)
    as_json = {
        "images": [base64.b64encode(data).decode() for _, data in examples],
        "labels": [name for name, _ in examples],
    }
    answers = [
        sent,
        server.client.post(ROUTE, json=as_json).json(),
        server.client.post(ROUTE, files={"image": make_zip(examples)}).json(),
    ]
    assert len({answer["id"] for answer in answers}) == 3
    for answer in answers[1:]:
        assert answer["confusion"] == sent["confusion"]
        assert answer["temperature"] == pytest.approx(sent["temperature"], rel=1e-3)
        assert answer["rows"] == 0  # the vectors of images seen before are kept


def test_a_zip_and_single_images_go_together(server: Server) -> None:
    examples = digits(2, 3)
    files = [("image", make_zip(examples[:4])), ("image", examples[4][1]), ("image", examples[5][1])]
    answer = server.client.post(ROUTE, files=files, data={"labels": ["two", "two"]}).json()
    assert [(class_["label"], class_["images"]) for class_ in answer["classes"]] == [
        ("one", 2),
        ("two", 2),
        ("zero", 2),
    ]


def test_images_and_classes_are_added_without_starting_over(server: Server) -> None:
    examples = digits(6, 3)
    route = f"{ROUTE}/{fit_classifier(server, examples[:12])['id']}"
    grown = server.client.patch(route, **form([*examples[10:12], *examples[12:]])).json()
    assert [(class_["label"], class_["images"]) for class_ in grown["classes"]] == [("one", 6), ("two", 6), ("zero", 6)]
    assert grown["duplicates"] == 2
    assert grown["rows"] <= 6
    at_once = fit_classifier(server, examples)
    assert grown["confusion"] == at_once["confusion"]
    renamed = server.client.patch(
        route,
        content=digits(7, 1)[6][1],
        params={"labels": "zero", "name": "renamed"},
        headers={"Content-Type": "image/png"},
    ).json()
    assert (renamed["classes"][2]["images"], renamed["name"]) == (7, "renamed")
    less = server.client.patch(route, json={"remove_classes": ["two"]}).json()
    assert [class_["label"] for class_ in less["classes"]] == ["one", "zero"]
    assert less["created"] == grown["created"]
    assert server.client.get(route).json()["classes"] == less["classes"]


def test_two_clients_can_add_images_at_once(server: Server) -> None:
    examples = digits(8, 2)
    route = f"{ROUTE}/{fit_classifier(server, [*examples[:4], *examples[8:12]])['id']}"
    statuses = []

    def add(part: list[tuple[str, bytes]]) -> None:
        statuses.append(server.client.patch(route, **form(part)).status_code)

    threads = [threading.Thread(target=add, args=([example],)) for example in examples[4:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert [class_["images"] for class_ in server.client.get(route).json()["classes"]] == [4, 8]


def test_it_survives_a_restart(start_server: StartServer, tmp_path: Path) -> None:
    image = {"image": digits(1, 1, held_out=True)[0][1]}
    first = start_server(data_folder=tmp_path)
    made = fit_classifier(first, digits(4, 3), name="kept")
    before = first.client.post(f"/v1/classify/{made['id']}", files=image).json()
    second = start_server(data_folder=tmp_path)
    (listed,) = second.client.get(ROUTE).json()["classifiers"]
    assert listed == {name: value for name, value in made.items() if name in listed}
    after = second.client.post(f"/v1/classify/{made['id']}", files=image).json()
    labels = [[score["label"] for score in answer["answers"][0]["scores"]] for answer in (before, after)]
    assert labels[0] == labels[1]
    assert after["answers"][0]["probability"] == pytest.approx(before["answers"][0]["probability"], abs=1e-4)


def test_an_exported_classifier_answers_alike_elsewhere(server: Server) -> None:
    made = fit_classifier(server, digits(4, 3))
    image = {"image": digits(1, 1, held_out=True)[0][1]}
    expected = server.client.post(f"/v1/classify/{made['id']}", files=image).json()["answers"]
    for options, grows in (({}, True), ({"vectors": "false"}, False)):
        file = server.client.get(f"{ROUTE}/{made['id']}/export", params=options)
        assert file.headers["content-type"] == "application/octet-stream"
        taken = server.client.post(f"{ROUTE}/import", content=file.content, headers=PARTS)
        assert taken.status_code == 201, taken.text
        assert taken.json()["can_grow"] is grows
        assert taken.json()["id"] != made["id"]
        answers = server.client.post(f"/v1/classify/{taken.json()['id']}", files=image).json()["answers"]
        assert [score["label"] for score in answers[0]["scores"]] == [score["label"] for score in expected[0]["scores"]]
        assert answers[0]["probability"] == pytest.approx(expected[0]["probability"], abs=1e-4)
    refused = server.client.patch(f"{ROUTE}/{taken.json()['id']}", **form(digits(5, 1)[4:]))
    assert refused.status_code == 422
    assert "without the vectors" in refused.json()["detail"]


def test_a_deleted_classifier_is_gone(server: Server, check_problem: Any, png: bytes) -> None:
    made = fit_classifier(server, digits(1, 2))
    route = f"{ROUTE}/{made['id']}"
    assert server.client.delete(route).status_code == 204
    for response in (
        server.client.get(route),
        server.client.delete(route),
        server.client.get(f"{route}/export"),
        server.client.patch(route, **form(digits(2, 1))),
        server.client.post(f"/v1/classify/{made['id']}", files={"image": png}),
    ):
        check_problem(response, 404, "nothing-stored")


def test_a_classifier_deleted_while_in_use_answers_or_is_gone(server: Server, check_problem: Any) -> None:
    made = fit_classifier(server, digits(2, 2))
    images = [("image", data) for _, data in digits(8, 4, held_out=True)]
    responses: list[Any] = []

    def use() -> None:
        responses.append(server.client.post(f"/v1/classify/{made['id']}", files=images))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads[:3]:
        thread.start()
    assert server.client.delete(f"{ROUTE}/{made['id']}").status_code == 204
    for thread in threads[3:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(responses) == 6
    for response in responses:
        if response.status_code == 200:
            assert len(response.json()["answers"]) == len(images)
        else:
            check_problem(response, 404, "nothing-stored")


def test_two_classes_with_one_image_each(server: Server) -> None:
    answer = fit_classifier(server, digits(1, 2))
    assert (answer["accuracy"], answer["folds"], answer["calibrated"], answer["threshold"]) == (None, 0, False, None)
    image = digits(1, 1)[0][1]
    (item,) = server.client.post(f"/v1/classify/{answer['id']}", files={"image": image}).json()["answers"]
    assert (item["label"], item["known"], item["novelty"]) == ("zero", None, None)


def test_an_image_sent_twice_counts_once(server: Server) -> None:
    examples = digits(3, 2)
    answer = fit_classifier(server, [*examples, *examples, *examples[:2]])
    assert (answer["duplicates"], [class_["images"] for class_ in answer["classes"]]) == (8, [3, 3])
    assert answer["confusion"] == fit_classifier(server, examples)["confusion"]


def bodies() -> dict[str, tuple[dict[str, Any], str, str]]:
    """Requests that are refused: name -> (arguments, field, words of the problem)."""
    pair = digits(1, 2)
    texts = [base64.b64encode(data).decode() for _, data in pair]
    same = [("a", pair[0][1]), ("b", pair[0][1])]
    return {
        "nothing": ({"json": {}}, "labels", "no images"),
        "one class": (form(digits(2, 1)), "labels", "only the class 'zero'"),
        "one image in two classes": (form(same), "labels", "the labels 'a' and 'b'"),
        "labels missing": ({"json": {"images": texts, "labels": ["a"]}}, "labels", "1 labels for 2 images"),
        "no labels": ({"json": {"images": texts}}, "labels", "0 labels for 2 images"),
        "labels left": ({"json": {"images": texts, "labels": ["a", "b", "c"]}}, "labels", "3 labels"),
        "empty label": ({"json": {"images": texts, "labels": ["a", " "]}}, "labels.1", "at least 1 character"),
        "unknown block": ({"json": {"images": texts, "labels": ["a", "b"], "blocks": ["x"]}}, "blocks", "'x'"),
        "unknown timestep": (
            {"json": {"images": texts, "labels": ["a", "b"], "timesteps": [9999]}},
            "timesteps",
            "9999",
        ),
        "NaN": (
            {
                "content": b'{"images": [], "labels": [], "deadline_seconds": NaN}',
                "headers": {"Content-Type": "application/json"},
            },
            "",
            "",
        ),
        "no image": (form([pair[0], ("b", b"text")]), "images.1", "no image"),
        "file in no folder": (
            {"content": make_flat_zip(pair), "headers": {"Content-Type": "application/zip"}},
            "0.png",
            "no folder",
        ),
    }


def make_flat_zip(examples: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for place, (_, data) in enumerate(examples):
            archive.writestr(f"{place}.png", data)
    return file.getvalue()


@pytest.mark.parametrize("name", bodies())
def test_an_invalid_request_is_refused_with_the_field(server: Server, check_problem: Any, name: str) -> None:
    arguments, field, message = bodies()[name]
    response = server.client.post(ROUTE, **arguments)
    if name == "NaN":
        assert response.status_code in (400, 422)
        return
    problem = check_problem(response, 422, "invalid-input")
    assert problem["field"] == field
    assert message in problem["detail"]


def test_changes_that_cannot_be_made_are_refused(server: Server, check_problem: Any) -> None:
    examples = digits(2, 2)
    route = f"{ROUTE}/{fit_classifier(server, examples)['id']}"
    for body, message in (
        ({}, "nothing to change"),
        ({"remove_classes": ["nine"]}, "no class 'nine'"),
        ({"remove_classes": ["one"]}, "only the class 'zero'"),
    ):
        assert message in check_problem(server.client.patch(route, json=body), 422, "invalid-input")["detail"]
    twice = server.client.patch(route, **form([("one", examples[0][1])]))
    assert "the labels 'zero' and 'one'" in check_problem(twice, 422, "invalid-input")["detail"]


@pytest.mark.parametrize("name", ["x", "0" * 16, "..%2f..%2fetc", "zero-shots", "%00"])
def test_ids_that_were_never_created_are_not_found(server: Server, check_problem: Any, name: str, png: bytes) -> None:
    for response in (
        server.client.get(f"{ROUTE}/{name}"),
        server.client.post(f"/v1/classify/{name}", files={"image": png}),
    ):
        assert response.status_code == 404


def damage_files(data: bytes) -> dict[str, tuple[bytes, str]]:
    """Files that are refused: name -> (bytes, words of the problem)."""
    about, tensors = unpack(data)

    def replace_tensor(name: str, value: Any) -> bytes:
        return pack(about, {**tensors, name: value})

    def read(**values: Any) -> bytes:
        return pack({**about, "features": {**about["features"], **values}}, tensors)

    weights, labels = tensors["weights"], tensors["examples.labels"]
    return {
        "no file": (b"x", "not a safetensors"),
        "NaN": (replace_tensor("weights", np.full_like(weights, np.nan)), "NaN"),
        "infinite vectors": (
            replace_tensor("examples.vectors", np.full_like(tensors["examples.vectors"], np.inf)),
            "NaN",
        ),
        "shape": (replace_tensor("weights", weights[:, :-1]), "weights is float32"),
        "number type": (replace_tensor("bias", tensors["bias"].astype(np.float64)), "bias is float64"),
        "scale": (replace_tensor("scale", np.zeros_like(tensors["scale"])), "not above 0"),
        "labels": (replace_tensor("examples.labels", labels + 5), "not those of its classes"),
        "missing": (pack(about, {"mean": tensors["mean"]}), "no tensor"),
        "classes": (pack({**about, "classes": ["a", "a"]}, tensors), "figures"),
        "one class": (pack({**about, "classes": ["a"]}, tensors), "classes"),
        "temperature": (pack({**about, "temperature": 0}, tensors), "temperature"),
        "words": (pack({**about, "more": 1}, tensors), "more"),
        "pool size": (read(pool_size=2), "vectors of"),
        "pool size of no map": (read(pool_size=64), "outside 1.."),
        "unknown block": (read(blocks=["up_blocks.9.resnets.0"]), "no block"),
        "a block by its number": (read(blocks=["3"]), "order"),
        "blocks out of order": (read(blocks=about["features"]["blocks"][::-1]), "order"),
        "timestep after the schedule": (read(timesteps=[10**9]), "outside 0.."),
        "timestep before the schedule": (read(timesteps=[-5]), "outside 0.."),
        "more timesteps": (read(timesteps=[100, 200]), "vectors of"),
        "other weights": (pack({**about, "revision": "0" * 8}, tensors), "fitted on"),
    }


def test_files_that_are_off_are_refused(server: Server, check_problem: Any) -> None:
    made = fit_classifier(server, digits(4, 2))
    data = server.client.get(f"{ROUTE}/{made['id']}/export").content
    assert server.client.post(f"{ROUTE}/import", content=data, headers=PARTS).status_code == 201
    count = len(server.client.get(ROUTE).json()["classifiers"])
    for name, (file, message) in damage_files(data).items():
        problem = check_problem(
            server.client.post(f"{ROUTE}/import", content=file, headers=PARTS), 422, "invalid-input"
        )
        assert message in problem["detail"], name
    check_problem(
        server.client.post(f"{ROUTE}/import", content=data, headers={"Content-Type": "text/plain"}),
        415,
        "unsupported-body",
    )
    assert len(server.client.get(ROUTE).json()["classifiers"]) == count


def test_a_file_comes_back_as_it_was(server: Server) -> None:
    made = fit_classifier(server, digits(4, 2))
    about, tensors = unpack(server.client.get(f"{ROUTE}/{made['id']}/export").content)
    again = as_tensors(from_file(about, tensors))
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(again[name], tensor)


def test_limits_are_reported(start_server: StartServer, check_problem: Any, tmp_path: Path) -> None:
    server = start_server(limits={"max_training_images": 5, "max_labels": 2}, data_folder=tmp_path, data_bytes=100_000)
    many = check_problem(server.client.post(ROUTE, files={"image": make_zip(digits(3, 2))}), 422, "invalid-input")
    assert "one classifier takes 5" in many["detail"]
    classes = check_problem(server.client.post(ROUTE, **form(digits(1, 3))), 422, "invalid-input")
    assert "3 classes" in classes["detail"]
    made = fit_classifier(server, digits(2, 2))
    grown = server.client.patch(f"{ROUTE}/{made['id']}", **form(digits(4, 1)[2:]))
    assert "one classifier takes 5" in check_problem(grown, 422, "invalid-input")["detail"]
    for _ in range(40):
        response = server.client.post(ROUTE, **form(digits(2, 2)))
        if response.status_code != 201:
            break
    assert "100,000" in check_problem(response, 422, "invalid-input")["detail"]


def test_a_file_of_another_backbone_is_listed_and_not_used(
    start_server: StartServer, check_problem: Any, tmp_path: Path, png: bytes
) -> None:
    server = start_server(data_folder=tmp_path)
    made = fit_classifier(server, digits(2, 2))
    store = Store(tmp_path, "classifier", most_bytes=1 << 30)
    stored, tensors = store.read(made["id"])
    store.replace(stored, {**stored.about, "revision": "other"}, tensors)
    (listed,) = server.client.get(ROUTE).json()["classifiers"]
    assert listed["usable"] is False
    refused = server.client.post(f"/v1/classify/{made['id']}", files={"image": png})
    assert check_problem(refused, 422, "invalid-input")["field"] == "classifier"
    store.replace(store.look(made["id"]), {"version": 99}, {})
    assert server.client.get(ROUTE).json()["classifiers"] == []
    check_problem(server.client.get(f"{ROUTE}/{made['id']}"), 422, "invalid-input")


@pytest.mark.slow
def test_five_thousand_images(server: Server) -> None:
    source = load_training_digits()
    generator = np.random.default_rng(0)
    examples = [
        (DIGIT_NAMES[source.labels[index % len(source)]], png(source.augment(index % len(source), generator)))
        for index in range(5000)
    ]
    response = server.client.post(ROUTE, files={"image": make_zip(examples)}, timeout=600)
    assert response.status_code == 201, response.text
    assert sum(class_["images"] for class_ in response.json()["classes"]) + response.json()["duplicates"] == 5000
    assert response.json()["accuracy"] > 0.7


def test_a_file_that_needs_more_rows_an_image_than_a_request_may_take_is_refused(
    server: Server, start_server: StartServer, check_problem: Any
) -> None:
    made = fit_classifier(server, digits(4, 2))
    about, tensors = unpack(server.client.get(f"{ROUTE}/{made['id']}/export").content)
    hungry = pack({**about, "features": {**about["features"], "noise_samples": 64}}, tensors)
    small = start_server(limits={"max_rows_per_request": 50})
    problem = check_problem(small.client.post(f"{ROUTE}/import", content=hungry, headers=PARTS), 422, "invalid-input")
    assert "64" in problem["detail"]


def test_a_kept_file_that_goes_with_no_vectors_is_no_fault(server: Server, check_problem: Any, png: bytes) -> None:
    made = fit_classifier(server, digits(4, 2))
    about, tensors = unpack(server.client.get(f"{ROUTE}/{made['id']}/export").content)
    kept = server.state.library.classifiers.add({**about, "features": {**about["features"], "pool_size": 2}}, tensors)
    answer = server.client.post(f"/v1/classify/{kept.id}", files={"image": png})
    assert "vectors of" in check_problem(answer, 422, "invalid-input")["detail"]
    server.state.library.classifiers.delete(kept.id)
