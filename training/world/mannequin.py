"""A jointed mannequin: its MuJoCo bodies, its poses, and the positions of its 17 COCO keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.sdpose.skeletons import COCO_17

Angles = tuple[float, float, float]
"""Degrees about x (bend forward and back), y (spread sideways) and z (twist), applied in the order z, y, x."""

KEYPOINTS = COCO_17.names
SKELETON = tuple((start + 1, end + 1) for start, end in COCO_17.links)
"""COCO's limbs, 1-based."""

HEIGHT = 1.72
"""Metres from sole to crown of the upright figure at scale 1, whose pelvis is the origin."""


@dataclass(frozen=True, slots=True)
class Geom:
    """kind: a MuJoCo primitive. size, at: metres in the body's frame. paint: the material of the geom."""

    kind: str
    size: tuple[float, ...]
    at: tuple[float, float, float]
    paint: str
    until: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Limb:
    """A body of the figure. at: its joint in the parent's frame, metres; the figure faces -y, its left is +x."""

    name: str
    parent: str
    at: tuple[float, float, float]
    geoms: tuple[Geom, ...]


def _bone(length: float, radius: float, paint: str, *more: Geom) -> tuple[Geom, ...]:
    return (Geom("capsule", (radius,), (0, 0, 0), paint, until=(0, 0, -length)), *more)


def _arm(side: str, x: float) -> tuple[Limb, ...]:
    return (
        Limb(f"{side}_upper_arm", "chest", (x, 0, 0.40), _bone(0.27, 0.055, "shirt")),
        Limb(
            f"{side}_forearm",
            f"{side}_upper_arm",
            (0, 0, -0.28),
            _bone(0.24, 0.045, "skin", Geom("ellipsoid", (0.045, 0.03, 0.07), (0, 0, -0.32), "skin")),
        ),
    )


def _leg(side: str, x: float) -> tuple[Limb, ...]:
    return (
        Limb(f"{side}_thigh", "pelvis", (x, 0, -0.02), _bone(0.40, 0.08, "trousers")),
        Limb(
            f"{side}_shin",
            f"{side}_thigh",
            (0, 0, -0.42),
            _bone(0.38, 0.06, "trousers", Geom("box", (0.05, 0.12, 0.035), (0, -0.06, -0.425), "shoes")),
        ),
    )


LIMBS: tuple[Limb, ...] = (
    Limb("pelvis", "", (0, 0, 0), (Geom("capsule", (0.11,), (-0.07, 0, 0), "trousers", until=(0.07, 0, 0)),)),
    Limb(
        "chest",
        "pelvis",
        (0, 0, 0.06),
        (
            Geom("capsule", (0.13,), (-0.06, 0, 0.12), "shirt", until=(0.06, 0, 0.12)),
            Geom("capsule", (0.12,), (-0.10, 0, 0.33), "shirt", until=(0.10, 0, 0.33)),
            Geom("capsule", (0.05,), (0, 0, 0.42), "skin", until=(0, 0, 0.52)),
        ),
    ),
    Limb(
        "head",
        "chest",
        (0, 0, 0.52),
        (
            Geom("ellipsoid", (0.10, 0.12, 0.14), (0, -0.01, 0.12), "skin"),
            Geom("ellipsoid", (0.108, 0.115, 0.12), (0, 0.025, 0.165), "hair"),
            Geom("sphere", (0.022,), (0, -0.135, 0.105), "skin"),
            Geom("sphere", (0.019,), (0.042, -0.112, 0.145), "eyes"),
            Geom("sphere", (0.019,), (-0.042, -0.112, 0.145), "eyes"),
            Geom("sphere", (0.026,), (0.104, 0.0, 0.115), "skin"),
            Geom("sphere", (0.026,), (-0.104, 0.0, 0.115), "skin"),
        ),
    ),
    *_arm("left", 0.19),
    *_arm("right", -0.19),
    *_leg("left", 0.095),
    *_leg("right", -0.095),
)

PAINTS = ("skin", "hair", "eyes", "shirt", "trousers", "shoes")

_HEAD_POINTS = {
    "nose": (0, -0.155, 0.105),
    "left_eye": (0.042, -0.13, 0.145),
    "right_eye": (-0.042, -0.13, 0.145),
    "left_ear": (0.128, 0.0, 0.115),
    "right_ear": (-0.128, 0.0, 0.115),
}

# Keypoint -> (the body whose frame it is in, its position there, bodies that may cover it without hiding it).
PLACES: dict[str, tuple[str, tuple[float, float, float], tuple[str, ...]]] = {
    **{name: ("head", at, ("head",)) for name, at in _HEAD_POINTS.items()},
    **{
        f"{side}_shoulder": (f"{side}_upper_arm", (0, 0, 0), (f"{side}_upper_arm", "chest"))
        for side in ("left", "right")
    },
    **{
        f"{side}_elbow": (f"{side}_forearm", (0, 0, 0), (f"{side}_upper_arm", f"{side}_forearm"))
        for side in ("left", "right")
    },
    **{f"{side}_wrist": (f"{side}_forearm", (0, 0, -0.25), (f"{side}_forearm",)) for side in ("left", "right")},
    **{f"{side}_hip": (f"{side}_thigh", (0, 0, 0), (f"{side}_thigh", "pelvis")) for side in ("left", "right")},
    **{f"{side}_knee": (f"{side}_shin", (0, 0, 0), (f"{side}_thigh", f"{side}_shin")) for side in ("left", "right")},
    **{f"{side}_ankle": (f"{side}_shin", (0, 0, -0.39), (f"{side}_shin",)) for side in ("left", "right")},
}

