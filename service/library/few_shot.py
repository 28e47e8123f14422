"""The task `few-shot`: masks of the objects that other images with masks show, by supports or by stored concepts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, StringConstraints

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.diffews.few_shot import (
    ConceptResult,
    FewShotModel,
    Name,
    ThresholdOptions,
    answer_concepts,
    check_counts,
    find_shipped_few_shot,
    open_few_shot,
    segment_by_banks,
    separate_masks,
)
from heads.inputs import InputCounts, Inputs
from heads.outputs import MASK_EXPORTS, MaskForm, mask_png, masks_overlay, npy_file, number_map_png
from heads.results import ConceptMask, Masks
from heads.task import JSON, NPY, PNG, Form, Limits, Task
from service.library.banks import BankCache, Pair, Shot, shot_id
from service.library.concepts import check_pairs, read_concept
from service.library.library import Library


class FewShotOptions(ThresholdOptions):
    """What to find: stored concepts by their ids, or what the support images of the request show."""

    concepts: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Ids of the concepts to find. With several, each pixel belongs to at most one concept.",
    )
    name: Name = Field(default="object", description="Name of what the support images show.")


class FewShotResult(BaseModel):
    """A mask for each concept."""

    concepts: list[ConceptResult]
    notes: list[str] = Field(default=[], description="Remarks about the support images of the request.")


@dataclass(frozen=True, slots=True, eq=False)
class FewShotHead:
    """The few-shot network with the concepts to find.

    names, ids, shots: one a concept; empty if the request has its own supports.
    """

    model: FewShotModel
    banks: BankCache
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    shots: tuple[tuple[Shot, ...], ...] = ()

    @property
    def name(self) -> str:
        """The network's name."""
        return self.model.name

    @property
    def revision(self) -> str:
        """Changes when any answer could: of backbone, network and concepts."""
        facts = [self.model.revision, self.names, [[shot.id for shot in concept] for concept in self.shots]]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, eq=False)
