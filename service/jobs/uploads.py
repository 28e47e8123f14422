"""Uploads for jobs: one file for each job in a folder of the server, written under a temporary name and renamed."""

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
from heads.image_files import FORMATS, HEAD_BYTES, VIDEOS, has_image_name, is_image, is_litter, is_video
from service.inputs.archives import check_archive, is_archive
from service.inputs.names import choose_upload_name, readable_name
from service.inputs.zip_files import open_zip
from service.jobs.sources import StoredSource
from service.jobs.zip_source import images_of_zip
from service.settings.groups import LimitSettings
from service.settings.loader import Settings

_CHUNK = 1024 * 1024
_HINT = f"send one .zip, one video, or images, which are {FORMATS} files"


def uploads_folder(settings: Settings) -> Path:
    """Where uploads are."""
    return settings.data_path() / "jobs"


@contextmanager
def receiving(settings: Settings, job_id: str) -> Iterator[BinaryIO]:
    """A file to write an upload to. It is deleted at the end unless `keep` took it."""
    folder = uploads_folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = name_beside(folder / job_id)
    try:
        with beside.open("w+b") as file:
            yield file
    finally:
        beside.unlink(missing_ok=True)


def keep_zip(settings: Settings, job_id: str, file: BinaryIO) -> StoredSource:
    """Keep the received file as a zip of images. Raises InvalidInput for an empty, damaged or too large archive.

    A file in it that cannot be read fails later, by itself.
    """
    check_archive(file, _limits_of(settings))
    with open_zip(file) as archive:
        if not images_of_zip(archive):
            raise InvalidInput("archive", "the archive holds no image", hint=f"images are {FORMATS} files")
    return _keep(settings, job_id, file, "zip")


def keep_files(
    settings: Settings, job_id: str, file: BinaryIO, files: Sequence[tuple[str, BinaryIO]], *, stride: int = 1
) -> StoredSource:
    """Take the files of a form, (name, file): one zip, one video, or images, which are packed. Raises InvalidInput.

    A file's type is known from its first bytes, not from its name. Images keep their names; further images of the same
    name get a number before it.
    """
    name, first = files[0]
    ends = os.path.splitext(name.lower())[1]
    head = _read_head(first)
    if len(files) == 1 and (is_video(head) or (ends in VIDEOS and not is_image(head))):
        shutil.copyfileobj(first, file, _CHUNK)
        return _keep(settings, job_id, file, "video", ends if ends in VIDEOS else ".mp4", stride=stride)
    if len(files) == 1 and (is_archive(head) or ends == ".zip"):
        shutil.copyfileobj(first, file, _CHUNK)
        return keep_zip(settings, job_id, file)
    taken: set[str] = set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, (name, part) in enumerate(files):
            if not (has_image_name(name) or is_image(_read_head(part))):
                if is_litter(name) and len(files) > 1:  # a browser sends a whole folder
                    continue
                field = f"file.{index}" if len(files) > 1 else "file"
                raise InvalidInput(field, f"{name[:200]!r} is not a file type that jobs read", hint=_HINT)
            packed = _free_name(choose_upload_name(name), index, taken)
            with archive.open(zipfile.ZipInfo(packed), "w", force_zip64=True) as entry:
                shutil.copyfileobj(part, entry, _CHUNK)
    if not taken:
        raise InvalidInput("file", "no file of the form is an image", hint=_HINT)
    return _keep(settings, job_id, file, "zip")


def _read_head(file: BinaryIO) -> bytes:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _free_name(name: str, index: int, taken: set[str]) -> str:
    """A name for an uploaded image that no earlier image has, and that is not skipped as a system file."""
    plain = readable_name(name)[:1000].lstrip(".") or "image"
    free, number = plain, index
    while free in taken or is_litter(free):
        free = f"{number}-{plain}"
        number += 1
    taken.add(free)
    return free


def keep_urls(settings: Settings, job_id: str, file: BinaryIO, urls: Sequence[str]) -> StoredSource:
    """Take a list of addresses of images."""
    file.write("".join(f"{url}\n" for url in urls).encode())
    return _keep(settings, job_id, file, "urls", ".txt")


def forget(settings: Settings, source: StoredSource) -> None:
    """Delete the upload, if there is one."""
    if source.uploaded:
        Path(source.resolve(uploads_folder(settings)).address).unlink(missing_ok=True)


def _keep(
    settings: Settings, job_id: str, file: BinaryIO, kind: str, ends: str = "", *, stride: int = 1
) -> StoredSource:
    """Give the received file its name. Raises InvalidInput if there is no room for it."""
    folder = uploads_folder(settings)
    file.flush()
    os.fsync(file.fileno())
    held = 0
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # deleted meanwhile
            held += entry.stat().st_size
    if held > settings.data_bytes:
        raise InvalidInput(
            "archive",
            f"all uploads together would take {held:,} bytes; the limit is {settings.data_bytes:,}",
            hint="delete finished jobs with DELETE /v1/jobs/{id}, or ask the server's operator",
        )
    name = f"{job_id}{ends or f'.{kind}'}"
    Path(file.name).replace(folder / name)
    return StoredSource.model_validate({"kind": kind, "address": name, "stride": stride, "uploaded": True})


def _limits_of(settings: Settings) -> LimitSettings:
    # Only one image at a time is unpacked into memory, so it is enough to bound the compression ratio.
    limits = settings.limits
    return limits.model_copy(
        update={"max_archive_bytes": int(settings.jobs.max_upload_bytes * limits.max_archive_ratio)}
    )
