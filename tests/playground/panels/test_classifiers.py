"""A classifier from folders."""

from __future__ import annotations

import pytest

from diffsight_client import Client
from playground.panels.classifiers import read_folders, same_fit, show_classifier
from playground.state import SAMPLES
from tests.conftest import Server
from tests.playground.walking import run_shown


def test_each_image_has_the_label_of_its_class() -> None:
    files, labels = read_folders([["/a/1.png", "/a/.DS_Store", "/a/2.png"], ["/b/1.png"]], ["cat ", ""])
    assert files == ["/a/1.png", "/a/2.png", "/b/1.png"]
    assert labels == ["cat", "cat", "class 2"]
    assert read_folders([None, None], ["", ""]) == ([], [])


def test_the_commands_show_some_images_of_each_class() -> None:
    images = [f"/tmp/{number}.png" for number in range(20)]
    curl, python = same_fit("http://host", images, {"labels": ["cat", "dog"] * 5 + ["eel"] * 10}, keyed=False)
    assert curl.startswith("# and 10 more images, each with its label\ncurl")
    assert (curl.count("-F labels=cat"), curl.count("-F labels=eel")) == (5, 5)
    assert python.count(".png") == 10


def test_the_python_of_a_fit_runs(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SAMPLES)
    names = ["cross-red.png", "cross-blue.png", "two-persons.png", "person-and-ring.png"]
    sent = {"name": "pets", "labels": ["cross", "cross", "person", "person"]}
    _, python = same_fit(server.url, names, sent, keyed=False)
    run_shown(python)
    assert "confusion=" in capsys.readouterr().out
    with Client(server.url) as client:
        for classifier in client.list_classifiers().classifiers:
            client.delete_classifier(classifier.id)


def test_a_fit_is_shown_with_its_confusion_matrix() -> None:
    classes = [{"label": "cat", "images": 3, "recall": 1.0}, {"label": "dog", "images": 1, "recall": None}]
    answer = {"id": "abc", "name": "pets", "classes": classes, "accuracy": 0.75, "confusion": [[3, 0], [1, 0]]}
    shown = show_classifier(answer)
    assert all(text in shown for text in ("75.0%", "Confusion matrix", "“pets”", "dog"))
