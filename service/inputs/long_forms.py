"""Forms with gigabytes of files: files go to disk, and the text fields are bounded."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from service.inputs.forms import FormParser, open_form

# Of all text fields of one form together. A hundred thousand addresses fit.
MOST_TEXT_BYTES = 16 * 1024 * 1024


class _BoundedTexts(FormParser):
    """The parser of forms, which holds texts whole in memory, and bounds each by itself alone."""

    text_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self.text_bytes += end - start
            if self.text_bytes > MOST_TEXT_BYTES:
                raise MultiPartException(f"its texts have more than {MOST_TEXT_BYTES:,} bytes")
        super().on_part_data(data, start, end)


def read_long_form(request: Request, *, max_files: int, max_fields: int) -> AbstractAsyncContextManager[FormData]:
    """As `open_form`, with the bound on all texts together."""
    return open_form(
        request, max_files=max_files, max_fields=max_fields, max_part_size=MOST_TEXT_BYTES, parser=_BoundedTexts
    )
