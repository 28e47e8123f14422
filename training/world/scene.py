"""Things, light and camera of a scene, drawn from a seed before rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.world import mannequin
from training.world.mannequin import Pose
from training.world.shapes import FOOTPRINT
from training.world.vocabulary import COLOURS, FLOORS, MATERIALS, SIZES, TRAINING_CLASSES

SCENES_PER_SHARD = 8
THINGS_PER_SHARD = 6
FIELD_OF_VIEW = 45.0
"""Degrees, vertical."""

_ROOM = 1.5  # half the side of the square that things stand in, metres
_PERSON_SCALES = {"small": (0.46, 0.56), "large": (0.62, 0.76)}


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing that the scenes of a shard share. size: a word of SIZES. scale: of the unit shape."""

    kind: str
    size: str
    scale: float

    @property
    def footprint(self) -> float:
        """Radius in metres of the circle on the floor that contains the thing."""
        return self.scale * (0.62 if self.kind == "person" else FOOTPRINT)

    @property
    def height(self) -> float:
        """Approximate height in metres."""
        return self.scale * (mannequin.HEIGHT if self.kind == "person" else 1.0)


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing in a scene. slot: its index among the shard's things. x, y: metres. yaw: degrees about the vertical.

    colour, material: words. tint: added to the colour's red, green and blue. pose: of a person, else empty.
    paints: of a person, red, green and blue of each of mannequin.PAINTS.
    """

    slot: int
    x: float
    y: float
    yaw: float
    colour: str
    material: str
    tint: tuple[float, float, float]
    pose: Pose
    paints: dict[str, tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Camera:
    """The viewpoint: MuJoCo's free camera. Angles in degrees, lengths in metres."""

    look_at: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float


@dataclass(frozen=True, slots=True)
class Light:
    """direction: (3,), in which the light travels. strength: of its diffuse part. ambient: of the ambient light."""

    direction: tuple[float, float, float]
    strength: float
    ambient: float


