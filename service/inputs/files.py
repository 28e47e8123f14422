"""The image files of a request before they are decoded: bytes, members of an archive, or addresses to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backbones.errors import InvalidInput
from heads.inputs import InputCounts
from service.inputs.archives import ArchivedFile
from service.inputs.urls import ImageUrl, UrlFetcher
from service.settings.groups import LimitSettings

ImageSource = bytes | ImageUrl | ArchivedFile


@dataclass(frozen=True, slots=True, eq=False)
class InputFiles:
    """The image files of a request by kind. support_names: names of support images and support masks in problems."""

    images: Sequence[ImageSource] = ()
    support_images: Sequence[ImageSource] = ()
    support_masks: Sequence[ImageSource] = ()
    support_names: tuple[str, str] = ("support_images", "support_masks")

    def all(self) -> list[ImageSource]:
        """Every file: images, support images, support masks."""
        return [*self.images, *self.support_images, *self.support_masks]

    def names(self) -> list[str]:
        """The name of each file in problems, in the order of `all`."""
        kinds = zip(self.support_names, (self.support_images, self.support_masks), strict=True)
        return name_images(self.images) + [f"{kind}.{place}" for kind, files in kinds for place in range(len(files))]

    def counts(self) -> InputCounts:
        """How many there are of each kind."""
        return InputCounts(len(self.images), len(self.support_images), len(self.support_masks))


def check_count(files: InputFiles, limits: LimitSettings) -> None:
    """Raises InvalidInput for more images than one request may have."""
    if len(files.images) > limits.max_images:
        raise InvalidInput(
            "images", f"{len(files.images)} images; one request takes {limits.max_images}", hint="send fewer"
        )


def name_images(images: Sequence[ImageSource], field: str = "images") -> list[str]:
    """Name of each image in a problem: its field, and inside an archive its path."""
    if field == "images" and len(images) == 1 and not isinstance(images[0], ArchivedFile):
        return ["image"]
    return [image.name if isinstance(image, ArchivedFile) else f"{field}.{index}" for index, image in enumerate(images)]


def archive_paths(images: Sequence[ImageSource]) -> list[str]:
    """The images' paths in archives; empty if no image came in one."""
    names = [image.name if isinstance(image, ArchivedFile) else "" for image in images]
    return names if any(names) else []


async def fetch_files(
    fetcher: UrlFetcher, images: Sequence[ImageSource], names: Sequence[str], *, most_bytes: int
) -> list[bytes]:
    """The contents of the files. URLs are downloaded in order, with at most `most_bytes` in total.

    Raises InvalidInput for a URL that could not be fetched.
    """
    left = most_bytes
    contents: list[bytes] = []
    for image, name in zip(images, names, strict=True):
        if isinstance(image, ImageUrl):
            contents.append(await fetcher.fetch(image, field=name, most_bytes=left))
            left -= len(contents[-1])
        else:
            contents.append(image.data if isinstance(image, ArchivedFile) else image)
    return contents