Pose = dict[str, Angles]


def _stand(draw: np.random.Generator) -> Pose:
    spread = draw.uniform(8, 25, size=2)
    return {"left_upper_arm": (0, -spread[0], 0), "right_upper_arm": (0, spread[1], 0)}


def _walk(draw: np.random.Generator) -> Pose:
    stride, swing = draw.uniform(20, 45), draw.uniform(15, 45)
    return {
        "left_thigh": (-stride, 0, 0),
        "left_shin": (draw.uniform(0, 25), 0, 0),
        "right_thigh": (stride * 0.7, 0, 0),
        "right_shin": (draw.uniform(15, 50), 0, 0),
        "left_upper_arm": (swing, -10, 0),
        "right_upper_arm": (-swing, 10, 0),
        "left_forearm": (-draw.uniform(5, 50), 0, 0),
        "right_forearm": (-draw.uniform(5, 50), 0, 0),
    }


def _wave(draw: np.random.Generator) -> Pose:
    pose = _stand(draw)
    pose["left_upper_arm"] = (0, -draw.uniform(80, 130), 0)
    pose["left_forearm"] = (0, -draw.uniform(10, 80), 0)
    return pose


def _cheer(draw: np.random.Generator) -> Pose:
    return {
        "left_upper_arm": (0, -draw.uniform(110, 165), 0),
        "right_upper_arm": (0, draw.uniform(110, 165), 0),
        "left_forearm": (0, -draw.uniform(-20, 40), 0),
        "right_forearm": (0, draw.uniform(-20, 40), 0),
        "left_thigh": (0, -draw.uniform(0, 18), 0),
        "right_thigh": (0, draw.uniform(0, 18), 0),
    }


def _star(draw: np.random.Generator) -> Pose:
    arm, leg = draw.uniform(65, 100), draw.uniform(15, 35)
    return {
        "left_upper_arm": (0, -arm, 0),
        "right_upper_arm": (0, arm, 0),
        "left_thigh": (0, -leg, 0),
        "right_thigh": (0, leg, 0),
    }


def _squat(draw: np.random.Generator) -> Pose:
    bend = draw.uniform(50, 100)
    return {
        "chest": (draw.uniform(10, 35), 0, 0),
        "left_thigh": (-bend, -12, 0),
        "right_thigh": (-bend, 12, 0),
        "left_shin": (bend, 0, 0),
        "right_shin": (bend, 0, 0),
        "left_upper_arm": (-draw.uniform(30, 90), -8, 0),
        "right_upper_arm": (-draw.uniform(30, 90), 8, 0),
    }


def _point(draw: np.random.Generator) -> Pose:
    pose = _stand(draw)
    pose["right_upper_arm"] = (-draw.uniform(60, 100), draw.uniform(-10, 60), 0)
    pose["left_forearm"] = (-draw.uniform(60, 110), 0, 0)
    return pose


def _kick(draw: np.random.Generator) -> Pose:
    pose = _star(draw)
    pose["left_thigh"] = (-draw.uniform(40, 85), 0, 0)
    pose["left_shin"] = (draw.uniform(0, 40), 0, 0)
    pose["right_thigh"] = (0, 0, 0)
    return pose


_POSES: tuple[Callable[[np.random.Generator], Pose], ...] = (
    _stand,
    _walk,
    _wave,
    _cheer,
    _star,
    _squat,
    _point,
    _kick,
)


def draw_pose(draw: np.random.Generator) -> Pose:
    """Angles by body for one of the pose families, mirrored in half of the cases, with noise on every joint."""
    pose = _POSES[int(draw.integers(len(_POSES)))](draw)
    if draw.random() < 0.5:
        pose = {_other_side(name): (x, -y, -z) for name, (x, y, z) in pose.items()}
    shaken = {}
    for limb in LIMBS[1:]:
        x, y, z = pose.get(limb.name, (0.0, 0.0, 0.0))
        jitter = draw.normal(0.0, 6.0, size=3)
        shaken[limb.name] = (x + jitter[0], y + jitter[1], z + jitter[2])
    return shaken


def quaternion(angles: Angles) -> NDArray[np.float64]:
    """(4,) w, x, y, z of a rotation by `angles` degrees: about x first, then y, then z, in the parent's axes."""
    x, y, z = np.deg2rad(angles) / 2
    about_x = np.array([np.cos(x), np.sin(x), 0.0, 0.0])
    about_y = np.array([np.cos(y), 0.0, np.sin(y), 0.0])
    about_z = np.array([np.cos(z), 0.0, 0.0, np.sin(z)])
    return _product(about_z, _product(about_y, about_x))


def _product(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    (a, b, c, d), (e, f, g, h) = first, second
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_", 1)
    return name.replace("right_", "left_", 1) if name.startswith("right_") else name
