"""A classifier from folders."""

from __future__ import annotations

from playground.panels.classifiers import read_folders, same_fit, show_classifier


def test_each_image_has_the_label_of_its_class() -> None:
    files, labels = read_folders([["/a/1.png", "/a/.DS_Store", "/a/2.png"], ["/b/1.png"]], ["cat ", ""])
    assert files == ["/a/1.png", "/a/2.png", "/b/1.png"]
    assert labels == ["cat", "cat", "class 2"]
    assert read_folders([None, None], ["", ""]) == ([], [])


def test_the_command_shows_the_first_images() -> None:
    images = [f"/tmp/{number}.png" for number in range(5)]
    curl, python = same_fit("http://host", images, {"labels": ["cat"] * 5, "name": "pets"}, keyed=False)
    assert curl.startswith("# and 2 more images, each with its label\ncurl")
    assert curl.count("-F labels=cat") == 3
    assert 'name="pets"' in python


def test_a_fit_is_shown_with_its_confusion_matrix() -> None:
    classes = [{"label": "cat", "images": 3, "recall": 1.0}, {"label": "dog", "images": 1, "recall": None}]
    answer = {"id": "abc", "name": "pets", "classes": classes, "accuracy": 0.75, "confusion": [[3, 0], [1, 0]]}
    shown = show_classifier(answer)
    assert all(text in shown for text in ("75.0%", "Confusion matrix", "“pets”", "dog"))
