"""A posterior as an answer: the order of labels, and the fields of a progress event."""

from __future__ import annotations

from heads.diffusion_classifier.answers import PosteriorAnswer, answer_progress, posterior_fields, rank_labels
from heads.results import DroppedLabel, Posterior

POSTERIOR = Posterior(
    labels=("dog", "cat", "fox", "owl"),
    probabilities=(0.4, 0.4, 0.15, 0.05),
    calibrated=True,
    mean_errors=(0.2, 0.2, 0.3, 0.4),
    rounds_survived=(2, 2, 1, 0),
    rows=30,
    label="cat",
    confidence=0.9,
    tied=("dog",),
    dropped=(DroppedLabel("owl", "cat", 5, 20), DroppedLabel("fox", "cat", 9, 28)),
    stopped="indifferent",
)


def test_the_answer_leads_those_that_tie_with_it() -> None:
    assert [label.label for label in rank_labels(POSTERIOR)] == ["cat", "dog", "fox", "owl"]


def test_dropped_labels_keep_their_order() -> None:
    answer = PosteriorAnswer(**posterior_fields(POSTERIOR))
    assert [(label.label, label.rows) for label in answer.dropped] == [("owl", 20), ("fox", 28)]
    assert (answer.label, answer.tied, answer.stopped, answer.rows) == ("cat", ["dog"], "indifferent", 30)


def test_a_progress_does_not_say_why_the_work_ended() -> None:
    whole, progress = posterior_fields(POSTERIOR), answer_progress(POSTERIOR).model_dump()
    assert set(whole) - set(progress) == {"stopped"}
