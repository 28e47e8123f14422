"""What both clients know of a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffsight_client import Unreachable
from diffsight_client.job_calls import RECONNECTIONS, Reconnections, results_call, step_of
from diffsight_client.models import JobDetails

JOB = json.loads((Path(__file__).parent / "job.json").read_text())


def test_a_step_says_how_far_a_job_is() -> None:
    running = JobDetails.model_validate({**JOB, "done": 1, "failed": 1, "images_per_second": 2.0, "seconds_left": 9.0})
    step = step_of(running)
    assert (step.stage, step.done, step.total) == ("wait", 2, 3)
    assert step.text == "2.0 a second, 9 s left, 1 failed"
    assert step_of(running.model_copy(update={"status": "paused"})).text.startswith("paused")


def test_failures_have_one_form() -> None:
    assert results_call("7", format="coco").query == {"format": "coco", "status": None, "partial": None}
    assert results_call("7", failed=True, partial=True).query == {"format": None, "status": "failed", "partial": True}


def test_a_broken_connection_is_retried_a_bounded_number_of_times() -> None:
    broken, error = Reconnections(), Unreachable("cut")
    waits = [broken.after(error) for _ in range(RECONNECTIONS)]
    assert waits == sorted(waits)
    with pytest.raises(Unreachable):
        broken.after(error)
