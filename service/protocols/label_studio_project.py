"""The controls of a Label Studio project that this server can fill, and the tasks that fill them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree

from backbones.errors import InvalidInput
from heads.vpd import segmentation
from service.jobs.formats.label_studio import model_version
from service.jobs.parameters import read_options, require_task
from service.library import few_shot
from service.library.classifiers import read_about
from service.library.concepts import about_of
from service.run_task import Work, prepare
from service.state import AppState
from service.threads import LIBRARY, run_in

_HINT = (
    "a project needs an <Image> with <KeyPointLabels> for poses, <BrushLabels> for masks or <Choices> for classes, "
    "that name it"
)
_KINDS = {"KeyPointLabels": "keypoints", "BrushLabels": "masks", "Choices": "choices"}


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a project that can be filled.

    kind: keypoints, masks or choices. labels: our name of a point, mask or class to the project's. by_index: the same
    by a point's index. image: the key of the image's address in a task's data. boxes: the control of the points'
    rectangles, empty if there is none; box_label: its label for persons.
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
        """The project's label of a point; None if it has none."""
        return self.by_index.get(place) if self.by_index else self.labels.get(name)


def read_controls(config: str) -> list[Control]:
    """The controls of a labelling configuration that can be filled. Raises InvalidInput if there are none."""
    if "<!" in config.replace("<!--", ""):
        raise InvalidInput("label_config", "it declares entities", hint="send the configuration as Label Studio has it")
    try:
        root = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidInput("label_config", f"it is not XML: {error}", hint=_HINT) from error
    images = {image.get("name", ""): image.get("value", "").lstrip("$") for image in root.iter("Image")}
    controls = [
        control
        for element in root.iter()
        if (control := _read_control(root, element, images)) is not None and _can_be_filled(control)
    ]
    if not controls:
        raise InvalidInput("label_config", "nothing in it can be filled", hint=_HINT)
    # If a project has several images, the first one is used.
    return [control for control in controls if control.image == controls[0].image]


def _read_control(root: ElementTree.Element, element: ElementTree.Element, images: Mapping[str, str]) -> Control | None:
    """A control over one of the images (by their names, the keys of their addresses); None for another element."""
    kind = _KINDS.get(str(element.tag))
    name, to_name = element.get("name", ""), element.get("toName", "")
    if kind is None or not name or not images.get(to_name) or element.get("perRegion") == "true":
        return None
    labels = _labels_of(element, "Choice" if kind == "choices" else "Label")
    if kind != "keypoints":
        return Control(kind, name, to_name, images[to_name], labels, {})
    indices = {
        int(str(label.get("model_index"))): _display_name(label) for label in element.iter("Label") if _is_index(label)
    }
    rectangles = [
        rectangle
        for rectangle in root.iter("RectangleLabels")
        if rectangle.get("name") and rectangle.get("toName") == to_name
    ]
    # Label Studio's own examples call the boxes of points `kp` by the name `kp_bbox`.
    rectangles.sort(key=lambda control: control.get("name") != f"{name}_bbox")
    if not rectangles:
        return Control(kind, name, to_name, images[to_name], labels, indices)
    of_boxes = list(_labels_of(rectangles[0], "Label").values())
    person = next((label for label in of_boxes if label.lower() == "person"), next(iter(of_boxes), "person"))
    return Control(kind, name, to_name, images[to_name], labels, indices, rectangles[0].get("name", ""), person)


def _can_be_filled(control: Control) -> bool:
    """Whether there is anything to choose: a single choice needs no prediction."""
    return len(control.labels) > (1 if control.kind == "choices" else 0)


def _labels_of(element: ElementTree.Element, tag: str) -> dict[str, str]:
    """The labels of a control in regions, by their values."""
    return {str(label.get("value")): _display_name(label) for label in element.iter(tag) if label.get("value")}


def _display_name(label: ElementTree.Element) -> str:
    return label.get("alias") or label.get("value") or ""


def _is_index(label: ElementTree.Element) -> bool:
    text = label.get("model_index", "")
    return text.isascii() and text.isdigit() and len(text) < 6 and bool(label.get("value"))


