"""The vocabulary of the rendered world: things, colours and floors."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]
"""Red, green, blue, 0..1."""

TRAINING_CLASSES = (
    "ball",
    "cube",
    "cone",
    "cylinder",
    "ring",
    "table",
    "chair",
    "lamp",
    "mushroom",
    "person",
    "snowman",
    "bottle",
)
"""Kinds of things in the training data. The first ten are the labels of the ten-way question."""

HELD_OUT_CLASSES = ("arch", "dumbbell", "cross", "stool")
"""Kinds of things in no training scene: for few-shot tests."""

CLASSES = TRAINING_CLASSES + HELD_OUT_CLASSES
QUESTION = TRAINING_CLASSES[:10]
"""The labels of "which object is this", chance 0.10."""

QUESTION_TEMPLATE = "a photo of a {}"

COLOURS: dict[str, Colour] = {
    "red": (0.82, 0.10, 0.10),
    "orange": (0.95, 0.50, 0.08),
    "yellow": (0.93, 0.83, 0.15),
    "green": (0.13, 0.60, 0.20),
    "blue": (0.12, 0.28, 0.82),
    "purple": (0.50, 0.15, 0.65),
    "pink": (0.95, 0.52, 0.70),
    "white": (0.93, 0.93, 0.93),
    "black": (0.08, 0.08, 0.09),
}

SIZES = {"small": (0.50, 0.62), "large": (0.85, 1.0)}
"""Ranges of scale by word, in metres for a thing of unit height."""

FLOORS = ("wooden", "tiled", "checkered", "grey", "carpeted")


@dataclass(frozen=True, slots=True)
class Surface:
    """How light leaves a thing. specular, shininess, reflectance: MuJoCo's material parameters, 0..1."""

    specular: float
    shininess: float
    reflectance: float


MATERIALS = {"matte": Surface(0.05, 0.05, 0.0), "shiny": Surface(0.9, 0.85, 0.0)}

# In semantic maps: 0 is the background (walls, sky), 1 the floor, then the things in the order of CLASSES.
BACKGROUND, FLOOR = 0, 1
SEMANTIC_NAMES = ("background", "floor", *CLASSES)


def semantic_id(name: str) -> int:
    """Value of a class in semantic maps and category id in COCO files: its index in SEMANTIC_NAMES."""
    return SEMANTIC_NAMES.index(name)
