"""Files of sources are opened only where they are files: a pipe or a device that is called so would never end."""

from __future__ import annotations

from typing import Any, BinaryIO

from backbones import files
from backbones.errors import InvalidInput


def open_regular(file_system: Any, path: str) -> BinaryIO:
    """The file, open for reading. Raises OSError for what is none, at once."""
    if "file" not in file_system.protocol:
        opened: BinaryIO = file_system.open(path, "rb")
        return opened
    return files.open_regular(path)


def read_regular(file_system: Any, path: str, most_bytes: int | None = None) -> bytes:
    """The file's bytes, and of a longer one than `most_bytes` one byte more than those. Raises OSError."""
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
