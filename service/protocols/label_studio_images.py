"""Find and read the images of Label Studio's tasks."""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx2

from backbones.errors import DiffsightError, InvalidInput
from service.inputs.request_body import decode_base64
from service.inputs.urls import ImageUrl
from service.settings.groups import LabelStudioSettings
from service.state import AppState
from service.threads import BODIES, run_in

# Label Studio's paths of images: uploads, files on its own disk, and files in a storage.
_IMAGE_PATHS = r"/(data|storage-data|(tasks|projects)/[0-9]+/(resolve|presign))/"
# Storages that Label Studio opens for its users.
_STORAGES = r"(?i)(s3|gs|azure-blob|azure-spi|azure_spi|dbfs)://"
_MOST_REDIRECTS = 4


class StudioImages:
    """Reads the images of one request's tasks.

    A personal token is exchanged for a short-lived one, once for all of them.
    client: a connection without proxies of the environment, with the settings' timeout.
    """

    def __init__(self, state: AppState, client: httpx2.AsyncClient) -> None:
        self._state = state
        self._client = client
        self._headers: dict[str, str] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self, address: object, *, task_id: object = None) -> bytes:
        """The image that a task names: data in base64, a path of Label Studio or of its storage, or an address.

        task_id: of the task; Label Studio uses it to find files in a storage of the task's project. Raises
        InvalidInput.
        """
        if not isinstance(address, str) or not address:
            hint = "its data must have the key that <Image value=...> names"
            raise InvalidInput("tasks", "a task has no image", hint=hint)
        if address.startswith("data:"):
            try:
                return await run_in(BODIES, decode_base64, address)
            except ValueError as error:
                hint = "send data:image/png;base64,..."
                raise InvalidInput("tasks", f"the image is not base64: {error}", hint=hint) from error
        base = (self._state.settings.label_studio.url or "").rstrip("/")
        if base and address.startswith(f"{base}/"):
            address = address.removeprefix(base)
        if re.match(_STORAGES, address):
            address = _find_resolve_path(address, task_id)
        if not address.startswith("/"):
            return await self._of_another_host(address)
        image = await self._of_label_studio(address)
        return image if isinstance(image, bytes) else await self._of_another_host(image.text)

    async def _of_another_host(self, address: str) -> bytes:
        """An image at an address, by the rules for addresses. Raises InvalidInput."""
        if not self._state.settings.urls.enabled:
            studio = self._state.settings.label_studio.url
            raise InvalidInput(
                "tasks",
                f"the image's address is not below {studio or 'the Label Studio of this server, which has none'}",
                hint="set DIFFSIGHT_URLS__ENABLED for https addresses; for images of Label Studio itself, set "
                "DIFFSIGHT_LABEL_STUDIO__URL to the beginning of its own addresses",
            )
        most = self._state.settings.limits.max_upload_bytes
        return await self._state.fetcher.fetch(ImageUrl(address), field="tasks", most_bytes=most)

    async def _of_label_studio(self, path: str) -> bytes | ImageUrl:
        """An image in Label Studio, or the address on another host to which Label Studio redirects.

        Raises InvalidInput.
        """
        settings = self._state.settings.label_studio
        if settings.url is None:
            raise InvalidInput(
                "tasks",
                "the image is stored in Label Studio, and this server does not know its URL",
                hint="set DIFFSIGHT_LABEL_STUDIO__URL and DIFFSIGHT_LABEL_STUDIO__API_KEY",
            )
        base = settings.url.rstrip("/")
        url = base + check_path(path.removeprefix(urlsplit(base).path))
        try:
            headers = await self._authorisation(base)
            for _ in range(_MOST_REDIRECTS):
                async with self._client.stream("GET", url, headers=headers) as response:
                    if not response.has_redirect_location:
                        return await _body(response, self._state.settings.limits.max_upload_bytes)
                    url = urljoin(url, response.headers["location"])
                if not url.startswith(f"{base}/"):
                    return ImageUrl(url)  # without the token, by the rules for all addresses
                url = base + check_path(url.removeprefix(base))
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise _not_read(type(error).__name__) from error
        raise _not_read(f"it sent on more than {_MOST_REDIRECTS} times")

    async def _authorisation(self, base: str) -> dict[str, str]:
        """The header of a legacy token, or of the access token for a personal one, which is a JWT."""
        async with self._one_at_a_time:
            if self._headers is None:
                self._headers = await _authorisation(self._client, base, self._state.settings.label_studio)
            return self._headers


@asynccontextmanager
async def studio_images(state: AppState) -> AsyncIterator[StudioImages]:
    """The reader of the images of one request."""
    seconds = state.settings.label_studio.timeout_seconds
    async with httpx2.AsyncClient(timeout=seconds, trust_env=False) as client:
        yield StudioImages(state, client)


def _find_resolve_path(address: str, task_id: object) -> str:
    """Label Studio's own path for a file in a storage of a task's project. Raises InvalidInput without an id."""
    if not re.fullmatch(r"[0-9]{1,18}", str(task_id)):
        raise InvalidInput(
            "tasks",
            "the image is in a cloud storage, which Label Studio opens by the task's id, but the task has no id",
            hint="let Label Studio send the task, or name the image by https",
        )
    encoded = urlsafe_b64encode(address.encode("utf-8", "surrogatepass")).decode()
    return f"/tasks/{task_id}/resolve/?fileuri={encoded}"


def check_path(path: str) -> str:
    """The path to request, percent-encoded. Raises InvalidInput unless it is one of Label Studio's images.

    The path comes from a client, and the token opens more than images, so it is used only for images.
    """
    plain = unquote(path)
    if not re.match(_IMAGE_PATHS, plain) or ".." in re.split(r"[/\\]", plain) or not plain.isprintable():
        raise InvalidInput(
            "tasks",
            f"{path[:200]!r} is no path of an image in Label Studio",
            hint="its images are below /data/, or in a storage that is connected to the project",
        )
    return quote(path, safe="/?&=%:@!$'()*+,;~")


async def _body(response: httpx2.Response, most: int) -> bytes:
    if response.status_code != 200:
        raise _not_read(f"it answered {response.status_code}")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            raise _not_read(f"the image has more than {most:,} bytes")
    return bytes(body)


async def _authorisation(client: httpx2.AsyncClient, base: str, settings: LabelStudioSettings) -> dict[str, str]:
    key = "" if settings.api_key is None else settings.api_key.get_secret_value()
    if key.count(".") != 2:
        return {"Authorization": f"Token {key}"} if key else {}
    answer = await client.post(f"{base}/api/token/refresh", json={"refresh": key})
    if answer.status_code != 200:
        raise _not_read(f"it answered {answer.status_code} to the personal token")
    try:
        return {"Authorization": f"Bearer {answer.json()['access']}"}
    except (ValueError, TypeError, KeyError) as error:
        raise _not_read("it changed the personal token for nothing that can be read") from error


def _not_read(why: str) -> DiffsightError:
    return InvalidInput(
        "tasks",
        f"Label Studio did not send the image: {why}",
        hint="check Label Studio's URL and API key in this server's settings",
    )
