"""A seed decides a scene, and a scene holds the requested things."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from training.world import mannequin
from training.world.scene import SCENES_PER_SHARD, draw_shard
from training.world.vocabulary import CLASSES, HELD_OUT_CLASSES, QUESTION, TRAINING_CLASSES


def test_the_same_seed_and_number_give_the_same_shard() -> None:
    assert draw_shard(3, 5) == draw_shard(3, 5)
    assert draw_shard(3, 5) != draw_shard(3, 6)
    assert draw_shard(3, 5) != draw_shard(4, 5)


@pytest.mark.parametrize("kinds", [TRAINING_CLASSES, HELD_OUT_CLASSES], ids=["training", "held-out"])
def test_only_kinds_that_were_requested_appear(kinds: tuple[str, ...]) -> None:
    seen = {thing.kind for index in range(40) for thing in draw_shard(0, index, kinds).things}
    assert seen == set(kinds)


def test_training_never_sees_held_out_kinds_and_the_question_asks_about_ten_training_ones() -> None:
    assert not set(TRAINING_CLASSES) & set(HELD_OUT_CLASSES)
    assert len(set(QUESTION)) == 10
    assert set(QUESTION) <= set(TRAINING_CLASSES)
    assert set(CLASSES) == set(TRAINING_CLASSES) | set(HELD_OUT_CLASSES)


def test_things_stand_apart_and_every_scene_has_one() -> None:
    for index in range(30):
        shard = draw_shard(1, index)
        assert len(shard.scenes) == SCENES_PER_SHARD
        for scene in shard.scenes:
            assert 1 <= len(scene.things) <= 4
            for thing, neighbour in combinations(scene.things, 2):
                apart = np.hypot(thing.x - neighbour.x, thing.y - neighbour.y)
                assert apart > shard.things[thing.slot].footprint + shard.things[neighbour.slot].footprint


def test_a_quaternion_turns_about_x_first_then_y_then_z() -> None:
    w, x, y, z = mannequin.quaternion((90.0, 0.0, 90.0))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    # About x the y axis goes up to z, where a turn about z leaves it.
    assert np.allclose(rotation @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    assert np.allclose(rotation @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_poses_move_every_limb_but_the_pelvis_and_differ() -> None:
    draw = np.random.default_rng(0)
    poses = [mannequin.draw_pose(draw) for _ in range(20)]
    limbs = {limb.name for limb in mannequin.LIMBS[1:]}
    assert all(set(pose) == limbs for pose in poses)
    raised = [max(abs(pose["left_upper_arm"][1]), abs(pose["right_upper_arm"][1])) for pose in poses]
    assert max(raised) > 90 > min(raised)