@dataclass(frozen=True, slots=True)
class Scene:
    """All parameters of a rendering beside its shard."""

    things: tuple[Placed, ...]
    camera: Camera
    light: Light
    floor: str
    wall: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Scenes that share a set of things, so that they use one MuJoCo model and one context.

    looks: seed of the textures of floors and walls.
    """

    things: tuple[Thing, ...]
    scenes: tuple[Scene, ...]
    looks: int


def draw_shard(seed: int, index: int, kinds: Sequence[str] = TRAINING_CLASSES) -> Shard:
    """Shard number `index` of the world of `seed`, with things of these `kinds`; the same for the same call."""
    draw = np.random.default_rng([seed, index])
    order = [kinds[i] for i in draw.permutation(len(kinds))]
    # Persons have the most poses, so half of the shards have at least one, and a few have two or three.
    if "person" in kinds and draw.random() < 0.5:
        order = ["person"] * int(draw.choice([1, 1, 2, 3])) + [kind for kind in order if kind != "person"]
    chosen = (order * THINGS_PER_SHARD)[:THINGS_PER_SHARD]
    things = tuple(_draw_thing(draw, kind) for kind in chosen)
    scenes = tuple(_draw_scene(draw, things) for _ in range(SCENES_PER_SHARD))
    return Shard(things, scenes, int(draw.integers(2**31)))


def _draw_thing(draw: np.random.Generator, kind: str) -> Thing:
    size = str(draw.choice(list(SIZES)))
    low, high = (_PERSON_SCALES if kind == "person" else SIZES)[size]
    return Thing(kind, size, float(draw.uniform(low, high)))


def _draw_scene(draw: np.random.Generator, things: Sequence[Thing]) -> Scene:
    count = int(draw.choice([1, 2, 3, 4], p=[0.5, 0.32, 0.12, 0.06]))
    placed: list[Placed] = []
    for slot in draw.permutation(len(things))[:count].tolist():
        spot = _free_spot(draw, things, placed, slot)
        if spot is not None:
            placed.append(_draw_placed(draw, things[slot], slot, spot))
    return Scene(
        tuple(placed),
        _draw_camera(draw, things, placed),
        _draw_light(draw),
        str(draw.choice(FLOORS)),
        int(draw.integers(3)),
    )


def _free_spot(
    draw: np.random.Generator, things: Sequence[Thing], placed: Sequence[Placed], slot: int
) -> tuple[float, float] | None:
    """A place on the floor where the thing overlaps no other, or None after a hundred attempts."""
    if not placed:
        return float(draw.uniform(-0.4, 0.4)), float(draw.uniform(-0.4, 0.4))
    for _ in range(100):
        x, y = draw.uniform(-_ROOM, _ROOM, size=2).tolist()
        gaps = [
            np.hypot(x - other.x, y - other.y) - things[slot].footprint - things[other.slot].footprint
            for other in placed
        ]
        if 0.02 < min(gaps) < 0.4:  # near enough to be in one picture, too far to touch
            return x, y
    return None


def _draw_placed(draw: np.random.Generator, thing: Thing, slot: int, spot: tuple[float, float]) -> Placed:
    person = thing.kind == "person"
    colour = str(draw.choice(list(COLOURS)))
    tint = tuple(draw.uniform(-0.06, 0.06, size=3).tolist())
    return Placed(
        slot=slot,
        x=spot[0],
        y=spot[1],
        # Persons mostly face the camera, which looks along +y.
        yaw=float(draw.normal(0.0, 45.0) if person else draw.uniform(0.0, 360.0)),
        colour=colour,
        material=str(draw.choice(list(MATERIALS))),
        tint=tint,
        pose=mannequin.draw_pose(draw) if person else {},
        paints=_draw_paints(draw, colour) if person else {},
    )


def _draw_paints(draw: np.random.Generator, shirt: str) -> dict[str, tuple[float, float, float]]:
    skin = np.array([0.95, 0.76, 0.62]) * draw.uniform(0.45, 1.0)
    hair = np.array([0.45, 0.30, 0.18]) * draw.uniform(0.15, 1.2)
    trousers = COLOURS[str(draw.choice(["blue", "black", "white", "green", "orange"]))]
    grey = float(draw.uniform(0.05, 0.35))
    paints = {
        "skin": skin,
        "hair": hair,
        "eyes": np.array([0.03, 0.03, 0.05]),
        "shirt": np.array(COLOURS[shirt]),
        "trousers": np.array(trousers) * draw.uniform(0.5, 0.9),
        "shoes": np.full(3, grey),
    }
    return {name: (float(red), float(green), float(blue)) for name, (red, green, blue) in paints.items()}


def _draw_camera(draw: np.random.Generator, things: Sequence[Thing], placed: Sequence[Placed]) -> Camera:
    """A camera that sees all things, mostly near, a little off the middle."""
    places = np.array([[thing.x, thing.y] for thing in placed])
    heights = np.array([things[thing.slot].height for thing in placed])
    centre = places.mean(axis=0)
    reach = max(
        float(np.hypot(*(place - centre))) + things[thing.slot].footprint
        for thing, place in zip(placed, places, strict=True)
    )
    radius = max(reach, float(heights.max()) / 2)
    fits = radius / np.sin(np.deg2rad(FIELD_OF_VIEW / 2))
    off = draw.normal(0.0, 0.08 * radius, size=3)
    return Camera(
        look_at=(float(centre[0] + off[0]), float(centre[1] + off[1]), float(heights.max() / 2 + off[2])),
        distance=float(fits * draw.uniform(0.95, 1.3)),
        azimuth=float(90.0 + draw.uniform(-40.0, 40.0)),
        elevation=float(draw.uniform(-32.0, -8.0)),
    )


def _draw_light(draw: np.random.Generator) -> Light:
    around, down = np.deg2rad(draw.uniform(0, 360)), np.deg2rad(draw.uniform(35, 75))
    direction = (float(np.cos(around) * np.cos(down)), float(np.sin(around) * np.cos(down)), float(-np.sin(down)))
    return Light(direction, float(draw.uniform(0.4, 0.65)), float(draw.uniform(0.25, 0.4)))
