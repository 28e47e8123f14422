"""/v1/jobs over the real server: every source and control, what is refused, and a restart on the way."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.jobs.serving import open_store
from tests.conftest import WITHOUT_HEADS, Server, StartServer, running_server
from tests.service.jobs.conftest import write_pictures

ROUTE = "/v1/jobs"
QUICK = {"lease_seconds": 1.0, "poll_seconds": 0.1, "images_at_once": 4}
FEATURES = {"task": "features", "parameters": '{"timesteps": [100]}'}
IMAGES = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("allowed")
    write_pictures(folder, IMAGES)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def job_server(data: Path, pictures: Path) -> Iterator[Server]:
    settings = {**QUICK, "sources": (str(pictures), "memory://shared/pictures")}
    with running_server(data_folder=data, jobs=settings, data_bytes=200_000) as running:
        assert running.state.models.failure is None
        yield running


def make_zip(files: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture(scope="module")
def archive(pictures: Path) -> bytes:
    return make_zip({str(path.relative_to(pictures)): path.read_bytes() for path in sorted(pictures.rglob("*.png"))})


def begin(server: Server, **request: Any) -> dict[str, Any]:
    response = server.client.post(ROUTE, **request)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{ROUTE}/{answer['id']}"
    return answer


def wait_for_end(server: Server, job: str) -> dict[str, Any]:
    """The job at its end, which is the end of its events."""
    with server.client.stream("GET", f"{ROUTE}/{job}/events") as response:
        *_, (name, answer) = events_of(response)
    assert name == "answer", answer
    return answer


def uploads_in(data: Path) -> list[Path]:
    """The uploads beside the database of jobs, without the markers of databases."""
    return [path for path in (data / "jobs").iterdir() if not path.name.startswith(".")]


def results(server: Server, job: str, **query: Any) -> list[dict[str, Any]]:
    response = server.client.get(f"{ROUTE}/{job}/results", params=query)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_zip_gives_what_the_route_gives(job_server: Server, archive: bytes, pictures: Path, data: Path) -> None:
    job = begin(job_server, data=FEATURES, files={"file": ("photos.zip", archive)})
    assert job["source"] == {"kind": "zip", "uploaded": True, "address": "", "images": "", "stride": 1}
    assert job["parameters"]["pool_size"] == 1
    end = wait_for_end(job_server, job["id"])
    assert (end["status"], end["total"], end["done"], end["failed"]) == ("done", IMAGES, IMAGES, 0)
    lines = results(job_server, job["id"])
    names = [str(path.relative_to(pictures)) for path in sorted(pictures.rglob("*.png"))]
    assert [line["image_name"] for line in lines] == names
    alone = job_server.client.post("/v1/features", files={"image": (pictures / names[1]).read_bytes()}).json()
    assert lines[1]["vector"] == pytest.approx(alone["vectors"][0], rel=1e-3, abs=1e-4)
    # The same images again, as the body itself: every result is there already.
    sent = {"content": archive, "headers": {"Content-Type": "application/zip"}, "params": FEATURES}
    again = wait_for_end(job_server, begin(job_server, **sent)["id"])
    assert (again["done"], again["reused"]) == (IMAGES, IMAGES)
    assert len(uploads_in(data)) == 2
    for finished in (job, again):
        assert job_server.client.delete(f"{ROUTE}/{finished['id']}").status_code == 204
    assert uploads_in(data) == []


def test_files_of_a_form_are_a_job_and_a_broken_one_fails_alone(job_server: Server, pictures: Path) -> None:
    good = (pictures / "even" / "00000.png").read_bytes()
    files = [("file", ("a.png", good)), ("file", ("a.png", b"no image")), ("file", ("b.PNG", good + b"\0"))]
    job = begin(job_server, data=FEATURES, files=files)
    end = wait_for_end(job_server, job["id"])
    assert (end["status"], end["done"], end["failed"]) == ("done", 2, 1)
    assert [failure["image_name"] for failure in end["failures"]] == ["1-a.png"]
    assert [line["image_name"] for line in results(job_server, job["id"])] == ["a.png", "b.PNG"]
    (failed,) = results(job_server, job["id"], status="failed")
    assert failed == end["failures"][0]
    assert failed["error"]
    again = job_server.client.post(f"{ROUTE}/{job['id']}/retry").json()
    assert (again["status"], again["done"], again["failed"]) in (("queued", 2, 0), ("running", 2, 0), ("done", 2, 1))
    assert wait_for_end(job_server, job["id"])["failed"] == 1


def test_a_data_set_in_a_zip_brings_its_order_and_ids(job_server: Server, pictures: Path) -> None:
    names = ["odd/00001.png", "even/00000.png"]
    document = {
        "images": [{"id": 70 + index, "file_name": name.rpartition("/")[2]} for index, name in enumerate(names)],
        "annotations": [{"id": 1, "image_id": 71, "bbox": [1, 2, 3, 4], "category_id": 1}],
    }
    files = {f"images/{name.rpartition('/')[2]}": (pictures / name).read_bytes() for name in names}
    whole = make_zip({**files, "annotations/instances.json": json.dumps(document).encode()})
    job = begin(job_server, data=FEATURES, files={"file": ("coco.zip", whole)})
    assert wait_for_end(job_server, job["id"])["status"] == "done"
    lines = results(job_server, job["id"])
    assert [(line["image_name"], line["image_id"]) for line in lines] == [("00001.png", 70), ("00000.png", 71)]
    assert "boxes" not in lines[0]
    assert lines[1]["boxes"] == [{"id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}]


def test_frames_of_a_video_are_images(job_server: Server, tmp_path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 50 * index, np.uint8))))
        container.mux(stream.encode())
    clip = (tmp_path / "clip.mp4").read_bytes()
    job = begin(job_server, data={**FEATURES, "stride": "2"}, files={"file": ("Clip.MP4", clip)})
    assert (job["source"]["kind"], job["source"]["stride"]) == ("video", 2)
    assert wait_for_end(job_server, job["id"])["status"] == "done"
    lines = results(job_server, job["id"])
    assert [(line["frame"], line["image"]) for line in lines] == [(n, {"width": 64, "height": 48}) for n in (0, 2, 4)]
    wrong = begin(job_server, data=FEATURES, files={"file": ("clip.mp4", b"no video")})
    assert "can not be read as video" in wait_for_end(job_server, wrong["id"])["error"]


@pytest.mark.parametrize("tail", ["", "/*/*.png", "/even/00000.png"])
def test_a_folder_that_the_settings_allow_is_read(job_server: Server, pictures: Path, tail: str) -> None:
    body = {"task": "features", "parameters": {"timesteps": [100]}, "source": f"{pictures}{tail}"}
    job = begin(job_server, json=body)
    assert job["source"]["address"] == body["source"]
    end = wait_for_end(job_server, job["id"])
    assert (end["status"], end["done"]) == ("done", 1 if tail.endswith("00000.png") else IMAGES)


def test_an_address_that_fsspec_opens_is_read_where_the_settings_allow_it(job_server: Server, png: bytes) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/shared/pictures/one.png", png)
    memory.pipe("/shared/other/one.png", png)
    job = begin(job_server, json={"task": "features", "source": "memory://shared/pictures"})
    assert wait_for_end(job_server, job["id"])["done"] == 1
    refused = job_server.client.post(ROUTE, json={"task": "features", "source": "memory://shared/other"})
    assert refused.status_code == 422


def test_a_link_out_of_an_allowed_folder_is_not_followed(job_server: Server, pictures: Path, tmp_path: Path) -> None:
    folder = pictures / "linked"
    folder.mkdir()
    outside = tmp_path / "outside.png"
    outside.write_bytes((pictures / "even" / "00000.png").read_bytes())
    (folder / "link.png").symlink_to(outside)
    try:
        end = wait_for_end(job_server, begin(job_server, json={"task": "features", "source": str(folder)})["id"])
        assert (end["done"], end["failed"]) == (0, 1)
        assert "may not read" in end["failures"][0]["error"]
        assert (
            job_server.client.post(ROUTE, json={"task": "features", "source": f"{folder}/link.png"}).status_code == 422
        )
    finally:
        (folder / "link.png").unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    "place",
    ["/", "/etc", "{allowed}/../x", "{allowed}2", "~", "file:///etc", "memory://shared", "s3://bucket", "a\0b"],
)
@pytest.mark.parametrize("field", ["source", "images"])
def test_other_places_are_refused_without_a_look(
    job_server: Server, pictures: Path, check_problem: Any, place: str, field: str
) -> None:
    body = {"task": "features", "source": str(pictures), field: place.format(allowed=pictures)}
    problem = check_problem(job_server.client.post(ROUTE, json=body), 422, "invalid-input")
    assert problem["field"] == field
    assert "may not read there" in problem["detail"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"json": {"task": "nothing", "urls": ["https://a.example/b.png"]}}, "urls"),
        ({"json": {"task": "features"}}, "source"),
        ({"json": {"task": "features", "sources": "x"}}, "sources"),
        ({"json": {"task": "features", "urls": ["ftp://x"]}}, "urls.0"),
        ({"data": {"task": "nothing"}, "files": {"file": ("a.png", b"x")}}, "task"),
        ({"data": {"task": "features", "parameters": '{"pool": 1}'}, "files": {"file": ("a.png", b"x")}}, "pool"),
        ({"data": {"task": "features", "parameters": "{1}"}, "files": {"file": ("a.png", b"x")}}, "parameters"),
        ({"data": FEATURES, "files": {"file": ("a.zip", b"")}}, "archive"),
        ({"data": FEATURES, "files": {"file": ("a.zip", b"PK\5\6" + bytes(18))}}, "archive"),
        ({"data": FEATURES, "files": {"file": ("a.zip", make_zip({"a.txt": b"x"}))}}, "archive"),
        ({"data": FEATURES, "files": {"file": ("a.txt", b"hello")}}, "file"),
        ({"data": FEATURES, "files": [("file", ("a.png", b"x"))] * 65}, "file"),
        ({"data": FEATURES, "files": {"other": ("a.png", b"x")}}, "other"),
        ({"data": FEATURES, "files": {"file": ("big.png", bytes(250_000))}}, "archive"),
        (
            {
                "content": make_zip({"a.png": b"x"}),
                "headers": {"Content-Type": "application/zip"},
                "params": {"x": "1"},
            },
            "task",
        ),
    ],
)
def test_an_invalid_job_is_refused_and_leaves_nothing(
    job_server: Server, data: Path, check_problem: Any, request_: dict[str, Any], field: str
) -> None:
    before = len(job_server.client.get(ROUTE).json()["jobs"])
    kept = {path.name for path in (data / "jobs").iterdir()} if (data / "jobs").is_dir() else set()
    problem = check_problem(job_server.client.post(ROUTE, **request_), 422, "invalid-input")
    assert problem["field"] == field
    assert len(job_server.client.get(ROUTE).json()["jobs"]) == before
    assert {path.name for path in (data / "jobs").iterdir()} == kept


def test_a_task_without_weights_is_reported_at_once(
    start_server: StartServer, tmp_path: Path, png: bytes, check_problem: Any
) -> None:
    bare = start_server(backbone=str(WITHOUT_HEADS), data_folder=tmp_path)
    response = bare.client.post(ROUTE, data={"task": "pose"}, files={"file": ("a.png", png)})
    check_problem(response, 404, "model-not-found")


def test_other_bodies_are_refused(job_server: Server, png: bytes, check_problem: Any) -> None:
    check_problem(
        job_server.client.post(ROUTE, content=png, headers={"Content-Type": "image/png"}), 415, "unsupported-body"
    )
    check_problem(
        job_server.client.post(ROUTE, content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed-body"
    )


@pytest.mark.parametrize("job", ["0123456789abcdef", "nothing", "%00", "a" * 300, "..%2F.."])
def test_a_job_that_is_not_there_is_404_everywhere(job_server: Server, job: str) -> None:
    url = f"{ROUTE}/{job}"
    responses = [job_server.client.get(url + tail) for tail in ("", "/events", "/results")]
    responses += [job_server.client.post(url + tail) for tail in ("/pause", "/resume", "/retry")]
    responses.append(job_server.client.delete(url))
    assert {response.status_code for response in responses} == {404}


def test_a_form_that_does_not_fit_is_refused(job_server: Server, archive: bytes, check_problem: Any) -> None:
    job = begin(job_server, data=FEATURES, files={"file": ("photos.zip", archive)})
    wait_for_end(job_server, job["id"])
    assert job["formats"] == ["jsonl"]
    for form in ("coco", "nothing"):
        refused = job_server.client.get(f"{ROUTE}/{job['id']}/results", params={"format": form})
        assert check_problem(refused, 422, "invalid-input")["field"] == "format"


def test_an_ended_job_is_neither_paused_nor_resumed(job_server: Server, archive: bytes, check_problem: Any) -> None:
    job = begin(job_server, data=FEATURES, files={"file": ("photos.zip", archive)})["id"]
    wait_for_end(job_server, job)
    for change in ("pause", "resume"):
        check_problem(job_server.client.post(f"{ROUTE}/{job}/{change}"), 409, "changed-meanwhile")


def test_pages_of_jobs_follow_each_other(job_server: Server, archive: bytes) -> None:
    made = [begin(job_server, data=FEATURES, files={"file": ("photos.zip", archive)})["id"] for _ in range(2)]
    first = job_server.client.get(ROUTE, params={"limit": 1}).json()
    second = job_server.client.get(ROUTE, params={"limit": 1, "before": first["before"]}).json()
    assert [page["jobs"][0]["id"] for page in (first, second)] == made[::-1]


def test_parameters_that_no_image_can_have_fail_the_job(job_server: Server, archive: bytes) -> None:
    form = {"task": "features", "parameters": '{"blocks": ["no_such_block"]}'}
    job = begin(job_server, data=form, files={"file": ("photos.zip", archive)})["id"]
    end = wait_for_end(job_server, job)
    assert end["status"] == "failed"
    assert "no_such_block" in end["error"]


# A job that runs long enough to be observed.

MANY = 24
SLOW = {"task": "features", "parameters": json.dumps({"timesteps": list(range(0, 240, 8))})}


@pytest.fixture
def many_images(tmp_path: Path) -> bytes:
    write_pictures(tmp_path / "many", MANY, seed=9)
    paths = sorted((tmp_path / "many").rglob("*.png"))
    return make_zip({str(path.relative_to(tmp_path / "many")): path.read_bytes() for path in paths})


def wait_for(server: Server, job: str, done: int) -> None:
    """Return as soon as the job has done so many images."""
    while server.client.get(f"{ROUTE}/{job}").json()["done"] < done:
        pass  # each answer waits for its turn on the server's loop


def events_of(response: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_progress_is_streamed_through_a_pause_to_the_end(
    job_server: Server, many_images: bytes, check_problem: Any
) -> None:
    job = begin(job_server, data=SLOW, files={"file": ("many.zip", many_images)})["id"]
    wait_for(job_server, job, 1)
    assert job_server.client.post(f"{ROUTE}/{job}/pause").json()["status"] == "paused"
    check_problem(job_server.client.get(f"{ROUTE}/{job}/results"), 409, "changed-meanwhile")
    part = results(job_server, job, partial=True)
    assert len(part) < MANY
    with job_server.client.stream("GET", f"{ROUTE}/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response)
        name, first = next(events)
        assert (name, first["status"]) == ("progress", "paused")
        assert job_server.client.post(f"{ROUTE}/{job}/resume").json()["status"] in ("queued", "running")
        *others, (last, end) = events
    assert {name for name, _ in others} <= {"progress"}
    assert (last, end["status"], end["done"]) == ("answer", "done", MANY)
    counts = [event["done"] for _, event in others]
    assert counts == sorted(counts)
    assert results(job_server, job)[: len(part)] == part


def test_a_job_is_deleted_while_it_runs(job_server: Server, many_images: bytes, data: Path) -> None:
    # Its own timesteps: with results of other tests' jobs it would be done at once.
    slow = {"task": "features", "parameters": json.dumps({"timesteps": list(range(1, 240, 8))})}
    job = begin(job_server, data=slow, files={"file": ("many.zip", many_images)})["id"]
    wait_for(job_server, job, 1)
    with job_server.client.stream("GET", f"{ROUTE}/{job}/events") as response:
        events = events_of(response)
        next(events)
        assert job_server.client.delete(f"{ROUTE}/{job}").status_code == 204
        name, problem = list(events)[-1]
    assert (name, problem["status"]) == ("problem", 404)
    assert job_server.client.get(f"{ROUTE}/{job}").status_code == 404
    assert not [path for path in (data / "jobs").iterdir() if job in path.name]
    # The runner has released it, and takes the next job.
    again = begin(job_server, data=FEATURES, files={"file": ("many.zip", many_images)})
    assert wait_for_end(job_server, again["id"])["status"] == "done"


def test_a_restart_goes_on_where_the_server_stopped(tmp_path: Path, many_images: bytes) -> None:
    settings: dict[str, Any] = {"data_folder": tmp_path / "data", "jobs": QUICK}
    with running_server(**settings) as first:
        job = begin(first, data=SLOW, files={"file": ("many.zip", many_images)})["id"]
        wait_for(first, job, 2)
    with running_server(**settings) as second:
        end = wait_for_end(second, job)
        assert (end["status"], end["total"], end["done"], end["failed"]) == ("done", MANY, MANY, 0)
        assert len(results(second, job)) == MANY
        assert (end["model"], end["reused"], end["model_replaced"]) == ("pocket", 0, False)
        store = open_store(second.state.settings)
        for model in ("pocket", "removed"):
            store.set_model(job, model, "of other weights")
            assert second.client.get(f"{ROUTE}/{job}").json()["model_replaced"] is True


def test_without_a_database_the_rest_of_the_server_works(tmp_path: Path, png: bytes, check_problem: Any) -> None:
    with running_server(jobs={"database": "sqlite:////nowhere/at/all/jobs.db"}) as server:
        check_problem(server.client.get(ROUTE), 503, "not-ready")
        assert server.client.post("/v1/features", files={"image": png}).status_code == 200


def test_copies_among_a_job_s_images_are_reported(job_server: Server, pictures: Path, check_problem: Any) -> None:
    files = [path.read_bytes() for path in sorted(pictures.rglob("*.png"))[:3]]
    named = {"a.png": files[0], "b.png": files[1], "copy of a.png": files[0]}
    form = {"task": "features", "parameters": '{"noise_samples": 0}'}
    job = begin(job_server, files={"archive": make_zip(named)}, data=form)["id"]
    assert wait_for_end(job_server, job)["done"] == 3
    answer = job_server.client.get(f"{ROUTE}/{job}/duplicates", params={"similarity": 0.999999}).json()
    assert answer["images"] == 3
    assert ["a.png", "copy of a.png"] in [[member["image"] for member in group] for group in answer["groups"]]
    check_problem(job_server.client.get(f"{ROUTE}/{job}/duplicates", params={"similarity": 2}), 422, "invalid-input")
    missing = job_server.client.get(f"{ROUTE}/none/duplicates")
    assert missing.status_code == 404


def test_a_classifier_is_fitted_to_a_job_s_vectors(job_server: Server, pictures: Path, check_problem: Any) -> None:
    files = [path.read_bytes() for path in sorted(pictures.rglob("*.png"))[:4]]
    named = dict(zip(("in/a/1.png", "in/a/2.png", "in/b/3.png", "in/b/4.png"), files, strict=True))
    form = {"task": "features", "parameters": '{"timesteps": [20], "blocks": ["mid_block"]}'}
    job = begin(job_server, files={"archive": make_zip(named)}, data=form)["id"]
    assert wait_for_end(job_server, job)["done"] == 4
    fitted = job_server.client.post("/v1/classifiers", json={"job": job, "name": "of a job"})
    assert fitted.status_code == 201, fitted.text
    answer = fitted.json()
    assert [(class_["label"], class_["images"]) for class_ in answer["classes"]] == [("a", 2), ("b", 2)]
    assert (answer["blocks"], answer["timesteps"], answer["rows"]) == (["mid_block"], [20], 0)
    result = job_server.client.post(f"/v1/classify/{answer['id']}", files={"image": files[0]}).json()
    assert result["answers"][0]["label"] in ("a", "b")

    def check_refusal(result: str, **body: Any) -> None:
        problem = check_problem(
            job_server.client.post("/v1/classifiers", json={"job": job, **body}), 422, "invalid-input"
        )
        assert result in problem["detail"]

    check_refusal("images are read with the job's options", pool_size=2)
    assert job_server.client.post("/v1/classifiers", json={"job": "none"}).status_code == 404
    flat = {"task": "features", "parameters": '{"normalise": true}'}
    scaled = begin(job_server, files={"archive": make_zip(named)}, data=flat)["id"]
    wait_for_end(job_server, scaled)
    check_refusal("scaled to length 1", job=scaled)
    loose = begin(job_server, files={"archive": make_zip({"1.png": files[0]})}, data=form)["id"]
    wait_for_end(job_server, loose)
    check_refusal("the file is in no folder", job=loose)
