"""The Winoground scores, by hand."""

from __future__ import annotations

import torch

from heads.diffusion_classifier.winoground import correct, evenly_spaced_timesteps, report

RIGHT = [[2.0, 1.0], [1.0, 2.0]]
TIE = [[1.0, 1.0], [1.0, 1.0]]


def test_a_tie_is_wrong() -> None:
    by_score = correct(torch.tensor([RIGHT, TIE]))
    assert all(right.tolist() == [True, False] for right in by_score.values())


def test_text_and_image_scores_are_different_questions() -> None:
    # Each caption prefers its image, but image 1 is easy whatever the caption says.
    by_score = correct(torch.tensor([[[2.0, 3.0], [1.0, 4.0]]]))
    assert (by_score["text"].item(), by_score["image"].item(), by_score["group"].item()) == (
        True,
        False,
        False,
    )


def test_a_tag_without_examples_gives_no_line() -> None:
    lines = report(torch.tensor([RIGHT, TIE]), ["Object", "Object"])
    assert lines[0] == "Overall text score:  50.0 +/-  69.3"
    assert len(lines) == 6
    assert not any(line.startswith(("Relation", "Both")) for line in lines)


def test_timesteps_sit_in_the_middle_of_their_intervals() -> None:
    assert evenly_spaced_timesteps(250) == [125, 375, 625, 875]
    assert len(evenly_spaced_timesteps(1)) == 1000