class FewShotMasks:
    """The mask and the name of each concept. shots: supports of each. notes: about the supports in the request."""

    concepts: tuple[ConceptMask, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    shots: tuple[int, ...]
    notes: tuple[str, ...] = ()


def prepare_few_shot(model: FewShotModel, options: FewShotOptions, library: Library) -> FewShotHead:
    """The network with the concepts that the options name, as they are now. Raises NothingStored."""
    ids = tuple(dict.fromkeys(options.concepts or ()))
    concepts = [read_concept(library.concepts, concept) for concept in ids]
    names = tuple(about.name for about, _ in concepts)
    return FewShotHead(model, library.banks, names, ids, tuple(tuple(shots) for _, shots in concepts))


def complete_few_shot(
    options: FewShotOptions, model: FewShotModel, counts: InputCounts, limits: Limits
) -> FewShotOptions:
    """The options as they are. Raises InvalidInput unless there are either concepts or supports with masks."""
    supports = bool(counts.support_images or counts.support_masks)
    if (options.concepts is None) is not supports:
        raise InvalidInput(
            "concepts",
            "send either concepts, or support_images with support_masks",
            hint="POST /v1/concepts gives the id of a concept; otherwise send at least one support image",
        )
    if options.concepts is None:
        check_counts(counts.support_images, counts.support_masks, limits.max_shots, "support_masks")
    return options


async def run_few_shot(
    engine: Engine, head: FewShotHead, inputs: Inputs, options: FewShotOptions, on_progress: object = None
) -> FewShotMasks:
    """Each concept's mask: banks from the cache, then all queries in one call (DiffewS: one pass, no noise)."""
    model, names, ids, shots = head.model, head.names, head.ids, head.shots
    notes: list[str] = []
    if options.concepts is None:
        images = [image.array for image in inputs.support_images]
        masks = [mask.mask for mask in inputs.support_masks]
        pairs, notes = await engine.run_on_host(check_pairs, images, masks, model.image_size, "support_masks")
        supports = tuple(Shot(shot_id(*pair), partial(_same, pair)) for pair in pairs)
        names, ids, shots = (options.name,), ("",), (supports,)
    kept = options.concepts is not None
    banks = [
        await head.banks.banks(
            engine, concept, size=model.image_size, form=model.bank_form, variant=model.variant, on_disk=kept
        )
        for concept in shots
    ]
    seeds = ["".join(sorted(shot.id for shot in concept)).encode() for concept in shots]
    concepts = await segment_by_banks(engine, model, inputs.image, banks, seeds, options)
    return FewShotMasks(tuple(concepts), names, ids, tuple(len(concept) for concept in shots), tuple(notes))


def _same(pair: Pair) -> Pair:
    return pair


def answer_few_shot(
    masks: FewShotMasks, head: FewShotHead, options: FewShotOptions, *, form: MaskForm = "rle"
) -> FewShotResult:
    """The concepts with their masks, their shapes as `form` says."""
    concepts = answer_concepts(masks.concepts, masks.names, masks.ids, masks.shots, form=form)
    return FewShotResult(concepts=concepts, notes=list(masks.notes))


def few_shot_item(masks: FewShotMasks, head: FewShotHead, options: FewShotOptions) -> dict[str, Any]:
    """A job's masks: the category of each is its concept's place, from 1."""
    concepts = answer_concepts(masks.concepts, masks.names, masks.ids, masks.shots)
    items = [
        {
            "category_id": concept.label,
            **concept.mask.model_dump(mode="json", exclude_none=True),
            **concept.model_dump(include={"id", "presence", "cut"}),
        }
        for concept in concepts
    ]
    return {"masks": items}


def few_shot_line(masks: FewShotMasks) -> str:
    """The share and presence of each concept, for people."""
    pairs = zip(masks.names, masks.concepts, strict=True)
    return ", ".join(
        f"{name}: {mask.mask.mean():.1%} of the image, presence {mask.presence:.2f}" for name, mask in pairs
    )


def describe_few_shot(model: FewShotModel) -> dict[str, Any]:
    """The network and its default threshold."""
    cut = ThresholdOptions().cut()
    return {"network": model.name, "image_size": model.image_size, "threshold_value": cut.value}


def write_labels(masks: FewShotMasks, inputs: Inputs, options: FewShotOptions) -> bytes:
    """The mask of one concept, or the numbers of several, as a PNG file."""
    labels, separate, _ = separate_masks(masks.concepts)
    return mask_png(separate[0]) if len(separate) == 1 else number_map_png(labels)


def write_overlay(masks: FewShotMasks, inputs: Inputs, options: FewShotOptions) -> bytes:
    """The image with the masks, as a PNG file."""
    _, separate, scores = separate_masks(masks.concepts)
    return masks_overlay(inputs.image, Masks(separate, masks.names, tuple(scores)))


def write_label_array(masks: FewShotMasks, inputs: Inputs, options: FewShotOptions) -> bytes:
    """The numbers of concepts, (H, W) int32, as a .npy file."""
    labels, _, _ = separate_masks(masks.concepts)
    return npy_file(np.asarray(labels))


TASK = Task(
    name="few-shot",
    summary="Segment what support images show",
    source="DiffewS (arXiv:2410.02369)",
    inputs="image_supports",
    options=FewShotOptions,
    answer=FewShotResult,
    open=open_few_shot,
    prepare=prepare_few_shot,
    run=run_few_shot,
    to_answer=answer_few_shot,
    to_text=few_shot_line,
    to_item=few_shot_item,
    group="segmentation",
    forms={
        "polygons": Form(JSON, "masks as polygons", to_answer=partial(answer_few_shot, form="polygons")),
        "png": Form(PNG, "the mask of one concept, or a label map of several", write=write_labels),
        "overlay": Form(PNG, "the image with the masks over it", write=write_overlay),
        "npy": Form(NPY, "an int32 label map of shape (height, width)", write=write_label_array),
    },
    exports=MASK_EXPORTS,
    complete=complete_few_shot,
    describe=describe_few_shot,
    curl="-F image=@kitchen.jpg -F support_image=@cup.jpg -F support_mask=@cup.png",
    shipped=find_shipped_few_shot,
)
"""Banks of a request's supports are cached in memory, those of stored concepts also on disk."""
