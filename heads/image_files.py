"""Recognise images and videos by their content, not by their names, and files that operating systems add."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from backbones.errors import InvalidInput

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
"""Suffixes of images. A file with another suffix is an image if its content begins like one."""
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
HEAD_BYTES = 32
"""Bytes at the beginning of a file that `is_image` and `is_video` need."""

# Folders of images often hold thousands of labels and tables: they are not opened.
_OTHERS = (".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".md", ".npy", ".npz", ".py", ".html")
_FOLDERS = frozenset(
    {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "@tmp", "lost+found"}
    | {"system volume information", "__pycache__"}
)
_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"})
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
# HEIF and AVIF pictures begin like videos, and name one of these kinds.
_STILLS = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"hevc", b"hevx", b"crx "})


def is_image(head: bytes) -> bool:
    """Whether a file begins like an image of a format that is read. head: its first `HEAD_BYTES`."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return True
    if head.startswith(b"BM"):
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def is_video(head: bytes) -> bool:
    """Whether a file begins like a video: MP4, QuickTime, Matroska, WebM or AVI. head: its first `HEAD_BYTES`."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILLS
    if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot"):
        return True
    return head.startswith(b"\x1a\x45\xdf\xa3") or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")


def has_image_name(name: str) -> bool | None:
    """By the name alone: True for an image, False for a file that is never an image, None if it must be read."""
    suffix = os.path.splitext(name.lower())[1]
    return True if suffix in IMAGES else False if suffix in _OTHERS else None


def is_litter(path: str) -> bool:
    """Whether a relative path is hidden, or lies in a folder where a system keeps copies, previews or what was deleted.

    Such are `.ipynb_checkpoints/a.png`, `._a.png`, `__MACOSX/a.png`, `@eaDir/a.jpg` and `Thumbs.db`.
    """
    parts = path.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or any(part.casefold() in _FOLDERS for part in parts) or parts[-1].casefold() in _FILES


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and below it, sorted by path, without litter. Only regular files are opened."""
    images: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_litter(name)]
        images += [Path(parent, name) for name in names if not is_litter(name) and _is_image_file(Path(parent, name))]
    return sorted(images)


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted, without litter. Raises InvalidInput if it cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise InvalidInput(str(folder), f"cannot be read: {error.strerror}", hint="check the path") from error
    return sorted(folder / name for name in names if not is_litter(name) and _is_image_file(folder / name))


def check_stems(files: list[Path]) -> list[Path]:
    """The files. Raises InvalidInput if two differ in their suffix alone: both would have the same mask or map."""
    stems: dict[str, Path] = {}
    for file in files:
        other = stems.setdefault(file.stem, file)
        if other is not file:
            raise InvalidInput(
                str(file), f"it differs from {other.name} only in its suffix", hint="rename one of the two"
            )
    return files


def _is_image_file(file: Path) -> bool:
    named = has_image_name(file.name)
    if named is False:
        return False
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return False
        if named:
            return True
        with file.open("rb") as opened:
            return is_image(opened.read(HEAD_BYTES))
    except OSError:
        # A broken link is not an image. A file without read permission counts if its name is an image's.
        return False
