"""Where a job's images come from: a source lists them once, in order, and reads each when its turn comes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from backbones.errors import InvalidInput
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


def guess(address: str, *, images: str = "", stride: int = 1) -> Source:
    """The source that a person means by an address. Raises InvalidInput where nothing fits."""
    lower = address.lower()
    fs, path = _opened(address)
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


def listed(source: Source) -> Iterator[Item]:
    """The source's images in order. Raises InvalidInput for a source that is not there, empty, or not what it says."""
    try:
        yield from _LISTS[source.kind](source)
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, ImportError) as error:
        raise InvalidInput(
            "source",
            f"{source.address!r} can not be read as {source.kind}: {type(error).__name__}: {error}",
            hint="check the address and that this process may read it",
        ) from error


class Reader:
    """Reads the images of one source. A video is decoded once, forwards: its frames are to be asked for in order."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.in_order = source.kind == "video"
        self._frames: Iterator[tuple[int, NDArray[np.uint8]]] = iter(())
        self._next = -1

    def read(self, item: Item) -> bytes | NDArray[np.uint8]:
        """The image's file; of a video its frame, (H, W, 3) uint8 RGB. Blocks. Raises OSError and InvalidInput."""
        if self.source.kind == "zip":
            with _opened(self.source.address)[0].open(self.source.address) as file, zipfile.ZipFile(file) as archive:
                return archive.read(item.address)
        if self.source.kind == "video":
            return self._frame(int(item.address))
        fs, path = _opened(item.address)
        data: bytes = fs.cat_file(path)
        return data

    def _frame(self, wanted: int) -> NDArray[np.uint8]:
        if self._next < 0 or wanted < self._next:
            self._frames = _frames(self.source.address)
        for index, frame in self._frames:
            self._next = index + 1
            if index == wanted:
                return frame
        raise InvalidInput("image", f"the video ends before frame {wanted}", hint="the file may be cut short")


def _opened(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InvalidInput(
            "source", f"{address!r}: {error}", hint="install fsspec's package for this kind of address, such as s3fs"
        ) from error
    return fs, path


def _address(fs: Any, path: str) -> str:
    return path if "file" in fs.protocol else str(fs.unstrip_protocol(path))


def _some(items: Iterator[Item], source: Source) -> Iterator[Item]:
    position = -1
    for item in items:
        position = item.position
        yield item
    if position < 0:
        raise InvalidInput("source", f"{source.address!r} holds no image", hint=f"images end in {', '.join(IMAGES)}")


def _folder(source: Source) -> Iterator[Item]:
    fs, root = _opened(source.address)
    if not fs.isdir(root):
        raise InvalidInput("source", f"there is no folder {source.address!r}", hint="check its path")
    paths = sorted(path for path in fs.find(root) if path.lower().endswith(IMAGES))
    prefix = root.rstrip("/") + "/"
    found = (Item(n, path.removeprefix(prefix), _address(fs, path), {}) for n, path in enumerate(paths))
    yield from _some(found, source)


def _glob(source: Source) -> Iterator[Item]:
    fs, pattern = _opened(source.address)
    paths = sorted(path for path in fs.glob(pattern) if path.lower().endswith(IMAGES))
    # Names are told from the last folder that the pattern names as it is, so that no two are the same.
    plain = pattern[: min((pattern.find(letter) for letter in "*?[" if letter in pattern), default=len(pattern))]
    prefix = plain[: plain.rfind("/") + 1]
    found = (Item(n, path.removeprefix(prefix), _address(fs, path), {}) for n, path in enumerate(paths))
    yield from _some(found, source)


def _zip(source: Source) -> Iterator[Item]:
    with _opened(source.address)[0].open(source.address) as file, zipfile.ZipFile(file) as archive:
        names = sorted(
            one.filename
            for one in archive.infolist()
            if one.filename.lower().endswith(IMAGES)
            and "__MACOSX" not in one.filename
            and not one.filename.rpartition("/")[2].startswith(".")
        )
    yield from _some((Item(n, name, name, {}) for n, name in enumerate(names)), source)


def _coco(source: Source) -> Iterator[Item]:
    fs, path = _opened(source.address)
    document = json.loads(fs.cat_file(path))
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for one in document.get("annotations", ()):
        if "bbox" in one:
            told = {name: one[name] for name in ("id", "category_id", "bbox", "score") if name in one}
            boxes.setdefault(one["image_id"], []).append(told)
    root = (source.images or _address(fs, path.rpartition("/")[0])).rstrip("/")

    def found() -> Iterator[Item]:
        for n, image in enumerate(document["images"]):
            given: dict[str, Any] = {"image_id": image["id"]}
            if image["id"] in boxes:
                given["boxes"] = boxes[image["id"]]
            yield Item(n, image["file_name"], f"{root}/{image['file_name']}", given)

    yield from _some(found(), source)


def _urls(source: Source) -> Iterator[Item]:
    fs, path = _opened(source.address)
    lines = fs.cat_file(path).decode().splitlines()
    urls = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    yield from _some((Item(n, url, url, {}) for n, url in enumerate(urls)), source)


def _video(source: Source) -> Iterator[Item]:
    import av

    with _opened(source.address)[0].open(source.address) as file, av.open(file) as video:
        count = sum(1 for packet in video.demux(video=0) if packet.size)
    stem = source.address.rpartition("/")[2]
    frames = range(0, count, source.stride)
    yield from _some(
        (Item(n, f"{stem}#{frame}", str(frame), {"frame": frame}) for n, frame in enumerate(frames)), source
    )


def _frames(address: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    import av

    with _opened(address)[0].open(address) as file, av.open(file) as video:
        for index, frame in enumerate(video.decode(video=0)):
            yield index, frame.to_ndarray(format="rgb24")


_LISTS = {"folder": _folder, "glob": _glob, "zip": _zip, "coco": _coco, "urls": _urls, "video": _video}
