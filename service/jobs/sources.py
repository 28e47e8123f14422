"""Where a job's images come from: a source lists them once, in order, and reads each image when it is needed."""

from __future__ import annotations

import codecs
import os
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from backbones.errors import InvalidInput
from heads.image_files import FORMATS, HEAD_BYTES, IMAGES, VIDEOS, has_image_name, is_image, is_litter
from service.inputs.names import readable_name
from service.inputs.zip_files import open_zip
from service.jobs.addresses import decode_address, encode_address, is_regular, open_address, open_file
from service.jobs.coco_source import describe_images
from service.jobs.long_json import parse_json
from service.jobs.patterns import find_matching
from service.jobs.records import Item
from service.jobs.regular_files import read_document, read_regular
from service.jobs.video import Frames, frame_times
from service.jobs.zip_source import list_zip

SourceKind = Literal["folder", "glob", "zip", "coco", "urls", "video"]


class Source(BaseModel):
    """Where images are. `address` is a local path, or a URL that fsspec opens: `s3://bucket/folder`, `gs://...`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: SourceKind = Field(
        description="`folder` with all below it, `glob` pattern, `zip`, `coco` file that names images and boxes, "
        "`urls`: a text file with an https:// address a line, `video`."
    )
    address: str = Field(min_length=1, max_length=4096)
    images: str = Field(
        default="", max_length=4096, description="Of `coco`: the folder of its images; else the one of the file itself."
    )
    stride: int = Field(default=1, ge=1, le=1_000_000, description="Of `video`: every so many frames.")


class StoredSource(Source):
    """A source as stored with a job. The address of an upload is a file's name in the server's folder of uploads."""

    uploaded: bool = False

    def resolve(self, uploads: Path) -> StoredSource:
        """The same with an address that can be opened. uploads: the folder of uploads."""
        return self.model_copy(update={"address": str(uploads / self.address)}) if self.uploaded else self


def guess(address: str, *, images: str = "", stride: int = 1) -> Source:
    """The source that a person means by an address. Raises InvalidInput if nothing fits.

    An existing path is not a pattern, even if it contains wildcards.
    """
    lower = address.lower()
    fs, path = open_address(address)
    kind: SourceKind
    if fs.isdir(path):
        kind = "folder"
    elif any(letter in address for letter in "*?[") and not fs.exists(path):
        kind = "glob"
    elif lower.endswith(VIDEOS):
        kind = "video"
    elif lower.endswith((".zip", ".json", ".txt")):
        kind = {"zip": "zip", "json": "coco", "txt": "urls"}[lower.rpartition(".")[2]]  # type: ignore[assignment]
    elif lower.endswith(IMAGES) or _is_image(fs, path):
        kind = "glob"
    else:
        raise InvalidInput(
            "source",
            f"{address!r} is neither a folder nor a file type that jobs read",
            hint="name a folder, a pattern with *, an image, a .zip, a COCO .json, a .txt of URLs or a video",
        )
    return Source(kind=kind, address=encode_address(address), images=encode_address(images), stride=stride)


def list_items(source: Source, *, most_bytes: int | None = None) -> Iterator[Item]:
    """The source's images in order. most_bytes: of a file that lists them, such as COCO's.

    Raises InvalidInput for a source that does not exist, is empty, or is of another kind.
    """
    try:
        yield from _LISTS[source.kind](source, most_bytes)
    except InvalidInput:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,  # an encrypted archive
        ImportError,
    ) as error:
        raise InvalidInput(
            "source",
            f"{source.address!r} can not be read as {source.kind}: {type(error).__name__}: {error}",
            hint="check the address and that this process may read it",
        ) from error


class Reader:
    """Reads the images of one source. A video is decoded once, forwards: read its frames in order.

    most_bytes: of one image's file. most_pixels: of a video's frame.
    """

    def __init__(self, source: Source, *, most_bytes: int | None = None, most_pixels: int | None = None) -> None:
        self.source = source
        self.most_bytes = most_bytes
        self.most_pixels = most_pixels
        self.in_order = source.kind == "video"
        self._frames: Frames | None = None
        self._times: list[int | None] | None = None
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        self._open = ExitStack()

    def locate(self, item: Item) -> str:
        """The path of an item on `file_system`. Blocks.

        Names from other systems, with decomposed letters or with backslashes between folders, match too.
        """
        path = decode_address(item.address)
        if "file" not in self.file_system.protocol or os.path.lexists(path):
            return path
        for candidate in dict.fromkeys((path, path.replace("\\", "/"))):
            folder, _, name = candidate.rpartition("/")
            wanted = unicodedata.normalize("NFC", name)
            try:
                twins = [entry for entry in os.listdir(folder or "/") if unicodedata.normalize("NFC", entry) == wanted]
            except OSError:
                continue
            if len(twins) == 1:
                return f"{folder}/{twins[0]}"
        return path

    def read(self, item: Item, path: str | None = None) -> bytes | NDArray[np.uint8]:
        """The image's file; of a video its frame, (H, W, 3) uint8 RGB. Blocks. Raises OSError and InvalidInput.

        path: of `locate`.
        """
        if problem := item.given.get("problem"):
            raise InvalidInput("image", str(problem), hint="correct the file that lists the images")
        if self.source.kind == "zip":
            return self._unpack(item.address)
        if self.source.kind == "video":
            return self._frame(int(item.address))
        return self._check(read_regular(self.file_system, path or self.locate(item), self.most_bytes))

    @cached_property
    def file_system(self) -> Any:
        """That of the images, on which an item's address is a path."""
        return open_address(self.source.images or self.source.address)[0]

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            if self._archive is not None:
                file = self._archive.fp  # ZipFile closes only files that it opened itself
                self._archive.close()
                if file is not None:
                    file.close()
                self._archive = None
            self._forget_frames()

    def _unpack(self, name: str) -> bytes:
        with self._lock:
            if self._archive is None:
                # Opened once: each time it is opened the whole list of contents is read.
                whole = open_file(self.source.address)
                try:
                    self._archive = open_zip(whole)
                except BaseException:
                    whole.close()
                    raise
        try:
            with self._archive.open(name) as file:
                return self._check(file.read() if self.most_bytes is None else file.read(self.most_bytes + 1))
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            RuntimeError,
            UnicodeError,
        ) as error:  # encrypted is a RuntimeError
            raise InvalidInput("image", f"damaged inside the archive: {error}", hint="zip it again") from error

    def _check(self, data: bytes) -> bytes:
        if self.most_bytes is not None and len(data) > self.most_bytes:
            raise InvalidInput("image", f"the file has more than {self.most_bytes:,} bytes", hint="scale it down")
        return data

    def _frame(self, wanted: int) -> NDArray[np.uint8]:
        if self._frames is None or wanted < self._frames.next:
            self._forget_frames()
            if self._times is None:
                with open_file(self.source.address) as file:
                    self._times = frame_times(file)
            file = self._open.enter_context(open_file(self.source.address))
            self._frames = Frames(file, self._times, self.most_pixels)
        try:
            return self._frames.read(wanted)
        except (OSError, ValueError) as error:
            raise InvalidInput("image", f"frame {wanted} can not be decoded: {error}", hint="convert it") from error

    def _forget_frames(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._open.close()


def _some(items: Iterator[Item], source: Source) -> Iterator[Item]:
    position = -1
    for item in items:
        position = item.position
        yield item
    if position < 0:
        raise InvalidInput("source", f"{source.address!r} holds no image", hint=f"images are {FORMATS} files")


def _file_items(fs: Any, paths: Mapping[str, Any], prefix: str, *, hidden: bool = False) -> Iterator[Item]:
    """The images among paths, by path. prefix: left out of their names. hidden: whether to include hidden files."""
    images = sorted(
        path
        for path, about in paths.items()
        if (hidden or not is_litter(path.removeprefix(prefix))) and is_regular(path, about) and _is_image(fs, path)
    )
    names = set(images)
    for n, path in enumerate(images):
        name = path.removeprefix(prefix)
        shown = readable_name(name)
        while shown != name and prefix + shown in names:  # two files have the same readable name
            shown += "_"
        names.add(prefix + shown)
        yield Item(n, shown, encode_address(path), {})


def _is_image(fs: Any, path: str) -> bool:
    named = has_image_name(path)
    if named is not None:
        return named
    try:
        return is_image(fs.cat_file(path, end=HEAD_BYTES))
    except (OSError, ValueError):
        return False


def _folder(source: Source, _: int | None) -> Iterator[Item]:
    fs, root = open_address(source.address)
    if not fs.isdir(root):
        raise InvalidInput("source", f"there is no folder {source.address!r}", hint="check its path")
    yield from _some(_file_items(fs, fs.find(root, detail=True), root.rstrip("/") + "/"), source)


def _glob(source: Source, _: int | None) -> Iterator[Item]:
    fs, pattern = open_address(source.address)
    if fs.isfile(pattern):
        paths, prefix = {pattern: fs.info(pattern)}, pattern.rpartition("/")[0] + "/"
        yield from _some(_file_items(fs, paths, prefix, hidden=True), source)
        return
    # Names are relative to the pattern's last folder without wildcards, so that they are unique.
    plain = pattern[: min((pattern.find(letter) for letter in "*?[" if letter in pattern), default=len(pattern))]
    prefix = plain[: plain.rfind("/") + 1]
    hidden = is_litter(pattern.removeprefix(prefix))
    yield from _some(_file_items(fs, find_matching(fs, pattern), prefix, hidden=hidden), source)


def _zip(source: Source, most_bytes: int | None) -> Iterator[Item]:
    with open_file(source.address) as file:
        yield from _some(list_zip(file, most_bytes), source)


def _coco(source: Source, most_bytes: int | None) -> Iterator[Item]:
    fs, path = open_address(source.address)
    root = (open_address(source.images)[1] if source.images else path.rpartition("/")[0]).rstrip("/")
    items = describe_images(parse_json(read_document(fs, path, most_bytes)))
    yield from _some((replace(item, address=_address_below(root, item.address)) for item in items), source)


def _address_below(root: str, name: str) -> str:
    """The address of an image that a COCO file names; a name that begins with a slash is a path by itself."""
    return encode_address(name if name.startswith("/") and root.startswith("/") else f"{root}/{name}")


def _urls(source: Source, most_bytes: int | None) -> Iterator[Item]:
    fs, path = open_address(source.address)
    data = read_document(fs, path, most_bytes)
    # Editors on Windows write a byte order mark, and some write UTF-16.
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    lines = (line.strip() for line in data.decode("utf-16" if wide else "utf-8-sig").splitlines())
    urls = [line for line in lines if line and not line.startswith("#")]
    yield from _some((Item(n, url, url, {}) for n, url in enumerate(urls)), source)


def _video(source: Source, _: int | None) -> Iterator[Item]:
    with open_file(source.address) as file:
        count = len(frame_times(file))
    stem = readable_name(decode_address(source.address).rpartition("/")[2])
    frames = range(0, count, source.stride)
    yield from _some(
        (Item(n, f"{stem}#{frame}", str(frame), {"frame": frame}) for n, frame in enumerate(frames)), source
    )


_LISTS = {"folder": _folder, "glob": _glob, "zip": _zip, "coco": _coco, "urls": _urls, "video": _video}
