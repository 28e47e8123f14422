"""Heads ready for use: a network, its U-Net variant, and the properties that its checkpoint or its task defines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.rows import Captures
from heads.vpd.depth_network import DepthNetwork
from heads.vpd.features import FeatureLayers, pyramid, stack_pyramids
from heads.vpd.referring_network import ReferringNetwork
from heads.vpd.segmentation_network import SegmentationNetwork

DenseTask = Literal["depth", "segmentation", "referring"]

# In the order of the published embeddings' rows, with the data set's spelling.
NYU_SCENES = (
    "printer_room", "bathroom", "living_room", "study", "conference_room", "study_room", "kitchen", "home_office",
    "bedroom", "dinette", "playroom", "indoor_balcony", "laundry_room", "basement", "excercise_room", "foyer",
    "home_storage", "cafe", "furniture_store", "office_kitchen", "student_lounge", "dining_room", "reception_room",
    "computer_lab", "classroom", "office", "bookstore",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DepthHead:
    """Metric depth.

    contexts: (S, D), adapted. scenes: names of its rows, of which the U-Net gets one; empty if it always gets all.
    size: pixels of the shorter side that the network was made for. maps: whether attention maps are channels.
    """

    network: DepthNetwork
    layers: FeatureLayers
    contexts: Tensor
    scenes: tuple[str, ...] = NYU_SCENES
    max_metres: float = 10.0
    size: int = 480
    maps: bool = False
    variant: str = ""
    name: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationHead:
    """Semantic segmentation.

    contexts: (K, D), adapted, a token a class. palette: (K, 3) uint8 RGB. size: side of the published crop.
    """

    network: SegmentationNetwork
    layers: FeatureLayers
    contexts: Tensor
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    size: int = 512
    variant: str = ""
    name: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReferringHead:
    """Referring segmentation.

    tokens: how many of the text context the network was made for, start and end included.
    squash: whether images are distorted to a square, as published, instead of scaled to their shorter side.
    """

    network: ReferringNetwork
    layers: FeatureLayers
    tokens: int
    size: int = 512
    squash: bool = True
    variant: str = ""
    name: str = ""
    revision: str = ""


Head = DepthHead | SegmentationHead | ReferringHead


@torch.no_grad()
def run_head(head: Head, captures: Sequence[Captures], *arguments: Any, maps: bool) -> list[Tensor]:
    """The output of the head's network for each row, in one batch: (H, W) metres, or (K, h, w) logits, float32 each.

    captures: of rows of one size. arguments: the network's own. maps: whether it reads attention maps.
    """
    pyramids = [pyramid(row, head.layers, maps=maps) for row in captures]
    return list(head.network(stack_pyramids(pyramids), *arguments).unbind())
