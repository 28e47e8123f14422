"""Read stored vectors of many images, and find near-duplicates among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from heads.feature_pooling.duplicates import Index, groups, near_duplicates


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """names: of N images. vectors: (N, D) float32."""

    names: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Copy:
    """An image of a group. similarity: cosine to the group's first image."""

    name: str
    similarity: float


def duplicate_groups(stored: StoredVectors, similarity: float, index: Index = "auto") -> list[list[Copy]]:
    """Groups of near-duplicates, the largest group first; within a group, in the order of the images.

    Two images of a group may be less alike than `similarity` if other images link them.
    Raises what `near_duplicates` raises.
    """
    pairs = near_duplicates(stored.vectors, similarity, index=index)
    clusters = []
    for group in groups(pairs, len(stored.names)):
        exact = stored.vectors[group].astype(np.float64)
        unit = exact / np.linalg.norm(exact, axis=1, keepdims=True)
        alike = np.minimum(unit @ unit[0], 1.0)
        clusters.append(
            [Copy(stored.names[place], float(similarity)) for place, similarity in zip(group, alike, strict=True)]
        )
    return clusters


def read_vectors(file: Path) -> StoredVectors:
    """The vectors in a file: `.npy`, (N, D) as `diffsight predict features` writes it, or `.jsonl` of a job.

    Raises InvalidInput for a file that holds none.
    """
    hint = "give the .npy of `diffsight predict features`, or the .jsonl of `diffsight annotate --task features`"
    try:
        if file.suffix == ".npy":
            vectors = np.load(file, allow_pickle=False)
            if vectors.ndim != 2 or vectors.dtype.kind != "f":
                raise InvalidInput("SOURCE", f"{file} holds {vectors.dtype} {vectors.shape}, not (N, D)", hint=hint)
            return StoredVectors(tuple(str(place) for place in range(len(vectors))), vectors.astype(np.float32))
        with file.open(encoding="utf-8") as lines:
            return from_records(
                ((str(record.get("image_name", place)), record) for place, record in enumerate(map(json.loads, lines)))
            )
    except OSError as error:
        raise InvalidInput("SOURCE", f"{file} can not be read: {error.strerror}", hint=hint) from error
    except (ValueError, AttributeError) as error:
        raise InvalidInput("SOURCE", f"{file} holds no vectors: {error}", hint=hint) from error


def from_records(records: Iterable[tuple[str, Mapping[str, Any]]]) -> StoredVectors:
    """The vectors of a job's records, (name, result) each.

    Raises InvalidInput if there are none, or not of one size.
    """
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for name, result in records:
        vector = result.get("vector")
        if not isinstance(vector, list) or (vectors and len(vector) != len(vectors[0])):
            hint = "use a job of the task features"
            raise InvalidInput("job", f"the result of {name!r} holds no vector like the others'", hint=hint)
        names.append(name)
        # One row at a time: lists of Python numbers take ten times the memory.
        vectors.append(np.array(vector, dtype=np.float32))
    if not vectors:
        raise InvalidInput("job", "it has no results", hint="use a job with finished images")
    return StoredVectors(tuple(names), np.stack(vectors))
