"""The digits: a fixed split without overlap, and images that are the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from training.datasets.captioned import CaptionedImages
from training.datasets.digits import (
    CLASS_PROMPTS,
    DIGIT_NAMES,
    IMAGE_SIZE,
    Digits,
    load_held_out_digits,
    load_training_digits,
)


def test_no_digit_is_both_trained_on_and_held_out() -> None:
    training, held_out = load_training_digits().source_indices, load_held_out_digits().source_indices
    assert len(training) + len(held_out) == 1797
    assert set(training) | set(held_out) == set(range(1797))


def test_the_split_is_the_one_that_pocket_was_trained_with() -> None:
    held_out = load_held_out_digits()
    assert len(held_out) == 360
    assert held_out.source_indices[:8].tolist() == [6, 11, 15, 16, 21, 23, 35, 40]
    assert int(held_out.source_indices.sum()) == 321098


def test_every_digit_has_its_share_of_the_held_out_images() -> None:
    counts = np.bincount(load_held_out_digits().labels)
    assert counts.min() >= 35
    assert counts.max() <= 37


def test_labels_belong_to_their_images_whatever_the_split() -> None:
    """Each image is nearest to the mean of its own digit, most of the time: labels were not shuffled away."""
    training, held_out = load_training_digits(), load_held_out_digits()
    small_images = np.stack([training.image(index)[::4, ::4, 0] for index in range(len(training))]).astype(np.float64)
    means = np.stack([small_images[training.labels == digit].mean(axis=0) for digit in range(10)])
    images = np.stack([held_out.image(index)[::4, ::4, 0] for index in range(len(held_out))]).astype(np.float64)
    nearest = np.square(images[:, None] - means).mean(axis=(2, 3)).argmin(axis=1)
    assert (nearest == held_out.labels).mean() > 0.8


@pytest.mark.parametrize("digits", [load_training_digits(), load_held_out_digits()], ids=["training", "held-out"])
def test_digits_are_captioned_images(digits: Digits) -> None:
    images: CaptionedImages = digits
    for index in (0, len(images) - 1):
        for image in (images.image(index), images.augment(index, np.random.default_rng(0))):
            assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
            assert image.dtype == np.uint8
            assert (image == image[:, :, :1]).all()
            assert np.ptp(image) > 60


def test_an_image_is_dark_ink_on_light_paper_with_empty_borders() -> None:
    image = load_held_out_digits().image(0)
    assert image[:3].min() > 220
    assert image[-3:].min() > 220
    assert image.min() < 60


def test_the_same_generator_state_gives_the_same_augmentation_and_another_a_different_one() -> None:
    digits = load_training_digits()
    first, again, other = (digits.augment(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_augmentation_shows_both_polarities() -> None:
    digits, generator = load_training_digits(), np.random.default_rng(0)
    papers = [int(np.median(digits.augment(index, generator)[:4])) for index in range(60)]
    light = sum(paper > 128 for paper in papers)
    assert 30 < light < 60


def test_captions_name_the_digit_and_the_first_is_the_prompt_of_its_class() -> None:
    digits = load_training_digits()
    for index in range(20):
        label = int(digits.labels[index])
        captions = digits.captions(index)
        assert captions[0] == CLASS_PROMPTS[label] == f"a handwritten {DIGIT_NAMES[label]}"
        assert all(DIGIT_NAMES[label] in caption or str(label) in caption for caption in captions)


def test_digits_can_be_drawn_larger() -> None:
    small, large = load_held_out_digits(64), load_held_out_digits(128)
    assert large.image(3).shape == large.augment(3, np.random.default_rng(0)).shape == (128, 128, 3)
    assert np.abs(large.image(3)[::2, ::2].astype(int) - small.image(3)).mean() < 12
