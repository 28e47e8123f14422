"""Concepts: a name, and images with masks that show it, stored by `service/library/store.py`.

A file holds each picture and mask as a PNG, so a concept does not depend on its banks, the weights or the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from backbones.errors import InvalidInput
from heads.diffews.few_shot import check_counts
from heads.diffews.preprocess import check_mask
from service.library.banks import Pair, Shot, shot_id
from service.library.store import Store, Stored, Tensors


class ShotAnswer(BaseModel):
    """One support image of a concept, with its mask."""

    id: str = Field(
        description="Id of the shot. It depends on image and mask alone: the same pair always has the same id."
    )
    width: int
    height: int
    share: float = Field(description="Share of the image that the mask covers, 0 to 1.")


class ConceptAbout(BaseModel):
    """Metadata of a concept."""

    name: str
    created: str = Field(description="Time of creation, ISO 8601 in UTC.")
    changed: str
    shots: list[ShotAnswer]


NOTE_REPEATED = "{}.{}: the same picture and mask as an earlier one; it was left out"
NOTE_ALL = "{}.{}: the mask covers the whole picture, so it shows no background"


def object_mask(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 of 0 and 1 from a mask that was sent as a picture, (H, W, 3) uint8 RGB.

    1 if the brightest channel is at least half of the brightest in the whole mask: this reads 0/255, 0/1 and coloured
    masks, and tolerates the noise of JPEG.
    """
    brightest = picture.max(axis=2).astype(np.int32)
    mask: NDArray[np.uint8] = ((2 * brightest >= brightest.max()) & (brightest > 0)).astype(np.uint8)
    return mask


def check_pairs(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], size: int, field: str = "masks"
) -> tuple[list[Pair], list[str]]:
    """Images with masks, each pair once, and notes for the client.

    images, masks: (H, W, 3) uint8 RGB each, as sent. field: the masks' name in a problem and in notes.
    Raises InvalidInput for a mask that is empty, vanishes at the network's size, or has another size than its image.
    """
    pairs: dict[str, Pair] = {}
    notes = []
    for place, (image, sent) in enumerate(zip(images, masks, strict=True)):
        mask = object_mask(sent)
        check_mask(mask, image, size, f"{field}.{place}")
        if mask.all():
            notes.append(NOTE_ALL.format(field, place))
        key = shot_id(image, mask)
        if key in pairs:
            notes.append(NOTE_REPEATED.format(field, place))
        pairs.setdefault(key, (image, mask))
    return list(pairs.values()), notes


def describe_concept(name: str, pairs: Sequence[Pair]) -> tuple[ConceptAbout, dict[str, NDArray[Any]]]:
    """A new concept's description, and the tensors of its file: (N,) uint8 bytes of PNG files.

    pairs: (H, W, 3) uint8 and (H, W) each.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    shots, tensors = [], {}
    for image, mask in pairs:
        key = shot_id(image, mask)
        height, width = mask.shape
        shots.append(ShotAnswer(id=key, width=width, height=height, share=round(float(mask.mean()), 6)))
        tensors[f"image.{key}"] = _png(Image.fromarray(image))
        tensors[f"mask.{key}"] = _png(Image.fromarray(mask * np.uint8(255)))
    return ConceptAbout(name=name, created=now, changed=now, shots=shots), tensors


def change_concept(
    about: ConceptAbout,
    tensors: Tensors,
    *,
    name: str | None,
    add: Sequence[Pair],
    remove: Sequence[str],
    most_shots: int,
) -> tuple[ConceptAbout, dict[str, NDArray[Any]], list[str]]:
    """A concept with shots added and removed, the tensors of its file (any shape), and notes.

    Raises InvalidInput for a shot that does not exist, and if no shot or too many would be left.
    """
    unknown = [shot_id for shot_id in remove if all(shot_id != shot.id for shot in about.shots)]
    if unknown:
        raise InvalidInput("remove_shots", f"the concept has no shot {unknown[0]!r}", hint="GET it to see its shots")
    kept = [shot for shot in about.shots if shot.id not in remove]
    held = {shot.id for shot in kept}
    fresh, fresh_tensors = describe_concept(name or about.name, add)
    new = [shot for shot in fresh.shots if shot.id not in held]
    notes = [f"shot {shot.id} was there already" for shot in fresh.shots if shot.id in held]
    shots = [*kept, *new]
    check_counts(len(shots), len(shots), most_shots, "remove_shots" if not shots else "images")
    wanted = {f"{kind}.{shot.id}" for shot in shots for kind in ("image", "mask")}
    merged = {key: tensor for key, tensor in {**fresh_tensors, **tensors}.items() if key in wanted}
    about = about.model_copy(update={"name": fresh.name, "changed": fresh.changed, "shots": shots})
    return about, merged, notes


def shots_of(about: ConceptAbout, tensors: Tensors) -> list[Shot]:
    """The concept's supports, whose pictures (any shape) are decoded only if a bank must be computed.

    Decoding raises InvalidInput for a picture that is damaged, missing, or not of its mask's size.
    """

    def pair(key: str) -> Pair:
        try:
            image = np.array(_open(tensors[f"image.{key}"]).convert("RGB"), dtype=np.uint8)
            mask = np.array(_open(tensors[f"mask.{key}"]).convert("L"), dtype=np.uint8)
        except Exception as error:  # decoders raise many kinds of exceptions for damaged bytes
            raise _damage_error(about.name, key) from error
        if mask.shape != image.shape[:2]:
            raise _damage_error(about.name, key)
        return image, (mask > 127).astype(np.uint8)

    return [Shot(shot.id, lambda key=shot.id: pair(key)) for shot in about.shots]  # type: ignore[misc]


def about_of(stored: Stored) -> ConceptAbout:
    """The metadata of a stored concept. Raises InvalidInput for a file of another version or kind."""
    try:
        return ConceptAbout.model_validate(stored.about)
    except ValidationError as error:
        raise InvalidInput(
            "concept",
            f"the file of the concept {stored.id} is of another version",
            hint="delete it, and create it again",
        ) from error


def read_concept(store: Store, concept: str) -> tuple[ConceptAbout, list[Shot]]:
    """The concept as it is now; later changes do not affect the returned object.

    Raises NothingStored if there is none, and InvalidInput if its file is damaged.
    """
    stored, tensors = store.read(concept)
    about = about_of(stored)
    return about, shots_of(about, tensors)


def _damage_error(name: str, key: str) -> InvalidInput:
    return InvalidInput(
        "concepts",
        f"the shot {key} of the concept {name!r} is damaged",
        hint="leave it out with remove_shots, or create the concept again",
    )


def _png(image: Image.Image) -> NDArray[np.uint8]:
    file = BytesIO()
    image.save(file, "PNG", compress_level=3)
    return np.frombuffer(file.getvalue(), np.uint8)


def _open(data: NDArray[Any]) -> Image.Image:
    return Image.open(BytesIO(data.tobytes()))
