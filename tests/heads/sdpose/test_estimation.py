"""The whole procedure on a small published network."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.sdpose.estimation import PoseModel, empty_context, estimate_poses

Image = NDArray[np.uint8]
Published = tuple[DirectEngine, PoseModel]
BOXES = np.array([[10.0, 20.0, 90.0, 120.0], [100.5, 30.0, 60.0, 150.0], [-20.0, -20.0, 80.0, 60.0]])


def test_a_person_does_not_depend_on_the_others(published_model: Published, image: Image) -> None:
    engine, model = published_model
    together = complete(estimate_poses(engine, model, image, BOXES))
    assert together.points.shape == (3, 133, 2)
    for index in range(len(BOXES)):
        alone = complete(estimate_poses(engine, model, image, BOXES[index : index + 1]))
        np.testing.assert_allclose(alone.scores[0], together.scores[index], atol=1e-4)
        # Random maps are flat, and their points may jump; points on a clear peak must not.
        firm = together.scores[index] > 1.0
        assert np.median(np.abs(alone.points[0] - together.points[index])[firm]) < 0.05


def test_the_same_image_gets_the_same_answer(published_model: Published, image: Image) -> None:
    engine, model = published_model
    first, second = (complete(estimate_poses(engine, model, image, BOXES)) for _ in range(2))
    assert (first.points == second.points).all()
    assert (first.scores == second.scores).all()


def test_without_boxes_the_whole_image_is_one(published_model: Published, image: Image) -> None:
    engine, model = published_model
    poses = complete(estimate_poses(engine, model, image))
    assert poses.boxes.tolist() == [[0, 0, image.shape[1], image.shape[0]]]
    assert poses.boxes_from == "whole_image"
    assert poses.names == model.skeleton.names


def test_without_persons_the_answer_is_empty(published_model: Published, image: Image) -> None:
    engine, model = published_model
    poses = complete(estimate_poses(engine, model, image, np.zeros((0, 4)), boxes_from="detector"))
    assert poses.points.shape == (0, 133, 2)
    assert poses.boxes_from == "detector"


def test_more_persons_than_are_held_at_a_time(published_model: Published, image: Image) -> None:
    engine, model = published_model
    many = np.concatenate([BOXES] * 6)
    poses = complete(estimate_poses(engine, model, image, many))
    assert len(poses.points) == 18
    # The batches differ in size, and with it the order in which a convolution adds up.
    np.testing.assert_allclose(poses.scores[15:], poses.scores[:3], rtol=1e-4, atol=1e-4)


def test_the_flip_test_and_the_other_crop_change_the_answer(published_model: Published, image: Image) -> None:
    engine, model = published_model
    plain, flipped, stretched = (
        complete(estimate_poses(engine, model, image, BOXES, **options))
        for options in ({}, {"flip_test": True}, {"crop": "stretch"})
    )
    assert np.abs(flipped.scores - plain.scores).max() > 0.01
    assert np.abs(stretched.scores - plain.scores).max() > 0.01


@pytest.mark.parametrize(
    "boxes",
    [[[0, 0, 0, 10]], [[0, 0, 10, -1]], [[0, float("nan"), 10, 10]], [[0, 0, float("inf"), 10]], [[0, 0, 10]], [0, 1]],
)
def test_invalid_boxes_are_refused(published_model: Published, image: Image, boxes: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"box|array"):
        complete(estimate_poses(*published_model, image, np.array(boxes, dtype=np.float64)))


def test_the_context_is_that_of_two_tokens(published_model: Published) -> None:
    engine, _ = published_model
    context = complete(empty_context(engine))
    backbone: Any = engine.model
    ids = torch.tensor(engine.tokenize([""]))
    assert ids.shape == (1, 2)
    with torch.no_grad():
        torch.testing.assert_close(context, backbone.text_encoder(ids)[0][0], atol=1e-5, rtol=0)


def test_rows_of_several_requests_share_batches(published_model: Published, image: Image) -> None:
    from service.engine.worker import DeviceWorker

    direct, model = published_model
    engine = DeviceWorker(direct.model)
    batches: list[tuple[str, int]] = []
    engine.on_batch = lambda ran: batches.append((ran.kind, ran.size))

    async def ask(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        with engine.session("pose") as request:
            return (await estimate_poses(request, model, image, boxes)).scores

    async def both() -> list[NDArray[np.float32]]:
        tasks = [asyncio.create_task(ask(BOXES)), asyncio.create_task(ask(BOXES[::-1]))]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            # Steps are taken by hand, and only once every request that goes on waits for the device.
            if all(request.waiting for request in engine._queue.requests.values()):
                engine.step()
        return [task.result() for task in tasks]

    first, second = asyncio.run(both())
    engine.stop()
    np.testing.assert_allclose(first, second[::-1], atol=1e-4)
    assert ("unet", 6) in batches
    assert ("encode", 6) in batches
