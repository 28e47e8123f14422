"""Labelled images on this machine: a folder with one folder a class, and their vectors."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from diffsight.cli.local import progress, read_image
from heads.feature_pooling.blocks import resolve_blocks
from heads.image_files import image_files
from service.engine.caches import TensorCache
from service.inputs.names import readable_name
from service.library.classifiers import FeatureOptions, LabelledVectors
from service.library.vectors import AT_ONCE, join_vectors, vectors_of_images
from service.settings.loader import Settings


def list_labelled_files(folder: Path) -> list[tuple[Path, str]]:
    """Image files by name, each with its label: the name of the folder it is in.

    Raises InvalidInput if there is no such folder, and for fewer than two classes.
    """
    if not folder.is_dir():
        raise InvalidInput("FOLDER", f"there is no folder {folder}", hint="name one that has a folder for each class")
    files = [(file, label_of(file.parent.name)) for file in image_files(folder) if file.parent != folder]
    classes = {label for _, label in files}
    if len(classes) < 2:
        raise InvalidInput(
            "FOLDER",
            f"{folder} has images of {len(classes)} classes",
            hint="put the images of each class into a folder of its own: FOLDER/cat/1.jpg, FOLDER/dog/2.jpg",
        )
    return files


def label_of(folder: str) -> str:
    """A folder's name as a label, in composed letters (NFC): names from macOS and Linux are then equal."""
    return unicodedata.normalize("NFC", readable_name(folder))


def read_blocks(blocks: Sequence[str] | None, sub_blocks: Sequence[str]) -> tuple[str, ...]:
    """The blocks of a command line, by numbers or diffusers names; by default those that suit most images."""
    return resolve_blocks(
        [int(block) if block.isdigit() else block for block in blocks] if blocks else None, sub_blocks
    )


def examples_of(
    engine: DirectEngine, files: Sequence[tuple[Path, str]], options: FeatureOptions, settings: Settings
) -> LabelledVectors:
    """The files' vectors and labels. Shows a progress bar. Raises InvalidInput for a file that cannot be read."""
    parts = [files[at : at + AT_ONCE] for at in range(0, len(files), AT_ONCE)]
    vectors = []
    for part in progress(parts):
        images = [read_image(path, settings) for path, _ in part]
        vectors.append(complete(vectors_of_images(engine, TensorCache(0), images, options)))
    whole = join_vectors(vectors)
    return LabelledVectors(whole.vectors, tuple(label for _, label in files), whole.keys)
