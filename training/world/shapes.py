"""The parts of each kind of thing: MuJoCo geoms at unit height, standing on z = 0 around the vertical axis."""

from __future__ import annotations

from dataclasses import dataclass

# Meshes that MuJoCo builds itself: name -> (builtin, parameters). They fill a cube of side 2 around the origin.
MESHES = {
    "cone": ("cone", "28 0"),
    "ring": ("supertorus", "24 0.32 1 1"),
    "shade": ("cone", "24 0.45"),
    "dome": ("hemisphere", "6"),
}


@dataclass(frozen=True, slots=True)
class ShapePart:
    """One geom. kind: a MuJoCo primitive or a name of MESHES. size, at: metres at unit scale. euler: degrees.

    shade: factor of the thing's colour on this part, so that a lamp's pole differs from its shade.
    """

    kind: str
    size: tuple[float, ...]
    at: tuple[float, float, float]
    euler: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shade: float = 1.0


def _legs(reach: float, top: float, radius: float) -> tuple[ShapePart, ...]:
    corners = ((-reach, -reach), (-reach, reach), (reach, -reach), (reach, reach))
    return tuple(ShapePart("cylinder", (radius, top / 2), (x, y, top / 2), shade=0.8) for x, y in corners)


PARTS: dict[str, tuple[ShapePart, ...]] = {
    "ball": (ShapePart("sphere", (0.42,), (0, 0, 0.42)),),
    "cube": (ShapePart("box", (0.36, 0.36, 0.36), (0, 0, 0.36)),),
    "cone": (ShapePart("cone", (0.44, 0.44, 0.48), (0, 0, 0.48)),),
    "cylinder": (ShapePart("cylinder", (0.30, 0.44), (0, 0, 0.44)),),
    "ring": (ShapePart("ring", (0.48, 0.48, 0.48), (0, 0, 0.48), (90, 0, 0)),),
    "table": (ShapePart("box", (0.52, 0.42, 0.04), (0, 0, 0.62)), *_legs(0.36, 0.58, 0.045)),
    "chair": (
        ShapePart("box", (0.30, 0.30, 0.04), (0, 0, 0.44)),
        ShapePart("box", (0.30, 0.04, 0.30), (0, 0.26, 0.74)),
        *_legs(0.24, 0.40, 0.04),
    ),
    "lamp": (
        ShapePart("cylinder", (0.24, 0.03), (0, 0, 0.03), shade=0.7),
        ShapePart("cylinder", (0.035, 0.32), (0, 0, 0.35), shade=0.7),
        ShapePart("shade", (0.36, 0.36, 0.19), (0, 0, 0.81)),
    ),
    "mushroom": (
        ShapePart("cylinder", (0.13, 0.25), (0, 0, 0.25), shade=1.35),
        ShapePart("dome", (0.48, 0.48, 0.40), (0, 0, 0.48)),
    ),
    "snowman": (
        ShapePart("sphere", (0.30,), (0, 0, 0.29)),
        ShapePart("sphere", (0.21,), (0, 0, 0.67)),
        ShapePart("sphere", (0.14,), (0, 0, 0.94)),
    ),
    "bottle": (
        ShapePart("cylinder", (0.21, 0.30), (0, 0, 0.30)),
        ShapePart("cone", (0.21, 0.21, 0.16), (0, 0, 0.74)),
        ShapePart("cylinder", (0.07, 0.17), (0, 0, 0.85), shade=0.75),
    ),
    "arch": (
        ShapePart("box", (0.11, 0.16, 0.32), (-0.36, 0, 0.32)),
        ShapePart("box", (0.11, 0.16, 0.32), (0.36, 0, 0.32)),
        ShapePart("box", (0.50, 0.16, 0.11), (0, 0, 0.75)),
    ),
    "dumbbell": (
        ShapePart("sphere", (0.25,), (-0.38, 0, 0.25)),
        ShapePart("sphere", (0.25,), (0.38, 0, 0.25)),
        ShapePart("cylinder", (0.07, 0.36), (0, 0, 0.25), (0, 90, 0), shade=0.75),
    ),
    "cross": (
        ShapePart("box", (0.12, 0.12, 0.48), (0, 0, 0.48)),
        ShapePart("box", (0.40, 0.12, 0.12), (0, 0, 0.60)),
    ),
    "stool": (
        ShapePart("cylinder", (0.34, 0.05), (0, 0, 0.62)),
        *_legs(0.18, 0.58, 0.04),
    ),
}

FOOTPRINT = 0.55
"""Radius in metres, at unit scale, of a circle that contains any of these things, seen from above."""
