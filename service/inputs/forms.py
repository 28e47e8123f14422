"""Read multipart forms, with the deviations of real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request


class FormParser(MultiPartParser):
    """Reads parts as files that some clients send without a file name.

    A part that has only `filename*`, as older Python clients write it; and a part without a file name that contains a
    NUL byte, as every image and zip does and no text does: generated clients leave the name out.
    """

    _is_open = False

    def on_headers_finished(self) -> None:
        disposition = self._current_part.content_disposition or b""
        lower = disposition.lower()
        if b"filename*" in lower and b"filename=" not in lower.replace(b" ", b""):
            self._current_part.content_disposition = disposition + b'; filename="file"'
        super().on_headers_finished()

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None and b"\0" in part.data:
            self._current_files += 1
            if self._current_files > self.max_files:
                raise MultiPartException(f"Too many files. Maximum number of files is {self.max_files}.")
            headers = Headers(raw=part.item_headers)
            part.file = UploadFile(BytesIO(part.data), size=len(part.data), filename="file", headers=headers)
        super().on_part_end()

    def on_part_begin(self) -> None:
        self._is_open = True
        super().on_part_begin()

    def on_end(self) -> None:
        self._is_open = False
        super().on_end()

    async def parse(self) -> FormData:
        """The form.

        Raises MultiPartException for a form that is cut short, whose last part would be missing without an error.
        """
        form = await super().parse()
        if self._is_open:
            await form.close()
            raise MultiPartException("it ends without its last boundary")
        return form


@asynccontextmanager
async def open_form(
    request: Request,
    *,
    max_files: int,
    max_fields: int,
    max_part_size: int,
    parser: type[FormParser] = FormParser,
) -> AsyncIterator[FormData]:
    """The request's form, whose files are closed at the end. Raises HTTPException if it cannot be read."""
    bounds = {"max_files": max_files, "max_fields": max_fields, "max_part_size": max_part_size}
    try:
        form = await parser(request.headers, request.stream(), **bounds).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        yield form
    finally:
        await form.close()
