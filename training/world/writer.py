"""Renders a world to a folder in the field's usual layouts: seeded, in parallel, resumed where it stopped.

images/000123.png          8-bit RGB
depth/000123.png           16-bit grey, millimetres from the camera, 0 if there is none
semantic/000123.png        8-bit, values as in vocabulary.SEMANTIC_NAMES
instances.json             COCO: boxes, RLE masks, 17 keypoints with visibility for persons, colour, size and material
captions.json              COCO captions: every true sentence about each image
referring.json             one entry an expression: image, annotation, sentence
shards/                    what each shard contributed, for resuming; may be deleted when all is written
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backbones.files import write_file
from training.world.captions import Seen, captions, referring_expressions
from training.world.mannequin import KEYPOINTS, SKELETON
from training.world.rendering import Keypoint, Renderer, Rendering
from training.world.scene import SCENES_PER_SHARD, Scene, Shard, draw_shard
from training.world.vocabulary import BACKGROUND, CLASSES, FLOOR, SEMANTIC_NAMES, TRAINING_CLASSES, semantic_id

SMALLEST_AREA = 40
"""Minimum number of visible pixels of a thing that captions and annotations mention."""

DEPTH_UNIT = 0.001
"""Metres of one step of a depth PNG."""

PARTS = ("images", "depth", "semantic", "shards")


@dataclass(frozen=True, slots=True)
class World:
    """A world: all parameters that determine the pictures. size: pixels of a side. kinds: the kinds of things in it."""

    seed: int
    scenes: int
    size: int = 128
    kinds: tuple[str, ...] = TRAINING_CLASSES


def write_world(world: World, folder: Path, processes: int = 1) -> None:
    """Renders the missing scenes of `world` in `folder`, then writes its JSON files.

    Raises ValueError if the folder holds another world.
    """
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    _claim(world, folder)
    indices = range(-(-world.scenes // SCENES_PER_SHARD))
    missing = [(world, folder, index) for index in indices if not _shard_file(folder, index).exists()]
    with tqdm(total=world.scenes, desc="scenes", initial=world.scenes - len(missing) * SCENES_PER_SHARD) as bar:
        for _ in _render(missing, processes):
            bar.update(SCENES_PER_SHARD)
    shards = [json.loads(_shard_file(folder, index).read_text(encoding="utf-8")) for index in indices]
    scenes = [scene for shard in shards for scene in shard][: world.scenes]
    for name, content in _documents(scenes, world).items():
        _write_json(folder / name, content)


def _claim(world: World, folder: Path) -> None:
    described = {"seed": world.seed, "size": world.size, "kinds": list(world.kinds)}
    path = folder / "world.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != described:
        raise ValueError(
            f"{folder} holds another world ({path.read_text(encoding='utf-8').strip()}): use another folder"
        )
    _write_json(path, described)


def _render(work: Sequence[tuple[World, Path, int]], processes: int) -> Iterable[None]:
    if processes == 1 or len(work) < 2:
        yield from map(_render_shard, work)
        return
    # Spawned, not forked: an OpenGL context does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_render_shard, work)


_renderer: Renderer | None = None


def _render_shard(work: tuple[World, Path, int]) -> None:
    global _renderer
    world, folder, index = work
    _renderer = _renderer or Renderer(world.size)
    shard = draw_shard(world.seed, index, world.kinds)
    described = []
    for place, (scene, rendering) in enumerate(zip(shard.scenes, _renderer.render(shard), strict=True)):
        described.append(_describe(index * SCENES_PER_SHARD + place, shard, scene, rendering, folder))
    # Written last, and renamed: a shard whose file exists is complete.
    _write_json(_shard_file(folder, index), described)


def _describe(number: int, shard: Shard, scene: Scene, rendering: Rendering, folder: Path) -> dict[str, Any]:
    """Writes the scene's pictures and returns its part of the JSON files."""
    size = len(rendering.image)
    semantic = np.where(rendering.floor, FLOOR, BACKGROUND).astype(np.uint8)
    shown: list[tuple[Seen, dict[str, Any]]] = []
    for place, placed in enumerate(scene.things):
        mask = rendering.owners == place
        thing = shard.things[placed.slot]
        semantic[mask] = semantic_id(thing.kind)
        if int(mask.sum()) < SMALLEST_AREA:
            continue
        (u, _), distance = rendering.centres[place], float(rendering.distances[place])
        seen = Seen(thing.kind, placed.colour, thing.size, placed.material, float(u) / size, distance)
        shown.append((seen, _annotation(seen, mask, rendering.keypoints.get(place))))
    things = [seen for seen, _ in shown]
    expressions = referring_expressions(things)
    for (_, annotation), sentences in zip(shown, expressions, strict=True):
        annotation["expressions"] = sentences
    name = f"{number:06d}.png"
    millimetres = np.where(np.isfinite(rendering.depth), np.rint(rendering.depth / DEPTH_UNIT), 0)
    _write_picture(folder / "images" / name, rendering.image[..., ::-1])
    _write_picture(folder / "depth" / name, np.clip(millimetres, 0, 65535).astype(np.uint16))
    _write_picture(folder / "semantic" / name, semantic)
    return {
        "file_name": name,
        "size": size,
        "floor": scene.floor,
        "captions": captions(things, scene.floor),
        "annotations": [annotation for _, annotation in shown],
    }


