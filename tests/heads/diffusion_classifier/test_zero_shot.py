"""POST /v1/classify/zero-shot on the real server: three forms in, a posterior out, every bad value a problem."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

ROUTE = "/v1/classify/zero-shot"
QUICK = {"n_samples": [2], "to_keep": [1]}


def request_body(png: bytes, **options: Any) -> dict[str, Any]:
    """A JSON body with the picture; options replace or, as None, remove what it has."""
    body = {"image": base64.b64encode(png).decode(), "labels": ["a zero", "a one"], "schedule": QUICK, **options}
    return {name: value for name, value in body.items() if value is not None}


def drop_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "timing"}


def test_the_answer_says_all_that_was_promised(server: Server, png: bytes) -> None:
    response = server.client.post(ROUTE, json=request_body(png, temperature=2.5))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["image"] == {
        "width": 40,
        "height": 30,
        "exif_orientation": 1,
        "more_frames": False,
        "format": "PNG",
    }
    probabilities = [entry["probability"] for entry in answer["posterior"]]
    assert sorted(probabilities, reverse=True) == probabilities
    assert sum(probabilities) == pytest.approx(1)
    assert answer["label"] == answer["posterior"][0]["label"]
    assert {entry["label"] for entry in answer["posterior"]} == {"a zero", "a one"}
    assert answer["posterior"][0].keys() == {"label", "probability", "mean_error", "rounds_survived"}
    assert answer["calibrated"] is False
    assert answer["rows"] == 4
    assert answer["schedule"] == QUICK
    assert (answer["scheme"], answer["stopped"], answer["confidence"]) == ("schedule", "schedule", None)
    assert answer["tied"] == []
    loser = answer["posterior"][1]["label"]
    assert answer["dropped"] == [{"label": loser, "by": answer["label"], "units": 2, "rows": 4}]
    assert answer["templates"] == ["a photo of a {}."]
    assert answer["backbone"]["name"] == "pocket"
    assert answer["timing"]["seconds"].keys() >= {"decode", "unet"}


def test_the_three_forms_get_the_same_answer(server: Server, png: bytes) -> None:
    labels, schedule = ["a zero", "a one"], json.dumps(QUICK)
    options = {"labels": labels, "schedule": schedule}
    picture = {"Content-Type": "image/png"}
    data_uri = "data:image/png;base64," + base64.b64encode(png).decode()
    answers = [
        server.client.post(ROUTE, json=request_body(png)),
        server.client.post(ROUTE, json=request_body(png, image=data_uri)),
        server.client.post(ROUTE, json=request_body(png, image=base64.encodebytes(png).decode())),
        server.client.post(ROUTE, json=request_body(png, image=base64.urlsafe_b64encode(png).decode().rstrip("="))),
        server.client.post(ROUTE, files={"image": png}, data=options),
        server.client.post(ROUTE, files={"file": png}, data={"labels": json.dumps(labels), "schedule": schedule}),
        server.client.post(ROUTE, files={"image": png}, params=options),
        server.client.post(ROUTE, content=png, params=options, headers=picture),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    first = drop_times(answers[0].json())
    assert all(drop_times(answer.json()) == first for answer in answers)


@pytest.mark.parametrize("form", ["json", "multipart", "raw"])
def test_a_single_label_is_certain(server: Server, png: bytes, form: str) -> None:
    options = {"labels": "a zero", "schedule": json.dumps(QUICK)}
    answer = {
        "json": lambda: server.client.post(ROUTE, json=request_body(png, labels=["a zero"])),
        "multipart": lambda: server.client.post(ROUTE, files={"image": png}, data=options),
        "raw": lambda: server.client.post(ROUTE, content=png, params=options, headers={"Content-Type": "image/png"}),
    }[form]().json()
    assert [(entry["label"], entry["probability"]) for entry in answer["posterior"]] == [("a zero", 1.0)]


def test_templates_loss_and_trials_are_used(server: Server, png: bytes) -> None:
    options = {"templates": ["a handwritten {}", "a photo of {}"], "loss": "huber", "trials": 2, "priority": "bulk"}
    answer = server.client.post(ROUTE, json=request_body(png, **options)).json()
    assert answer["templates"] == options["templates"]
    assert answer["rows"] == 2 * 2 * 2 * 2


@pytest.mark.slow
def test_a_race_reports_its_confidence(server: Server, png: bytes) -> None:
    labels = ["zero", "one", "Zero"]
    body = request_body(png, labels=labels, templates=["a handwritten {}"], schedule=None, confidence=0.9)
    answer = server.client.post(ROUTE, json=body).json()
    assert (answer["scheme"], answer["schedule"]) == ("race", None)
    assert answer["confidence"] >= 0.9
    assert answer["stopped"] in ("decided", "complete")
    twins = {"zero", "Zero"}
    assert set(answer["tied"]) == (twins - {answer["label"]} if answer["label"] in twins else set())
    assert {entry["label"] for entry in answer["dropped"]} == set(labels) - {answer["label"], *answer["tied"]}
    form = {"labels": json.dumps(labels), "templates": "a handwritten {}", "confidence": "0.9"}
    same = server.client.post(ROUTE, files={"image": png}, data=form).json()
    assert drop_times(same) == drop_times(answer)


def events(text: str) -> list[tuple[str, Any]]:
    """(event, data) of a stream of server-sent events."""
    parts = [part.split("\n") for part in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


@pytest.mark.parametrize("options", [{"schedule": None, "confidence": 1, "budget": 200}, {"schedule": "default"}])
def test_the_posterior_is_streamed_as_it_sharpens(
    start_server: StartServer, png: bytes, options: dict[str, Any]
) -> None:
    # Rows alone: the sizes of batches follow from measured costs, and the last digits from the sizes.
    server = start_server(engine={"max_batch_rows": 1})
    body = request_body(png, labels=["zero", "one", "two", "three", "four", "five"], **options)
    headers = {"Accept": "text/event-stream"}
    response = server.client.post(ROUTE, json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    sent = events(response.text)
    assert [name for name, _ in sent] == ["progress"] * (len(sent) - 1) + ["answer"]
    assert len(sent) >= 3
    rows = [data["rows"] for _, data in sent]
    assert rows == sorted(rows)
    assert all(sum(entry["probability"] for entry in data["posterior"]) == pytest.approx(1) for _, data in sent)
    assert drop_times(sent[-1][1]) == drop_times(server.client.post(ROUTE, json=body).json())


def test_an_invalid_request_for_a_stream_is_a_problem(server: Server, png: bytes, check_problem: Any) -> None:
    headers = {"Accept": "text/event-stream"}
    response = server.client.post(ROUTE, json=request_body(b"no image"), headers=headers)
    check_problem(response, 422, "invalid-input")


@pytest.mark.parametrize(("budget", "rows"), [(40, 40), ("40 rows", 40), ("0.001 ms", 4)])
def test_a_budget_ends_a_race(server: Server, png: bytes, budget: int | str, rows: int) -> None:
    body = request_body(png, schedule=None, confidence=1, budget=budget)
    answer = server.client.post(ROUTE, json=body).json()
    assert (answer["stopped"], answer["rows"]) == ("budget", rows)
    assert answer["confidence"] < 1
    form = {"labels": body["labels"], "confidence": "1", "budget": str(budget)}
    assert server.client.post(ROUTE, files={"image": png}, data=form).json()["rows"] == rows


def test_the_rows_of_one_request_are_a_race_s_last_budget(start_server: StartServer, png: bytes) -> None:
    small = start_server(limits={"max_rows_per_request": 100})
    answer = small.client.post(ROUTE, json=request_body(png, schedule=None, confidence=1)).json()
    assert (answer["stopped"], answer["rows"]) == ("budget", 100)


def test_every_odd_image_is_answered(server: Server, odd_images: dict[str, bytes]) -> None:
    bodies = [request_body(data, labels=["a zero"]) for data in odd_images.values()]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda body: server.client.post(ROUTE, json=body), bodies))
    for name, response in zip(odd_images, responses, strict=True):
        assert response.status_code == 200, (name, response.text)


def test_a_turned_picture_is_reported_upright(server: Server, odd_images: dict[str, bytes]) -> None:
    image = server.client.post(ROUTE, json=request_body(odd_images["turned.jpg"], labels=["a zero"])).json()["image"]
    assert (image["width"], image["height"], image["exif_orientation"]) == (30, 40, 6)


def test_a_second_frame_is_reported(server: Server, odd_images: dict[str, bytes]) -> None:
    answer = server.client.post(ROUTE, json=request_body(odd_images["animated.gif"], labels=["a zero"])).json()
    assert answer["image"]["more_frames"] is True


def test_every_bad_image_is_refused_in_each_form(
    server: Server, bad_images: dict[str, bytes], check_problem: Any
) -> None:
    for data in bad_images.values():
        for response in (
            server.client.post(ROUTE, json=request_body(data)),
            server.client.post(ROUTE, files={"image": data}, data={"labels": ["a", "b"]}),
            server.client.post(ROUTE, content=data, params={"labels": "a"}, headers={"Content-Type": "image/png"}),
        ):
            problem = check_problem(response, 422, "invalid-input")
            assert problem["field"] == "image"


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"labels": []}, "labels", "at least 1 item"),
        ({"labels": None}, "labels", "required"),
        ({"labels": ["cat", ""]}, "labels.1", "at least 1 character"),
        ({"labels": ["cat", "  "]}, "labels", "empty"),
        ({"labels": [f"label {index}" for index in range(501)]}, "labels", "501 labels; one request takes 500"),
        ({"labels": ["cat", "word " * 60]}, "labels", "tokens"),
        ({"labels": ["x" * 1001]}, "labels.0", "at most 1000 characters"),
        ({"labels": "cat"}, "labels", "valid array"),
        ({"labels": [1, 2]}, "labels.0", "string"),
        ({"labels": {"cat": 1}}, "labels", "valid array"),
        ({"templates": []}, "templates", "at least 1 item"),
        ({"templates": ["a photo"]}, "templates.0", "pattern"),
        ({"templates": ["{} and {}"]}, "templates.0", "pattern"),
        ({"templates": ["{0.__class__}"]}, "templates.0", "pattern"),
        ({"templates": ["a {}", "a  {}"]}, "templates", "same text"),
        (
            {
                "labels": [f"label {index}" for index in range(100)],
                "templates": [f"{index} {{}}" for index in range(21)],
            },
            "templates",
            "2100 prompts",
        ),
        ({"temperature": 0}, "temperature", "greater than or equal to 0.000001"),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"temperature": "1.0"}, "temperature", "number"),
        ({"trials": 0}, "trials", "greater than or equal to 1"),
        ({"trials": 1.5}, "trials", "integer"),
        ({"trials": True}, "trials", "integer"),
        ({"loss": "l3"}, "loss", "'l2', 'l1' or 'huber'"),
        ({"priority": "first"}, "priority", "'interactive' or 'bulk'"),
        ({"deadline_seconds": -1}, "deadline_seconds", "greater than 0"),
        ({"schedule": "fast"}, "schedule", "'default' or 'published'"),
        ({"scheme": "lottery"}, "scheme", "'schedule' or 'race'"),
        ({"scheme": "race"}, "schedule", "needs scheme=schedule"),
        ({"confidence": 0.9}, "schedule", "needs scheme=schedule"),
        ({"scheme": "schedule", "confidence": 0.9}, "confidence", "needs scheme=race"),
        ({"schedule": None, "scheme": "race", "trials": 2}, "trials", "needs scheme=schedule"),
        ({"schedule": None, "confidence": 0}, "confidence", "greater than 0"),
        ({"schedule": None, "confidence": 1.5}, "confidence", "less than or equal to 1"),
        ({"schedule": None, "budget": 0}, "budget", "greater than or equal to 1"),
        ({"schedule": None, "budget": 3}, "budget", "one block of 4"),
        ({"schedule": None, "budget": "0 ms"}, "budget", "no budget"),
        ({"schedule": None, "budget": "soon"}, "budget", "pattern"),
        ({"schedule": None, "indifference": -1}, "indifference", "greater than or equal to 0"),
        ({"schedule": None, "combine": "median"}, "combine", "'mean' or 'best_prompt'"),
        ({"schedule": {"n_samples": [2], "to_keep": [2]}}, "schedule", "must keep 1"),
        ({"schedule": {"n_samples": [2, 4], "to_keep": [1]}}, "schedule", "same number of rounds"),
        ({"schedule": {"n_samples": [2000], "to_keep": [1]}}, "schedule", "1 to 1000"),
        ({"schedule": {"n_samples": [2], "to_keep": [1], "rounds": 3}}, "schedule", "Unknown"),
        ({"image": "not base64!"}, "image", "not base64"),
        ({"image": "data:image/png,abc"}, "image", "data URI"),
        ({"image": "https://example.org/cat.jpg"}, "image", "URL inputs are off"),
        ({"image": 5}, "image", "base64 text"),
        ({"image": ["a"]}, "image", "base64 text"),
        ({"image": None, "url": "https://example.org/cat.jpg"}, "url", "URL inputs are off"),
        ({"lables": ["cat"]}, "lables", "did you mean labels?"),
        ({"zzzzz": 1}, "zzzzz", "the fields are labels"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    server: Server, png: bytes, check_problem: Any, options: dict[str, Any], field: str, message: str
) -> None:
    problem = check_problem(server.client.post(ROUTE, json=request_body(png, **options)), 422, "invalid-input")
    errors = problem["errors"]
    at_fault = [".".join(map(str, error["loc"])) for error in errors]
    assert any(name.startswith(field) for name in at_fault), errors
    assert message in " ".join([problem["detail"], problem["hint"], *(error["msg"] for error in errors)]), problem
    assert all(error.keys() == {"loc", "msg", "type"} for error in errors)


def test_work_beyond_the_limit_is_refused_before_it_starts(server: Server, png: bytes, check_problem: Any) -> None:
    body = request_body(png, labels=[f"label {index}" for index in range(500)], schedule="published", trials=64)
    problem = check_problem(server.client.post(ROUTE, json=body), 422, "invalid-input")
    assert "U-Net rows; one request takes 500,000" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "slug"),
    [
        (b"", "application/json", 400, "malformed-body"),
        (b"{", "application/json", 400, "malformed-body"),
        (b'{"labels": ["\\ud800"]}', "application/json", 400, "malformed-body"),
        (b"\xff\xfe", "application/json", 400, "malformed-body"),
        (b"[" * 100_000, "application/json", 400, "malformed-body"),
        (b"[]", "application/json", 422, "invalid-input"),
        (b"null", "application/json; charset=utf-8", 422, "invalid-input"),
        (b"--x", "multipart/form-data", 400, "malformed-body"),
        (b"no boundary in here", "multipart/form-data; boundary=x", 400, "malformed-body"),
        (b"", "multipart/form-data; boundary=x", 422, "invalid-input"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported-body"),
        (b"cat", "text/plain", 415, "unsupported-body"),
        (b"cat", "nonsense", 415, "unsupported-body"),
        (b"cat", "", 415, "unsupported-body"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    server: Server, check_problem: Any, content: bytes, content_type: str, status: int, slug: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    check_problem(server.client.post(ROUTE, content=content, headers=headers), status, slug)


def test_an_unknown_content_type_is_shown_the_three_forms(server: Server, check_problem: Any) -> None:
    hint = check_problem(server.client.post(ROUTE, content=b"x"), 415, "unsupported-body")["hint"]
    assert all(form in hint for form in ("multipart/form-data", "application/json", "image/jpeg"))


def test_a_compressed_body_is_refused(server: Server, png: bytes, check_problem: Any) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    check_problem(server.client.post(ROUTE, content=png, headers=headers), 415, "unsupported-body")


def test_wrong_parts_of_a_form_are_refused(server: Server, png: bytes, check_problem: Any) -> None:
    def post(files: Any, **data: Any) -> httpx2.Response:
        return server.client.post(ROUTE, files=files, data={"labels": ["a", "b"], **data})

    for files, data, field in (
        ({"picture": png}, {}, "picture"),
        ([("image", png), ("image", png)], {}, "image"),
        ({"image": png, "labels": b"a file"}, {}, "labels"),
        ({"image": png}, {"trials": ["1", "2"]}, "trials"),
        ({"image": png}, {"trials": "many"}, "trials"),
        ({"image": png}, {"labels": "[not json]"}, "labels"),
        ({"image": png}, {"labels": "[" * 1000 + "]" * 1000}, "labels"),
        ({"image": png}, {"schedule": "{not json}"}, "schedule"),
        ({"image": png}, {"label": "a"}, "label"),
        ({"other": (None, "text")}, {}, "image"),
    ):
        problem = check_problem(post(files, **data), 422, "invalid-input")
        assert any(str(error["loc"][0]) == field for error in problem["errors"]), (field, problem)


def test_half_a_surrogate_pair_in_a_form_is_answered(server: Server, png: bytes, check_problem: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="+2AA-"\r\n\r\n+2AA-\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=utf-7"}
    response = server.client.post(ROUTE, content=body, headers=headers)
    check_problem(response, 422, "invalid-input")


def test_query_options_beside_json_are_refused(server: Server, png: bytes, check_problem: Any) -> None:
    problem = check_problem(
        server.client.post(ROUTE, json=request_body(png), params={"trials": 2}), 422, "invalid-input"
    )
    assert problem["field"] == "trials"


def test_a_deadline_that_passes_is_reported(server: Server, png: bytes, check_problem: Any) -> None:
    body = request_body(
        png, schedule="published", labels=[f"label {index}" for index in range(20)], deadline_seconds=0.3
    )
    check_problem(server.client.post(ROUTE, json=body), 504, "deadline-passed")


@pytest.mark.field
def test_one_label_is_noted_and_commas_are_explained(server: Server, png: bytes) -> None:
    answers = [
        server.client.post(ROUTE, files={"image": png}, data={"labels": labels}).json()
        for labels in ("cat,dog", "cat", ["cat, the animal", "dog"])
    ]
    assert "labels=cat&labels=dog" in answers[0]["notes"][0]
    assert "one label alone is certain" in answers[1]["notes"][0]
    assert "&" not in answers[1]["notes"][0]
    assert answers[2]["notes"] == []
