"""Renders scenes with exact depth and ids, by MuJoCo on the CPU (EGL over Mesa), without a screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

# MuJoCo and Mesa read both at import: no display, and one rasteriser thread for each of our processes.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "1")

import mujoco
import numpy as np
from numpy.typing import NDArray

from training.world import mannequin
from training.world.model import AWAY, describe
from training.world.scene import Placed, Scene, Shard
from training.world.shapes import PARTS
from training.world.vocabulary import COLOURS, MATERIALS

NO_THING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Keypoint:
    """u, v: pixels, the centre of the first one at 0.5. visibility: COCO's 0 outside, 1 hidden, 2 seen."""

    u: float
    v: float
    visibility: int


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """image: (S, S, 3) uint8 RGB. depth: (S, S) float32, planar metres from the camera, infinite in the sky.

    owners: (S, S) int16, index into the scene's things, NO_THING elsewhere. floor: (S, S) bool.
    keypoints: thing's index -> 17 keypoints, of persons. centres: (N, 2), pixels, and distances: (N,), metres along
    the viewing axis, of the things' middles.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    owners: NDArray[np.int16]
    floor: NDArray[np.bool_]
    keypoints: dict[int, list[Keypoint]]
    centres: NDArray[np.float64]
    distances: NDArray[np.float64]


class Renderer:
    """Draws shards, one after another, at one image size. Holds one OpenGL context; use one renderer a process."""

    def __init__(self, image_size: int) -> None:
        self._size = image_size
        self._gl = mujoco.GLContext(image_size, image_size)
        self._gl.make_current()

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._gl.free()

    def render(self, shard: Shard) -> Iterator[Rendering]:
        """The shard's scenes, in order."""
        text, files = describe(shard, self._size)
        model = mujoco.MjModel.from_xml_string(text, files)
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        try:
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
            for scene in shard.scenes:
                yield _Stage(model, shard, scene).shoot(context, self._size)
        finally:
            context.free()


