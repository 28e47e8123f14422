"""The uploaded files of a job: they are opened and counted while they are sent, and a folder is packed into a zip."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from diffsight_client.errors import BadInput
from diffsight_client.images import Image, image_list, upload_of
from diffsight_client.progress import OnProgress, Step


class CountedFile:
    """A file that reports how much of all files has been read."""

    def __init__(self, file: BinaryIO, before: int, total: int, report: OnProgress) -> None:
        self._file, self._before, self._total, self._report = file, before, total, report

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        if data:
            self._report(Step("upload", self._before + self._file.tell(), self._total))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position; a request that is sent again reads the file again."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()


@contextmanager
def open_files(files: Image | Iterable[Image], report: OnProgress) -> Iterator[list[tuple[str, CountedFile]]]:
    """The files by name, open during the upload.

    files: a folder, which is sent as a zip; a zip, a video, or images. Raises BadInput for an empty folder and for
    values that are not images, and OSError for files that cannot be read.
    """
    with ExitStack() as stack:
        if isinstance(files, str | os.PathLike) and Path(files).is_dir():
            opened = [(f"{Path(files).resolve().name}.zip", stack.enter_context(_packed(Path(files))))]
        else:
            opened = [_open(file, number, stack) for number, file in enumerate(image_list(files), 1)]
        sizes = [file.seek(0, os.SEEK_END) for _, file in opened]
        before = [sum(sizes[:index]) for index in range(len(sizes))]
        for _, file in opened:
            file.seek(0)
        yield [
            (name, CountedFile(file, start, sum(sizes), report))
            for (name, file), start in zip(opened, before, strict=True)
        ]


@contextmanager
def written_file(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path`, which is renamed to `path` at the end, and removed if an error occurs."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _open(image: Image, number: int, stack: ExitStack) -> tuple[str, BinaryIO]:
    """The name and the file of one image; an image without a name is named by its number."""
    if isinstance(image, str | os.PathLike):
        return Path(image).name, stack.enter_context(Path(image).open("rb"))
    upload = upload_of(image)
    name = upload.name.replace("image", f"image-{number}") if Path(upload.name).stem == "image" else upload.name
    return name, io.BytesIO(upload.data)


@contextmanager
def _packed(folder: Path) -> Iterator[BinaryIO]:
    """A zip, in a temporary file, of the files below a folder; hidden ones are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    if not paths:
        raise BadInput(f"{folder} holds no files")
    with tempfile.TemporaryFile() as file:
        # Pictures are already compressed.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder).as_posix())
        yield file


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