def _annotation(seen: Seen, mask: NDArray[np.bool_], keypoints: Sequence[Keypoint] | None) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    annotation: dict[str, Any] = {
        "category_id": semantic_id(seen.kind),
        "bbox": [float(value) for value in coco_mask.toBbox(rle)],
        "area": int(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")},
        "iscrowd": 0,
        "colour": seen.colour,
        "size": seen.size,
        "material": seen.material,
    }
    if keypoints is not None:
        flat = [[round(keypoint.u, 2), round(keypoint.v, 2), keypoint.visibility] for keypoint in keypoints]
        annotation["keypoints"] = [number for triple in flat for number in triple]
        annotation["num_keypoints"] = sum(keypoint.visibility > 0 for keypoint in keypoints)
    return annotation


def _documents(scenes: Sequence[dict[str, Any]], world: World) -> dict[str, dict[str, Any]]:
    """The JSON files by name."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    sentences: list[dict[str, Any]] = []
    referring: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes):
        image = {"id": number, "file_name": scene["file_name"], "width": scene["size"], "height": scene["size"]}
        images.append({**image, "floor": scene["floor"]})
        sentences += [{"image_id": number, "caption": caption} for caption in scene["captions"]]
        for annotation in scene["annotations"]:
            identity = len(annotations) + 1
            expressions = annotation["expressions"]
            annotations.append(
                {"id": identity, "image_id": number, **{k: v for k, v in annotation.items() if k != "expressions"}}
            )
            referring += [
                {"image_id": number, "annotation_id": identity, "sentence": sentence} for sentence in expressions
            ]
    about = {"description": "diffsight's rendered world", "seed": world.seed, "depth_unit_metres": DEPTH_UNIT}
    return {
        "instances.json": {
            "info": {**about, "semantic_names": list(SEMANTIC_NAMES)},
            "images": images,
            "annotations": annotations,
            "categories": [_category(name) for name in CLASSES],
        },
        "captions.json": {
            "info": about,
            "images": images,
            "annotations": [{"id": number + 1, **sentence} for number, sentence in enumerate(sentences)],
        },
        "referring.json": {
            "info": about,
            "refs": [{"id": number + 1, **reference} for number, reference in enumerate(referring)],
        },
    }


def _category(name: str) -> dict[str, Any]:
    category: dict[str, Any] = {"id": semantic_id(name), "name": name, "supercategory": "thing"}
    if name == "person":
        category |= {"keypoints": list(KEYPOINTS), "skeleton": [list(limb) for limb in SKELETON]}
    return category


def _shard_file(folder: Path, index: int) -> Path:
    return folder / "shards" / f"{index:05d}.json"


def _write_json(path: Path, content: object) -> None:
    write_file(path, f"{json.dumps(content, separators=(',', ':'))}\n".encode())


def _write_picture(path: Path, picture: NDArray[Any]) -> None:
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"{path} could not be written")
