"""A panel's request and the display of its answer, for a task that the page does not know."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from playground.description import ServerDescription, TaskForm, describe
from playground.options import to_arguments
from playground.panels.inputs import Chosen
from playground.panels.task import PanelRequest, answers, same_request
from playground.server import Server as Client
from playground.state import SAMPLES, Page
from service.tasks import TASKS
from tests.conftest import Server, running_server
from tests.playground.walking import run_shown
from tests.service.mean_colour import MEAN_COLOUR

IMAGE = SAMPLES / "cross-red.png"
CHOSEN = Chosen([("image", IMAGE)], [("image", IMAGE.name)], IMAGE)


@pytest.fixture(scope="module")
def trial_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tasks=(*TASKS, MEAN_COLOUR), data_folder=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def description(trial_server: Server) -> ServerDescription:
    with Client(trial_server.url) as client:
        return describe(client)


def request_of(form: TaskForm, **texts: str) -> PanelRequest:
    fields = list(texts.items())
    return PanelRequest(form, CHOSEN, fields, to_arguments(form.options, fields))


def page_of(trial_server: Server, description: ServerDescription) -> Page:
    return Page(trial_server.url, True, description, None)


def form_of(description: ServerDescription, name: str) -> TaskForm:
    return next(form for form in description.tasks if form.name == name)


SEVERAL = Chosen([("images", IMAGE)] * 2, [("image", IMAGE.name)] * 2)
SHOWN = Chosen(
    [("image", IMAGE), ("support_images", IMAGE), ("support_masks", SAMPLES / "masks" / IMAGE.name)],
    [("image", IMAGE.name), ("support_images", IMAGE.name), ("support_masks", f"masks/{IMAGE.name}")],
    IMAGE,
)


@pytest.mark.parametrize(
    ("task", "texts", "chosen"),
    [
        ("depth", {"maps": "false"}, CHOSEN),
        ("segmentation", {}, CHOSEN),
        ("referring", {"expressions": ["the cross", 'a "red" one']}, CHOSEN),
        ("pose", {"boxes": ["[[8, 8, 40, 100]]"]}, CHOSEN),
        ("few-shot", {}, SHOWN),
        ("zero-shot", {"labels": ["a cross", "@seven"], "budget": ["8"]}, CHOSEN),
        ("label-tree", {"tree": ['{"thing": ["cross", "ring"], "person": []}'], "budget": ["8"]}, CHOSEN),
        ("image-text", {"captions": ["a cross", "a seven"], "interval": ["500"]}, SEVERAL),
        ("features", {"timesteps": ["50"]}, SEVERAL),
        ("mean-colour", {"levels": ["6"]}, CHOSEN),
    ],
)
def test_the_commands_that_are_shown_run(
    trial_server: Server,
    description: ServerDescription,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    texts: dict[str, str | list[str]],
    chosen: Chosen,
) -> None:
    monkeypatch.chdir(SAMPLES)
    form = form_of(description, task)
    fields = [
        (name, text)
        for name, text_or_texts in texts.items()
        for text in ([text_or_texts] if isinstance(text_or_texts, str) else text_or_texts)
    ]
    request = PanelRequest(form, chosen, fields, to_arguments(form.options, fields))
    curl, python = same_request(request, trial_server.url, keyed=False)
    run_shown(python)
    assert "rows=" in capsys.readouterr().out
    answered = subprocess.run(f"{curl} -f", shell=True, capture_output=True, text=True, check=True).stdout
    assert '"rows":' in answered


def test_a_new_task_is_shown_with_the_servers_own_picture(trial_server: Server, description: ServerDescription) -> None:
    request = request_of(form_of(description, "mean-colour"), levels="6")
    (shown,) = answers(page_of(trial_server, description), request, "", trial_server.url)
    assert shown.picture is not None
    assert len(shown.picture[1].getcolors() or ()) == 1
    assert "red" in shown.html
    assert f"{trial_server.url}/v1/mean-colour" in shown.curl
    assert "levels=6" in shown.curl
    assert "levels=6" in shown.python


def test_a_stream_is_shown_as_it_comes(trial_server: Server, description: ServerDescription) -> None:
    request = request_of(form_of(description, "zero-shot"), labels="a cross", scheme="race")
    request.arguments["labels"] = ["a cross", "a seven"]
    *_, last = answers(page_of(trial_server, description), request, "", trial_server.url)
    assert "Stopped:" in last.html
    assert "zero_shot_stream" in last.python


def test_a_problem_is_shown_with_its_commands(trial_server: Server, description: ServerDescription) -> None:
    request = request_of(form_of(description, "depth"), scene="moon")
    (shown,) = answers(page_of(trial_server, description), request, "", trial_server.url)
    assert 'role="alert"' in shown.html
    assert "curl" in shown.curl


def test_parameters_of_the_path_stand_in_the_path(description: ServerDescription) -> None:
    form = form_of(description, "classifier")
    assert request_of(form, classifier="a/b").route == "/v1/classify/a%2Fb"
    assert request_of(form).route == "/v1/classify/-"
    assert "classifier" not in request_of(form, classifier="a").options
