"""What callers upload for their jobs: one file a job in a folder of the server's, written beside and renamed."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from backbones.errors import InvalidInput
from backbones.files import name_beside
from service.inputs.archives import archive_names
from service.jobs.sources import IMAGES, VIDEOS, StoredSource, images_among
from service.settings.groups import LimitSettings
from service.settings.loader import Settings

_CHUNK = 1024 * 1024
_HINT = f"send one .zip, one video, or images; images end in {', '.join(IMAGES)}"


def uploads_folder(settings: Settings) -> Path:
    """Where uploads are."""
    return settings.data_path() / "jobs"


@contextmanager
def receiving(settings: Settings, job_id: str) -> Iterator[BinaryIO]:
    """A file to write an upload to, which is gone afterwards unless `keep` took it."""
    folder = uploads_folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = name_beside(folder / job_id)
    try:
        with beside.open("w+b") as file:
            yield file
    finally:
        beside.unlink(missing_ok=True)


def keep_zip(settings: Settings, job_id: str, file: BinaryIO) -> StoredSource:
    """Take the received file as a zip of images. Raises InvalidInput for what is empty, damaged or out of bounds."""
    names = archive_names(file, _limits_of(settings))
    if not images_among(names):
        raise InvalidInput("archive", "the archive holds no image", hint=f"images end in {', '.join(IMAGES)}")
    return _keep(settings, job_id, file, "zip")


def keep_files(
    settings: Settings, job_id: str, file: BinaryIO, files: Sequence[tuple[str, BinaryIO]], *, stride: int = 1
) -> StoredSource:
    """Take the files of a form, (name, file): one zip, one video, or images, which are packed. Raises InvalidInput."""
    name, first = files[0]
    ends = os.path.splitext(name.lower())[1]
    if len(files) == 1 and ends not in IMAGES:
        shutil.copyfileobj(first, file, _CHUNK)
        if ends in VIDEOS:
            return _keep(settings, job_id, file, "video", ends, stride=stride)
        first.seek(0)
        if ends == ".zip" or first.read(2) == b"PK":
            return keep_zip(settings, job_id, file)
        raise InvalidInput("file", f"{name[:200]!r} is nothing that a job reads", hint=_HINT)
    taken: set[str] = set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, (name, one) in enumerate(files):
            plain = name.replace("\\", "/").rpartition("/")[2]
            if not plain.lower().endswith(IMAGES) or not plain.isprintable() or plain.startswith("."):
                raise InvalidInput(f"file.{index}", f"{name[:200]!r} is no image's name", hint=_HINT)
            called = plain if plain not in taken else f"{index}-{plain}"
            taken.add(called)
            with archive.open(zipfile.ZipInfo(called), "w") as entry:
                shutil.copyfileobj(one, entry, _CHUNK)
    return _keep(settings, job_id, file, "zip")


def keep_urls(settings: Settings, job_id: str, file: BinaryIO, urls: Sequence[str]) -> StoredSource:
    """Take a list of addresses of images."""
    file.write("".join(f"{url}\n" for url in urls).encode())
    return _keep(settings, job_id, file, "urls", ".txt")


def forget(settings: Settings, source: StoredSource) -> None:
    """Delete what was uploaded, if anything was."""
    if source.uploaded:
        Path(source.located(uploads_folder(settings)).address).unlink(missing_ok=True)


def _keep(
    settings: Settings, job_id: str, file: BinaryIO, kind: str, ends: str = "", *, stride: int = 1
) -> StoredSource:
    """Give the received file its name. Raises InvalidInput where there is no room for it."""
    folder = uploads_folder(settings)
    file.flush()
    os.fsync(file.fileno())
    held = 0
    for one in folder.iterdir():
        with suppress(FileNotFoundError):  # deleted meanwhile
            held += one.stat().st_size
    if held > settings.data_bytes:
        raise InvalidInput(
            "archive",
            f"uploads would take {held:,} bytes with it; there are {settings.data_bytes:,} for them",
            hint="delete jobs that are done with DELETE /v1/jobs/{id}, or ask who runs this server",
        )
    name = f"{job_id}{ends or f'.{kind}'}"
    Path(file.name).replace(folder / name)
    return StoredSource.model_validate({"kind": kind, "address": name, "stride": stride, "uploaded": True})


def _limits_of(settings: Settings) -> LimitSettings:
    # Nothing of it is unpacked into memory but an image at a time, so that only its growth is bounded.
    limits = settings.limits
    return limits.model_copy(
        update={"max_archive_bytes": int(settings.jobs.max_upload_bytes * limits.max_archive_ratio)}
    )