@dataclass(frozen=True, slots=True)
class Filling:
    """The work that fills a control, for each image. labels: that it can find, our names to the project's."""

    control: Control
    work: Work
    labels: Mapping[str, str]


def version_of(fillings: Sequence[Filling]) -> str:
    """Label Studio's version of the predictions, which changes with every weight, parameter or label."""
    facts = [
        [
            asdict(filling.control),
            filling.work.task.name,
            filling.work.revision,
            filling.work.options.model_dump(mode="json"),
        ]
        for filling in fillings
    ]
    return model_version(dict.fromkeys(filling.work.task.name for filling in fillings), facts)


@asynccontextmanager
async def prepare_controls(controls: Sequence[Control], state: AppState) -> AsyncIterator[list[Filling]]:
    """The work that fills the controls of a project. Raises ModelNotFound if this server cannot fill any."""
    only_choices = all(control.kind == "choices" for control in controls)
    async with AsyncExitStack() as leases:
        yield [
            Filling(control, await leases.enter_async_context(_prepare(state, name, values)), labels)
            for control in controls
            for name, values, labels in await _choose_tasks(control, state, zero_shot=only_choices)
        ]


def _prepare(state: AppState, name: str, values: Mapping[str, Any]) -> AbstractAsyncContextManager[Work]:
    task = require_task(state, name)
    return prepare(state, task, read_options(task, values))


Chosen = tuple[str, Mapping[str, Any], Mapping[str, str]]
"""A task's name, its options, and the labels that it finds."""


async def _choose_tasks(control: Control, state: AppState, *, zero_shot: bool) -> list[Chosen]:
    """What fills a control.

    Choices are made by the newest fitted classifier whose classes are among them. Without one they are made zero-shot,
    but only if the project has no other controls: beside points or masks choices may be about anything.
    """
    if control.kind == "keypoints":
        return [("pose", {}, control.labels)]
    if control.kind == "masks":
        return await _choose_masks(control, state)
    classifier = await run_in(LIBRARY, _classifier_of, control.labels, state)
    if classifier is not None:
        return [("classifier", {"classifier": classifier}, control.labels)]
    return [("zero-shot", {"labels": list(control.labels)}, control.labels)] if zero_shot else []


async def _choose_masks(control: Control, state: AppState) -> list[Chosen]:
    """A brush's labels are matched with concepts of that name, then with classes of the segmentation head; other labels
    are used as expressions.
    """
    chosen: list[Chosen] = []
    left = list(control.labels)
    models = {loaded.task.name: loaded for loaded in state.models.list_open()}
    if few_shot.TASK.name in models and (concepts := await run_in(LIBRARY, _concepts_named, left, state)):
        chosen.append(("few-shot", {"concepts": list(concepts.values())}, _among(control, concepts)))
        left = [name for name in left if name not in concepts]
    classes = models[segmentation.TASK.name].head.classes if segmentation.TASK.name in models else ()
    if any(name in classes for name in left):
        chosen.append(("segmentation", {}, _among(control, [name for name in left if name in classes])))
        left = [name for name in left if name not in classes]
    if left:
        chosen.append(("referring", {"expressions": left[:64]}, _among(control, left[:64])))
    return chosen


def _among(control: Control, names: Iterable[str]) -> dict[str, str]:
    return {name: control.labels[name] for name in names}


def _concepts_named(names: list[str], state: AppState) -> dict[str, str]:
    """The newest concept of each name."""
    by_name = {}
    for stored in state.library.concepts.list():
        with suppress(InvalidInput):  # of another version
            by_name[about_of(stored).name] = stored.id
    return {name: by_name[name] for name in names if name in by_name}


def _classifier_of(labels: Mapping[str, str], state: AppState) -> str | None:
    """The id of the newest classifier of a backbone that is served here, all of whose classes are among the labels."""
    revisions = state.models.revisions()
    for stored in reversed(state.library.classifiers.list()):
        with suppress(InvalidInput):  # not a classifier
            about = read_about(stored.about)
            if about.revision in revisions and labels.keys() >= set(about.classes):
                return stored.id
    return None
