"""Persons as parts of a segmentation: boxes, scores, and parts that are too small or too uncertain."""

from __future__ import annotations

import numpy as np
from torch import nn

from heads.results import ClassMap
from heads.sdpose.detectors import Detector
from service.models.host_memory import tensors_in
from service.models.person_finder import boxes_of_parts, find_by_detector
from service.models.slots import networks_in


def test_each_connected_part_of_the_class_is_a_box_and_the_surest_is_first() -> None:
    classes = np.zeros((40, 60), dtype=np.uint16)
    probabilities = np.full((40, 60), 0.9, dtype=np.float32)
    classes[5:25, 4:14], probabilities[5:25, 4:14] = 1, 0.6  # too uncertain
    classes[10:30, 40:52] = 1
    classes[30:34, 20:24] = 2  # of another class
    classes[0, 59] = 1  # too small
    class_map = ClassMap(classes, ("floor", "person", "cube"), np.zeros((3, 3), np.uint8), probabilities)
    boxes, scores = boxes_of_parts(class_map, "person", 0.3)
    assert boxes.tolist() == [[40, 10, 12, 20], [4, 5, 10, 20]]
    np.testing.assert_allclose(scores, [0.9, 0.6], atol=1e-6)
    assert len(boxes_of_parts(class_map, "person", 0.7)[0]) == 1


def test_the_network_of_a_detector_leaves_and_counts_with_its_pose_head() -> None:
    network = nn.Linear(3, 2)
    nobody = (np.zeros((0, 4)), np.zeros(0))
    finder = find_by_detector(Detector("detr", lambda image, threshold: nobody, on_device=True, network=network))
    assert {id(tensor) for tensor in tensors_in([finder])} == {id(network.weight), id(network.bias)}
    assert list(networks_in(finder)) == [network]


def test_without_persons_the_boxes_are_an_empty_list() -> None:
    nothing = ClassMap(
        np.zeros((8, 8), np.uint16), ("floor", "person"), np.zeros((2, 3), np.uint8), np.ones((8, 8), np.float32)
    )
    boxes, scores = boxes_of_parts(nothing, "person", 0.1)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
