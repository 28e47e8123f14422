"""Opens only regular files: a pipe or a device with the name of an image would never end."""

from __future__ import annotations

from typing import Any, BinaryIO

from backbones import files
from backbones.errors import InvalidInput


def open_regular(file_system: Any, path: str) -> BinaryIO:
    """Open a regular file for reading. Raises OSError at once for anything else."""
    if "file" not in file_system.protocol:
        opened: BinaryIO = file_system.open(path, "rb")
        return opened
    return files.open_regular(path)


def read_regular(file_system: Any, path: str, most_bytes: int | None = None) -> bytes:
    """The file's bytes, but at most `most_bytes` + 1 of them. Raises OSError."""
    with open_regular(file_system, path) as file:
        return file.read() if most_bytes is None else file.read(most_bytes + 1)


def read_document(file_system: Any, path: str, most_bytes: int | None) -> bytes:
    """A file that lists images. Raises OSError, and InvalidInput for one of more than `most_bytes`."""
    data = read_regular(file_system, path, most_bytes)
    check_document(len(data), most_bytes)
    return data


def check_document(size: int, most_bytes: int | None) -> None:
    """Raises InvalidInput for a list of images of more bytes than a server reads; None is no bound."""
    if most_bytes is not None and size > most_bytes:
        raise InvalidInput(
            "source",
            f"the file that lists the images has more than {most_bytes:,} bytes",
            hint="split it, or ask the server's operator to raise DIFFSIGHT_JOBS__MAX_DOCUMENT_BYTES",
        )
