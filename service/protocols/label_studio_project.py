"""Label Studio's side of its ML backend: what fills a project's controls, and where its images are."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from xml.etree import ElementTree

import httpx2

from backbones.errors import DiffsightError, InvalidInput
from heads.vpd import segmentation
from service.inputs.request_body import decode_base64
from service.inputs.urls import ImageUrl
from service.jobs.parameters import read_options, require_task
from service.library import few_shot
from service.library.concepts import about_of
from service.run_task import Work, prepare
from service.settings.groups import LabelStudioSettings
from service.state import AppState
from service.threads import BODIES, LIBRARY, run_in

_HINT = "a project needs an <Image> with <KeyPointLabels> for poses, or <BrushLabels> for masks, that name it"


# What Label Studio calls images: what was uploaded, what lies on its own disk, and what it opens in a storage.
_IMAGE_PATHS = r"/(data|storage-data|(tasks|projects)/[0-9]+/(resolve|presign))/"
# Storages that it opens for its users.
_STORAGES = r"(?i)(s3|gs|azure-blob|azure-spi|azure_spi|dbfs)://"
_MOST_REDIRECTS = 4


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a project that can be filled.

    kind: keypoints or masks. labels: what the project calls a point or mask, by our name of it. by_index: the same by a
    point's place. image: the key of the image's address in a task's data. boxes: the control of rectangles that belongs
    to points, empty where there is none; box_label: its label.
    """

    kind: str
    name: str
    to_name: str
    image: str
    labels: Mapping[str, str]
    by_index: Mapping[int, str]
    boxes: str = ""
    box_label: str = "person"

    def label_of(self, name: str, place: int) -> str | None:
        """What the project calls a point; None where it has none for it."""
        return self.by_index.get(place) if self.by_index else self.labels.get(name)


def read_controls(config: str) -> list[Control]:
    """The controls of a labelling configuration that can be filled. Raises InvalidInput where there are none."""
    if "<!" in config.replace("<!--", ""):
        raise InvalidInput("label_config", "it declares entities", hint="send the configuration as Label Studio has it")
    try:
        root = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidInput("label_config", f"it is no XML: {error}", hint=_HINT) from error
    images = {one.get("name", ""): one.get("value", "").lstrip("$") for one in root.iter("Image")}
    rectangles = [one for one in root.iter("RectangleLabels") if one.get("name")]
    found = []
    for element in root.iter():
        kind = {"KeyPointLabels": "keypoints", "BrushLabels": "masks"}.get(str(element.tag))
        name, to_name = element.get("name", ""), element.get("toName", "")
        if kind is None or not name or not images.get(to_name):
            continue
        labels = {label.get("value", ""): label for label in element.iter("Label") if label.get("value")}
        indices = {int(str(one.get("model_index"))): name for name, one in labels.items() if _is_index(one)}
        own = [one for one in rectangles if one.get("toName") == to_name and kind == "keypoints"]
        # Label Studio's own examples call the boxes of points `kp` by the name `kp_bbox`.
        own.sort(key=lambda one: one.get("name") != f"{name}_bbox")
        first = next((label.get("value", "") for one in own[:1] for label in one.iter("Label")), "person")
        boxes = own[0].get("name", "") if own else ""
        same = {label: label for label in labels}
        found.append(Control(kind, name, to_name, images[to_name], same, indices, boxes, first))
    if not found:
        raise InvalidInput("label_config", "nothing in it can be filled", hint=_HINT)
    # Of a project with several images the first is looked at.
    return [control for control in found if control.image == found[0].image]


def _is_index(label: ElementTree.Element) -> bool:
    text = label.get("model_index", "")
    return text.isascii() and text.isdigit() and len(text) < 6


@dataclass(frozen=True, slots=True)
class Filling:
    """What fills a control: the work to do on each image."""

    control: Control
    work: Work


@asynccontextmanager
async def prepare_controls(controls: Sequence[Control], state: AppState) -> AsyncIterator[list[Filling]]:
    """What fills the controls of a project. Raises ModelNotFound where this server cannot."""
    async with AsyncExitStack() as leases:
        yield [filling for control in controls for filling in await _prepare_control(control, state, leases)]


async def _prepare_control(control: Control, state: AppState, leases: AsyncExitStack) -> list[Filling]:
    """A brush's labels are taken for concepts of that name, then for classes of the segmentation head; what is left is
    looked for as expressions.
    """
    if control.kind == "keypoints":
        return [await _fill(control, "pose", {}, state, leases)]
    fillings = []
    left = list(control.labels)
    models = {loaded.task.name: loaded for loaded in state.models.loaded()}
    if few_shot.TASK.name in models and (concepts := await run_in(LIBRARY, _concepts_named, left, state)):
        fillings.append(await _fill(control, "few-shot", {"concepts": list(concepts.values())}, state, leases))
        left = [name for name in left if name not in concepts]
    classes = models[segmentation.TASK.name].head.classes if segmentation.TASK.name in models else ()
    if any(name in classes for name in left):
        fillings.append(await _fill(control, "segmentation", {}, state, leases))
        left = [name for name in left if name not in classes]
    if left:
        fillings.append(await _fill(control, "referring", {"expressions": left[:64]}, state, leases))
    return fillings


