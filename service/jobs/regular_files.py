"""Files of sources are opened only where they are files: a pipe or a device that is called so would never end."""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO

from backbones.errors import InvalidInput


def open_regular(file_system: Any, path: str) -> BinaryIO:
    """The file, open for reading. Raises OSError for what is none, at once."""
    if "file" not in file_system.protocol:
        opened: BinaryIO = file_system.open(path, "rb")
        return opened
    # Not waiting for a writer, who may never come; between a look and the opening the file may be changed for a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path!r} is no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


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
            hint="split it, or ask who runs this server to raise DIFFSIGHT_JOBS__MAX_DOCUMENT_BYTES",
        )