class _Stage:
    """A model with the things, the camera and the light of one scene."""

    def __init__(self, model: mujoco.MjModel, shard: Shard, scene: Scene) -> None:
        self.model, self.shard, self.scene = model, shard, scene
        self.data = mujoco.MjData(model)
        self._put_things()
        self._paint_room()
        mujoco.mj_forward(model, self.data)

    def _put_things(self) -> None:
        for slot in range(len(self.shard.things)):
            self.model.body(str(slot)).pos[:] = (0.0, 0.0, AWAY)
        for placed in self.scene.things:
            body = self.model.body(str(placed.slot))
            body.pos[:] = (placed.x, placed.y, 0.0)
            body.quat[:] = mannequin.quaternion((0.0, 0.0, placed.yaw))
            if placed.pose:
                self._pose(placed)
            else:
                self._paint(placed)

    def _paint(self, placed: Placed) -> None:
        surface = MATERIALS[placed.material]
        base = np.array(COLOURS[placed.colour]) + np.array(placed.tint)
        for number, part in enumerate(PARTS[self.shard.things[placed.slot].kind]):
            material = self.model.material(f"{placed.slot}.{number}")
            material.rgba[:3] = np.clip(base * part.shade, 0.02, 1.0)
            material.specular[:] = surface.specular
            material.shininess[:] = surface.shininess

    def _pose(self, placed: Placed) -> None:
        for paint, colour in placed.paints.items():
            self.model.material(f"{placed.slot}.{paint}").rgba[:3] = colour
        for limb, angles in placed.pose.items():
            self.model.body(f"{placed.slot}.{limb}").quat[:] = mannequin.quaternion(angles)
        # Put its lowest point on the floor, in any pose.
        mujoco.mj_kinematics(self.model, self.data)
        lowest = min(self._bottom(placed.slot, limb.name, number) for limb, number in _all_geoms())
        self.model.body(str(placed.slot)).pos[2] -= lowest

    def _bottom(self, slot: int, limb: str, number: int) -> float:
        """Height of a geom's lowest point, from its bounding box's corners."""
        geom = self.model.geom(f"{slot}.{limb}.{number}")
        half = self.model.geom_aabb[geom.id, 3:]
        turned = np.abs(self.data.geom(geom.id).xmat.reshape(3, 3)) @ half
        return float(self.data.geom(geom.id).xpos[2] - turned[2])

    def _paint_room(self) -> None:
        self.model.geom("floor").matid[:] = self.model.material(self.scene.floor).id
        for side in ("back", "left", "right"):
            self.model.geom(f"wall_{side}").matid[:] = self.model.material(f"wall{self.scene.wall}").id
        light, sun = self.scene.light, self.model.light("sun")
        sun.dir[:] = light.direction
        sun.pos[:] = -7.0 * np.array(light.direction)
        sun.diffuse[:] = light.strength
        sun.ambient[:] = light.ambient
        self.model.vis.headlight.ambient[:] = 0.2
        self.model.vis.headlight.diffuse[:] = 0.25
        self.model.vis.headlight.specular[:] = 0.0

    def shoot(self, context: mujoco.MjrContext, size: int) -> Rendering:
        view = mujoco.MjvScene(self.model, maxgeom=400)
        camera = mujoco.MjvCamera()
        camera.lookat[:] = self.scene.camera.look_at
        camera.distance = self.scene.camera.distance
        camera.azimuth, camera.elevation = self.scene.camera.azimuth, self.scene.camera.elevation
        everything = int(mujoco.mjtCatBit.mjCAT_ALL)
        mujoco.mjv_updateScene(self.model, self.data, mujoco.MjvOption(), None, camera, everything, view)
        view.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 1
        image, _ = self._read(view, context, size)
        view.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = view.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        # Depth also comes from this pass: in the other pass a pixel's depth is that of one of its samples, not of its
        # centre.
        colours, depth = self._read(view, context, size)
        owners, floor, sky = self._owners(view, colours)
        depth[sky] = np.inf
        lens = _Lens(view, size)
        middles = np.array([self._middle(placed) for placed in self.scene.things])
        centres, distances = lens.project(middles)
        persons = {n: self._keypoints(placed, lens, size) for n, placed in enumerate(self.scene.things) if placed.pose}
        return Rendering(image, depth, owners, floor, persons, centres, distances)

    def _read(
        self, view: mujoco.MjvScene, context: mujoco.MjrContext, size: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        whole = mujoco.MjrRect(0, 0, size, size)
        mujoco.mjr_render(whole, view, context)
        image = np.empty((size, size, 3), dtype=np.uint8)
        buffer = np.empty((size, size), dtype=np.float32)
        mujoco.mjr_readPixels(image, buffer, whole, context)
        # OpenGL counts rows from below, and its depth buffer is hyperbolic between the near and far planes.
        extent = self.model.stat.extent
        near, far = self.model.vis.map.znear * extent, self.model.vis.map.zfar * extent
        depth = near / (1.0 - buffer[::-1] * (1.0 - near / far))
        return image[::-1].copy(), depth.astype(np.float32)

    def _owners(
        self, view: mujoco.MjvScene, colours: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.bool_]]:
        """The thing that each pixel belongs to, the floor, and the sky."""
        ids = colours.astype(np.int64) @ np.array([1, 256, 65536])
        slots = {placed.slot: number for number, placed in enumerate(self.scene.things)}
        # The first entry stands for the sky; the others follow the scene's geoms.
        owner = np.full(view.ngeom + 1, NO_THING, dtype=np.int16)
        is_floor = np.zeros(view.ngeom + 1, dtype=bool)
        floor_id = self.model.geom("floor").id
        for place in range(view.ngeom):
            geom = view.geoms[place]
            number = place + 1
            if geom.objtype != mujoco.mjtObj.mjOBJ_GEOM:
                continue
            is_floor[number] = geom.objid == floor_id
            root = self.model.body(self.model.body_rootid[self.model.geom_bodyid[geom.objid]]).name
            if root.isdigit():
                owner[number] = slots.get(int(root), NO_THING)
        return owner[ids], is_floor[ids], ids == 0

    def _middle(self, placed: Placed) -> NDArray[np.float64]:
        if placed.pose:
            return np.array(self.data.body(f"{placed.slot}.chest").xpos)
        return np.array([placed.x, placed.y, self.shard.things[placed.slot].height / 2])

    def _keypoints(self, placed: Placed, lens: _Lens, size: int) -> list[Keypoint]:
        scale = self.shard.things[placed.slot].scale
        keypoints = []
        for name in mannequin.KEYPOINTS:
            limb, at, covers = mannequin.PLACES[name]
            body = self.data.body(f"{placed.slot}.{limb}")
            place = body.xpos + body.xmat.reshape(3, 3) @ (scale * np.array(at))
            (u, v), distance = (part[0] for part in lens.project(place[None]))
            if distance <= 0 or not (0 <= u < size and 0 <= v < size):
                keypoints.append(Keypoint(0.0, 0.0, 0))
                continue
            allowed = {f"{placed.slot}.{cover}" if cover != "pelvis" else str(placed.slot) for cover in covers}
            keypoints.append(Keypoint(float(u), float(v), 2 if self._sees(lens.position, place, allowed, scale) else 1))
        return keypoints

    def _sees(self, eye: NDArray[np.float64], place: NDArray[np.float64], allowed: set[str], scale: float) -> bool:
        """Whether the first body on the way to the place may cover it, or is behind it."""
        way = place - eye
        length = float(np.linalg.norm(way))
        hit = np.full(1, -1, dtype=np.int32)
        distance = mujoco.mj_ray(self.model, self.data, eye, way / length, None, 1, -1, hit)
        if hit[0] < 0 or distance > length + 0.02:
            return True
        body = self.model.body(self.model.geom_bodyid[hit[0]]).name
        # A joint is inside its limbs, at most this deep; a feature on the far side of the face is deeper.
        return body in allowed and length - distance < 0.17 * scale


class _Lens:
    """Projection by the camera of a drawn MuJoCo scene."""

    def __init__(self, view: mujoco.MjvScene, size: int) -> None:
        left, right = view.camera[0], view.camera[1]
        self.position = (np.array(left.pos, dtype=np.float64) + np.array(right.pos, dtype=np.float64)) / 2
        self._forward = np.array(left.forward, dtype=np.float64)
        self._up = np.array(left.up, dtype=np.float64)
        self._right = np.cross(self._forward, self._up)
        # The frustum's top and near plane give the focal length, for any field of view.
        self._focal = size / 2 * left.frustum_near / left.frustum_top
        self._middle = size / 2

    def project(self, places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """places: (N, 3) metres. Returns (N, 2) pixels and (N,) metres along the viewing axis."""
        way = places - self.position
        distance = way @ self._forward
        u = self._middle + self._focal * (way @ self._right) / distance
        v = self._middle - self._focal * (way @ self._up) / distance
        return np.stack([u, v], axis=1), distance


def _all_geoms() -> list[tuple[mannequin.Limb, int]]:
    return [(limb, number) for limb in mannequin.LIMBS for number in range(len(limb.geoms))]
