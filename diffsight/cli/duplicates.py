"""`diffsight duplicates`: images that are copies of each other, or nearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from backbones.engine import complete
from backbones.errors import InvalidInput
from diffsight.cli.fit_classifier import Blocks
from diffsight.cli.labelled_folder import read_blocks
from diffsight.cli.local import open_engine, progress, read_image
from diffsight.cli.options import AsJson, with_settings
from heads.image_files import FORMATS, image_files
from service.engine.caches import TensorCache
from service.inputs.names import readable_name, terminal_text
from service.library.classifiers import FeatureOptions
from service.library.duplicates import Copy, StoredVectors, duplicate_groups, read_vectors
from service.library.vectors import AT_ONCE, vectors_of_images
from service.settings.loader import Settings


@with_settings()
def duplicates(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of images; or vectors: the .npy of `predict features`, or the .jsonl of "
            "`annotate --task features`.",
            show_default=False,
        ),
    ],
    similarity: Annotated[
        float,
        typer.Option(help="Lowest cosine similarity of two images that count as duplicates, at most 1.", min=-1, max=1),
    ] = 0.998,
    index: Annotated[
        Literal["auto", "exact", "hnsw"],
        typer.Option(
            help="exact compares every pair, hnsw uses an approximate index. auto: exact up to 30,000 images."
        ),
    ] = "auto",
    block: Blocks = None,
    timestep: Annotated[int, typer.Option(help="For a folder: timestep that the network gets.")] = 100,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight duplicates photos
    diffsight predict features *.jpg --noise-samples 0 --out photos.npy && diffsight duplicates photos.npy

    Find groups of near-duplicates: images that were re-encoded, resized or changed a little. For a folder, vectors are
    computed without noise. With --json, print a JSON array of groups. The command deletes nothing.
    """
    vectors = vectors_of_folder(source, settings, block, timestep) if source.is_dir() else read_vectors(source)
    groups = duplicate_groups(vectors, similarity, index)
    if as_json:
        answer = [[{"image": copy.name, "similarity": copy.similarity} for copy in group] for group in groups]
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    print_groups(groups, len(vectors.names))


def vectors_of_folder(folder: Path, settings: Settings, block: list[str] | None, timestep: int) -> StoredVectors:
    """The vectors of all images below a folder, with a progress bar; files that cannot be read are reported and left
    out.

    Without noise: it would be seeded by a picture's pixels, which differ between copies.
    """
    files = image_files(folder)
    if not files:
        raise InvalidInput("SOURCE", f"{folder} has no images", hint=f"images are {FORMATS} files")
    engine = open_engine(settings)
    options = FeatureOptions(
        blocks=read_blocks(block, engine.backbone.sub_blocks),
        timesteps=(timestep,),
        pool_size=1,
        noise_samples=0,
        fit="crop",
    )
    names, parts = [], []
    for at in progress(range(0, len(files), AT_ONCE)):
        pictures = []
        for file in files[at : at + AT_ONCE]:
            try:
                pictures.append(read_image(file, settings))
                names.append(readable_name(str(file.relative_to(folder))))
            except InvalidInput as error:
                typer.echo(f"diffsight: {terminal_text(str(file))}: {error}", err=True)
        if pictures:
            parts.append(complete(vectors_of_images(engine, TensorCache(0), pictures, options)).vectors)
    if not parts:
        raise InvalidInput("SOURCE", f"no image of {folder} can be read", hint="the lines above say why")
    return StoredVectors(tuple(names), np.concatenate(parts))


def print_groups(groups: list[list[Copy]], count: int) -> None:
    """Print each group: its first image, and the others with their cosine to it."""
    for group in groups:
        typer.echo(terminal_text(group[0].name))
        for copy in group[1:]:
            typer.echo(f"  {copy.similarity:.4f}  {terminal_text(copy.name)}")
    spare = sum(len(group) - 1 for group in groups)
    typer.echo(f"{count} images, {len(groups)} groups of copies, {spare} images could go")
