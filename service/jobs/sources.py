"""Where a job's images come from: a source lists them once, in order, and reads each when its turn comes."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from backbones.errors import InvalidInput
from service.jobs.containers import ONLY_VIDEOS, bound_frames
from service.jobs.long_json import parse_json
from service.jobs.patterns import find_matching
from service.jobs.regular_files import check_document, open_regular, read_document, read_regular
from service.jobs.store import Item

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")

Kind = Literal["folder", "glob", "zip", "coco", "urls", "video"]


class Source(BaseModel):
    """Where images are. `address` is a local path, or what fsspec opens: `s3://bucket/folder`, `gs://...`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(
        description="`folder` with all below it, `glob` pattern, `zip`, `coco` file that names images and boxes, "
        "`urls`: a text file with an https:// address a line, `video`."
    )
    address: str = Field(min_length=1, max_length=4096)
    images: str = Field(
        default="", max_length=4096, description="Of `coco`: the folder of its images; else the one of the file itself."
    )
    stride: int = Field(default=1, ge=1, le=1_000_000, description="Of `video`: every so many frames.")


class StoredSource(Source):
    """A source as a job keeps it. Of an upload the address is a file's name in the server's folder of uploads."""

    uploaded: bool = False

    def located(self, uploads: Path) -> StoredSource:
        """The same with an address that can be opened. uploads: the folder of uploads."""
        return self.model_copy(update={"address": str(uploads / self.address)}) if self.uploaded else self


def guess(address: str, *, images: str = "", stride: int = 1) -> Source:
    """The source that a person means by an address. Raises InvalidInput where nothing fits."""
    lower = address.lower()
    fs, path = opened(address)
    kind: Kind
    if any(letter in address for letter in "*?["):
        kind = "glob"
    elif fs.isdir(path):
        kind = "folder"
    elif lower.endswith(VIDEOS):
        kind = "video"
    elif lower.endswith(IMAGES):
        kind = "glob"
    elif lower.endswith((".zip", ".json", ".txt")):
        kind = {"zip": "zip", "json": "coco", "txt": "urls"}[lower.rpartition(".")[2]]  # type: ignore[assignment]
    else:
        raise InvalidInput(
            "source",
            f"{address!r} is no folder, and its name ends like nothing that is read",
            hint="name a folder, a pattern with *, an image, a .zip, a COCO .json, a .txt of addresses or a video",
        )
    return Source(kind=kind, address=address, images=images, stride=stride)


def listed(source: Source, *, most_bytes: int | None = None) -> Iterator[Item]:
    """The source's images in order. most_bytes: of a file that lists them, such as COCO's.

    Raises InvalidInput for a source that is not there, empty, or not what it says.
    """
    try:
        yield from _LISTS[source.kind](source, most_bytes)
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, ImportError) as error:
        raise InvalidInput(
            "source",
            f"{source.address!r} can not be read as {source.kind}: {type(error).__name__}: {error}",
            hint="check the address and that this process may read it",
        ) from error


class Reader:
    """Reads the images of one source. A video is decoded once, forwards: its frames are to be asked for in order.

    most_bytes: of one image's file. most_pixels: of a video's frame.
    """

    def __init__(self, source: Source, *, most_bytes: int | None = None, most_pixels: int | None = None) -> None:
        self.source = source
        self.most_bytes = most_bytes
        self.most_pixels = most_pixels
        self.in_order = source.kind == "video"
        self._frames: Iterator[tuple[int, NDArray[np.uint8]]] = iter(())
        self._next = -1
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None

    def read(self, item: Item) -> bytes | NDArray[np.uint8]:
        """The image's file; of a video its frame, (H, W, 3) uint8 RGB. Blocks. Raises OSError and InvalidInput."""
        if self.source.kind == "zip":
            return self._unpacked(item.address)
        if self.source.kind == "video":
            return self._frame(int(item.address))
        return self._checked(read_regular(self.file_system, item.address, self.most_bytes))

    @cached_property
    def file_system(self) -> Any:
        """That of the images, on which an item's address is a path."""
        return opened(self.source.images or self.source.address)[0]

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            if self._archive is not None:
                file = self._archive.fp  # which the archive did not open, and so does not close
                self._archive.close()
                if file is not None:
                    file.close()
                self._archive = None
        self._frames = iter(())

    def _unpacked(self, name: str) -> bytes:
        with self._lock:
            if self._archive is None:
                # Opened once: with every image the whole list of contents would be read again.
                self._archive = zipfile.ZipFile(open_regular(*opened(self.source.address)))
        try:
            with self._archive.open(name) as file:
                return self._checked(file.read() if self.most_bytes is None else file.read(self.most_bytes + 1))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # encrypted is a RuntimeError
            raise InvalidInput("image", f"damaged inside the archive: {error}", hint="zip it again") from error

    def _checked(self, data: bytes) -> bytes:
        if self.most_bytes is not None and len(data) > self.most_bytes:
            raise InvalidInput("image", f"the file has more than {self.most_bytes:,} bytes", hint="scale it down")
        return data

    def _frame(self, wanted: int) -> NDArray[np.uint8]:
        import av

        if self._next < 0 or wanted < self._next:
            self._frames = _frames(self.source.address, self.most_pixels)
        try:
            for index, frame in self._frames:
                self._next = index + 1
                if index == wanted:
                    return frame
        except av.FFmpegError as error:
            raise InvalidInput("image", f"frame {wanted} can not be decoded: {error}", hint="convert it") from error
        raise InvalidInput("image", f"the video ends before frame {wanted}", hint="the file may be cut short")


