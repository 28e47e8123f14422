"""The answer that describes a job."""

from __future__ import annotations

from service.api.job_bodies import JobRequest, job_details, job_request_bodies
from service.jobs.records import Job, Record
from service.models.store import ModelStore
from service.settings.loader import load_settings
from service.tasks import TASKS
from service.telemetry.metrics import Metrics

SOURCE = {"kind": "zip", "address": "1.zip", "uploaded": True}
JOB = Job(
    "1",
    "depth",
    {"maps": True},
    SOURCE,
    False,
    0.0,
    10.0,
    0.0,
    status="done",
    revision="r",
    listed=True,
    total=3,
    done=2,
    failed=1,
)
MODELS = ModelStore(load_settings(), TASKS, Metrics())
"""Not started."""


def test_a_job_lists_its_forms_and_hides_the_path_of_an_upload() -> None:
    answer = job_details(JOB, [Record(2, "c.png", {}, "", None, "no image")], TASKS, MODELS)
    assert answer.formats == ["jsonl", "png", "npy"]
    assert (answer.source.uploaded, answer.source.address) == (True, "")
    assert answer.created == "1970-01-01T00:00:00+00:00"
    assert answer.images_per_second == 0.3
    assert answer.model_replaced is None
    assert [(failure.image_name, failure.error) for failure in answer.failures] == [("c.png", "no image")]


def test_a_job_of_a_task_that_is_gone_is_still_shown() -> None:
    assert job_details(JOB, [], (), MODELS).formats == ["jsonl"]


def test_the_example_of_a_job_is_one() -> None:
    content = job_request_bodies()["requestBody"]["content"]
    JobRequest.model_validate(content["application/json"]["example"])
    assert content.keys() == {"multipart/form-data", "application/json", "application/zip"}