async def _fill(
    control: Control, name: str, values: Mapping[str, Any], state: AppState, leases: AsyncExitStack
) -> Filling:
    task = require_task(state, name)
    return Filling(control, await leases.enter_async_context(prepare(state, task, read_options(task, values))))


def _concepts_named(names: list[str], state: AppState) -> dict[str, str]:
    """The newest concept of each name."""
    by_name = {}
    for stored in state.library.concepts.list():
        with suppress(InvalidInput):  # of another version: a concept that nobody can look for
            by_name[about_of(stored).name] = stored.id
    return {name: by_name[name] for name in names if name in by_name}


async def image_file(address: object, state: AppState, *, task_id: object = None) -> bytes:
    """The image that a task names: data in base64, a path of Label Studio's, its storage's, or an address.

    task_id: the task's own, by which Label Studio finds what lies in a storage that is connected to its project.
    Raises InvalidInput.
    """
    settings, most = state.settings.label_studio, state.settings.limits.max_upload_bytes
    if not isinstance(address, str) or not address:
        raise InvalidInput("tasks", "a task has no image", hint="its data needs the key that <Image value=...> names")
    if address.startswith("data:"):
        try:
            return await run_in(BODIES, decode_base64, address)
        except ValueError as error:
            raise InvalidInput(
                "tasks", f"the image is no base64: {error}", hint="send data:image/png;base64,..."
            ) from error
    base = (settings.url or "").rstrip("/")
    if base and address.startswith(f"{base}/"):
        address = address.removeprefix(base)
    if re.match(_STORAGES, address):
        address = _resolving(address, task_id)
    if not address.startswith("/"):
        return await _of_another_host(address, state)
    image = await _of_label_studio(address, settings, most)
    return image if isinstance(image, bytes) else await _of_another_host(image.text, state)


async def _of_another_host(address: str, state: AppState) -> bytes:
    """An image at an address, by the rules for addresses. Raises InvalidInput."""
    most = state.settings.limits.max_upload_bytes
    if not state.settings.urls.enabled:
        raise InvalidInput(
            "tasks",
            "the image's address is neither below Label Studio's nor allowed",
            hint="set DIFFSIGHT_URLS__ENABLED for images at https addresses",
        )
    return await state.fetcher.fetch(ImageUrl(address), field="tasks", most_bytes=most)


def _resolving(address: str, task_id: object) -> str:
    """Label Studio's own path for what lies in a storage of a task's project. Raises InvalidInput without an id."""
    if not re.fullmatch(r"[0-9]{1,18}", str(task_id)):
        raise InvalidInput(
            "tasks",
            "the image lies in a cloud storage, which Label Studio opens by the task's id, and the task has none",
            hint="let Label Studio send the task, or name the image by https",
        )
    encoded = urlsafe_b64encode(address.encode("utf-8", "surrogatepass")).decode()
    return f"/tasks/{task_id}/resolve/?fileuri={encoded}"


def check_path(path: str) -> str:
    """The path as it is asked for, percent-encoded. Raises InvalidInput unless it is one of Label Studio's images.

    Its token opens more than images, and the path is a caller's: nothing else is asked for with it.
    """
    plain = unquote(path)
    if not re.match(_IMAGE_PATHS, plain) or ".." in re.split(r"[/\\]", plain) or not plain.isprintable():
        raise InvalidInput(
            "tasks",
            f"{path[:200]!r} is no path of an image in Label Studio",
            hint="images lie below /data/ there, or in a storage that is connected to the project",
        )
    return quote(path, safe="/?&=%:@!$'()*+,;~")


async def _of_label_studio(path: str, settings: LabelStudioSettings, most: int) -> bytes | ImageUrl:
    """An image that lies in Label Studio; where it sends on to another host, that address. Raises InvalidInput."""
    if settings.url is None:
        raise InvalidInput(
            "tasks",
            "the image lies in Label Studio, and this server does not know where that is",
            hint="set DIFFSIGHT_LABEL_STUDIO__URL and DIFFSIGHT_LABEL_STUDIO__API_KEY",
        )
    base = settings.url.rstrip("/")
    url = base + check_path(path.removeprefix(urlsplit(base).path))
    try:
        async with httpx2.AsyncClient(timeout=settings.timeout_seconds, trust_env=False) as client:
            headers = await _authorisation(client, base, settings)
            for _ in range(_MOST_REDIRECTS):
                async with client.stream("GET", url, headers=headers) as response:
                    if not response.has_redirect_location:
                        return await _body(response, most)
                    url = urljoin(url, response.headers["location"])
                if not url.startswith(f"{base}/"):
                    return ImageUrl(url)  # without the token, and by the rules for any address
                url = base + check_path(url.removeprefix(base))
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError) as error:
        raise _not_read(type(error).__name__) from error
    raise _not_read(f"it sent on more than {_MOST_REDIRECTS} times")


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
    """The header of a legacy token; a personal access token, which is a JWT, is changed for one that lives shortly."""
    key = "" if settings.api_key is None else settings.api_key.get_secret_value()
    if key.count(".") == 2:
        answer = await client.post(f"{base}/api/token/refresh", json={"refresh": key})
        return {"Authorization": f"Bearer {answer.json()['access']}"}
    return {"Authorization": f"Token {key}"} if key else {}


def _not_read(why: str) -> DiffsightError:
    return InvalidInput("tasks", f"Label Studio did not give the image: {why}", hint="check its URL and API key here")