def opened(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path there. Raises InvalidInput where its package is missing."""
    try:
        fs, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InvalidInput(
            "source", f"{address!r}: {error}", hint="install fsspec's package for this kind of address, such as s3fs"
        ) from error
    return fs, path


def _some(items: Iterator[Item], source: Source) -> Iterator[Item]:
    position = -1
    for item in items:
        position = item.position
        yield item
    if position < 0:
        raise InvalidInput("source", f"{source.address!r} holds no image", hint=f"images end in {', '.join(IMAGES)}")


def _folder(source: Source, _: int | None) -> Iterator[Item]:
    fs, root = opened(source.address)
    if not fs.isdir(root):
        raise InvalidInput("source", f"there is no folder {source.address!r}", hint="check its path")
    paths = sorted(path for path in fs.find(root) if path.lower().endswith(IMAGES))
    prefix = root.rstrip("/") + "/"
    found = (Item(n, path.removeprefix(prefix), path, {}) for n, path in enumerate(paths))
    yield from _some(found, source)


def _glob(source: Source, _: int | None) -> Iterator[Item]:
    fs, pattern = opened(source.address)
    paths = sorted(path for path in find_matching(fs, pattern) if path.lower().endswith(IMAGES))
    # Names are told from the last folder that the pattern names as it is, so that no two are the same.
    plain = pattern[: min((pattern.find(letter) for letter in "*?[" if letter in pattern), default=len(pattern))]
    prefix = plain[: plain.rfind("/") + 1]
    found = (Item(n, path.removeprefix(prefix), path, {}) for n, path in enumerate(paths))
    yield from _some(found, source)


def images_among(names: Iterable[str]) -> list[str]:
    """The names of an archive that are images, sorted, without what operating systems leave beside them."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(IMAGES) and "__MACOSX" not in name and not name.rpartition("/")[2].startswith(".")
    )


def _zip(source: Source, most_bytes: int | None) -> Iterator[Item]:
    with open_regular(*opened(source.address)) as file, zipfile.ZipFile(file) as archive:
        names = images_among(archive.namelist())
        files = [one for one in archive.infolist() if one.filename.endswith(".json") and "__MACOSX" not in one.filename]
        # A data set in COCO's layout brings its own order, ids and boxes.
        for one in files:
            check_document(one.file_size, most_bytes)
        document = parse_json(archive.read(files[0])) if len(files) == 1 else None
    if not (isinstance(document, dict) and isinstance(document.get("images"), list)):
        yield from _some((Item(n, name, name, {}) for n, name in enumerate(names)), source)
        return
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(name.rpartition("/")[2], name)
        by_name[name] = name
    for item in _described(document):
        at = by_name.get(item.name) or by_name.get(item.name.rpartition("/")[2], item.name)
        yield replace(item, address=at)


def _coco(source: Source, most_bytes: int | None) -> Iterator[Item]:
    fs, path = opened(source.address)
    root = (opened(source.images)[1] if source.images else path.rpartition("/")[0]).rstrip("/")
    items = _described(parse_json(read_document(fs, path, most_bytes)))
    yield from _some((replace(item, address=f"{root}/{item.name}") for item in items), source)


def _described(document: Mapping[str, Any]) -> Iterator[Item]:
    """The images of a COCO file in its order, with their ids and boxes. Their addresses are their names."""
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for one in document.get("annotations", ()):
        if "bbox" in one:
            told = {name: one[name] for name in ("id", "category_id", "bbox", "score") if name in one}
            if len(one["bbox"]) != 4 or not all(isfinite(number) for number in one["bbox"]):
                raise ValueError(f"annotation {one.get('id')}: bbox is x, y, width, height")
            boxes.setdefault(one["image_id"], []).append(told)
    for n, image in enumerate(document["images"]):
        given: dict[str, Any] = {"image_id": image["id"]}
        if image["id"] in boxes:
            given["boxes"] = boxes[image["id"]]
        yield Item(n, str(image["file_name"]), str(image["file_name"]), given)


def _urls(source: Source, most_bytes: int | None) -> Iterator[Item]:
    fs, path = opened(source.address)
    lines = read_document(fs, path, most_bytes).decode().splitlines()
    urls = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    yield from _some((Item(n, url, url, {}) for n, url in enumerate(urls)), source)


def _video(source: Source, _: int | None) -> Iterator[Item]:
    import av

    with open_regular(*opened(source.address)) as file, av.open(file, **ONLY_VIDEOS) as video:
        count = sum(1 for packet in video.demux(video=0) if packet.size)
    stem = source.address.rpartition("/")[2]
    frames = range(0, count, source.stride)
    yield from _some(
        (Item(n, f"{stem}#{frame}", str(frame), {"frame": frame}) for n, frame in enumerate(frames)), source
    )


def _frames(address: str, most_pixels: int | None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    import av

    with open_regular(*opened(address)) as file, av.open(file, **ONLY_VIDEOS) as video:
        bound_frames(video, most_pixels)
        for index, frame in enumerate(video.decode(video=0)):
            yield index, frame.to_ndarray(format="rgb24")


_LISTS = {"folder": _folder, "glob": _glob, "zip": _zip, "coco": _coco, "urls": _urls, "video": _video}
