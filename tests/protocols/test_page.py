"""Every call of docs/protocols.md answers as the task's own route; those of inference-sdk in `make protocols-check`."""

from __future__ import annotations

import pytest

from service.tasks import TASKS
from tests.conftest import Server
from tests.protocols.native import CHECKS, Native, fit_classifier
from tests.protocols.page import Example, calls_table, read_examples
from tests.protocols.run import run_example

# Seconds each on a machine that does nothing else; their tensors are tested on results that cost nothing.
_SLOW = {"label-tree", "image-text"}
HERE = [
    pytest.param(
        example, id=f"{example.client} {example.task}", marks=[pytest.mark.slow] if example.task in _SLOW else ()
    )
    for example in read_examples()
    if not example.apart
]


@pytest.fixture(scope="module")
def native(server: Server) -> Native:
    return Native(server.client, fit_classifier(server.client))


@pytest.mark.parametrize("example", HERE)
def test_a_call_of_the_page_answers_as_the_route(example: Example, server: Server, native: Native) -> None:
    run_example(example, server, native)


def test_every_call_of_the_page_is_compared_and_no_other() -> None:
    assert list(CHECKS) == [(example.client, example.task) for example in read_examples()]


def test_every_task_has_a_call() -> None:
    # No weights ship for the others. They are models of the Open Inference Protocol as every task is.
    named = {task.name for task in TASKS} - {"depth-relative", "normals"}
    assert {example.task for example in read_examples()} == named
    assert all(f"| `{name}` |" in calls_table() for name in named)
