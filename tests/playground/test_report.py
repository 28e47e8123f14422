"""Answers as HTML."""

from __future__ import annotations

from diffsight_client import ServerProblem, Unreachable
from playground import report


def test_labels_that_were_dropped_are_grey_and_say_why() -> None:
    dropped = [{"label": "dog", "by": "cat", "rows": 64, "units": 8}]
    posterior = [{"label": "cat", "probability": 0.9}, {"label": "dog", "probability": 0.1}]
    answer = {"label": "cat", "posterior": posterior, "dropped": dropped, "confidence": 0.97, "stopped": "decided"}
    shown = report.show(answer | {"timing": {}})
    assert shown.count("ds-dropped") == 1
    assert "dropped after 64 rows, led by cat" in shown
    assert "Confidence 0.970. Stopped: decided." in shown
    assert "Stopped" not in report.show(answer)


def test_texts_of_callers_and_servers_are_escaped() -> None:
    label = "<script>alert(1)</script>"
    answer = {"label": label, "posterior": [{"label": label, "probability": 1.0}], "notes": [label]}
    problem = ServerProblem(422, {"title": label, "detail": label, "hint": label, "field": label})
    for shown in (
        report.show(answer),
        report.show_problem(problem),
        report.advise(label),
        report.table([label], [[label]]),
    ):
        assert "<script" not in shown


def test_problems_have_the_servers_words_and_its_hint() -> None:
    problem = ServerProblem(422, {"title": "A value", "detail": "this head has no scenes", "hint": "leave it out"})
    shown = report.show_problem(problem)
    assert all(text in shown for text in ("422 A value", "this head has no scenes", "leave it out", 'role="alert"'))
    assert "refused" in report.show_problem(Unreachable("refused"))


def test_names_between_backticks_are_code() -> None:
    assert "<code>scene</code> &lt;" in report.note("`scene` <")


def test_rows_and_milliseconds_are_counted() -> None:
    shown = report.show_cost({"rows": 1, "timing": {"seconds": {"unet": 0.25}}, "backbone": {"name": "pocket"}}, 0.5)
    assert "<b>1</b> U-Net row ·" in shown
    assert "<b>500</b> ms (unet 250) · pocket" in shown


def test_long_texts_and_lists_are_cut_in_the_json() -> None:
    shown = report.as_json({"png16": "A" * 5000, "vector": list(range(100)), "rows": 1})
    assert "5,000 characters" in shown
    assert "100 numbers" in shown
    assert len(shown) < 400


def test_answers_of_an_unknown_shape_are_listed() -> None:
    assert "0.250" in report.show({"red": 0.25, "rows": 0})


def test_a_confusion_matrix_has_a_row_a_class() -> None:
    shown = report.confusion(["cat", "dog"], [[3, 1], [0, 2]])
    assert shown.count("<tr>") == 3


def test_relative_depth_has_its_scale_and_normals_their_fields() -> None:
    figures = dict.fromkeys(("minimum", "maximum", "mean", "median", "percentile_5", "percentile_95"), 0.25)
    shown = report.show({"unit": "relative", "statistics": figures, "steps": 4, "rows": 4})
    assert "near 0.25 relative" in shown
    assert "percentile 95" in shown
    shown = report.show({"mean": [0.0, 0.1, 0.9], "steps": 4, "ensemble_size": 2, "rows": 8})
    assert "ensemble_size" in shown
