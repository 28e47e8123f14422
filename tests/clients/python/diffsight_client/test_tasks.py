"""Calls of tasks by their name."""

from __future__ import annotations

import pytest

from diffsight_client import BadInput, Client
from diffsight_client.models import ModelsAnswer
from diffsight_client.tasks import task_call
from tests.conftest import Server


@pytest.fixture(scope="module")
def served_models(server: Server) -> ModelsAnswer:
    with Client(server.url) as client:
        return client.models()


def test_options_of_the_path_go_there(served_models: ModelsAnswer) -> None:
    call = task_call(served_models, "classifier", [b"1"], {"classifier": "a/b", "top": 3})
    assert call.path == "/v1/classify/a%2Fb"
    assert call.options == {"top": 3, "format": None}
    assert call.images == {"images": [b"1"]}


def test_supports_go_as_images(served_models: ModelsAnswer) -> None:
    call = task_call(served_models, "few-shot", b"1", {"support_images": [b"2"], "support_masks": [b"3"]}, format="png")
    assert call.images == {"image": b"1", "support_images": [b"2"], "support_masks": [b"3"]}
    assert call.options == {"format": "png"}


def test_a_task_that_is_not_there_is_refused_with_those_that_are(served_models: ModelsAnswer) -> None:
    with pytest.raises(BadInput, match=r"'dept'; it has .*depth"):
        task_call(served_models, "dept", b"1", {})
