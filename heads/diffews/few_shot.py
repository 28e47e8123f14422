"""The parts of DiffewS for the task `few-shot`: weights, options, and the answer for each concept.

The task itself is in `service/library/few_shot.py`, because it also finds stored concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints

from backbones.backbone import Backbone, Description
from backbones.engine import Engine
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.registry import ModelEntry
from backbones.loading.variants import base_revision
from backbones.rows import Bank
from backbones.stable_diffusion import StableDiffusion
from heads.diffews.bank import VARIANT, BankForm, concatenate_banks, sample_banks
from heads.diffews.checkpoint import POCKET, load_few_shot
from heads.diffews.preprocess import input_size
from heads.diffews.segment import label_map, segment_concepts
from heads.diffews.threshold import Threshold
from heads.outputs import MaskAnswer, MaskForm, mask_answer
from heads.results import ConceptMask
from heads.task import Options

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


@dataclass(frozen=True, slots=True, eq=False)
class FewShotModel:
    """The fine-tuned few-shot network over its backbone.

    image_size: side in pixels of the squares that images are squashed to. bank_form: the stored form of a support.
    variant: the backbone's U-Net that computes it.
    """

    backbone: Description
    image_size: int
    bank_form: BankForm = "keys_values"
    name: str = "diffews"
    variant: str = VARIANT

    @property
    def revision(self) -> str:
        """Digest of the network's weights. If it is unchanged, answers are unchanged."""
        return f"{self.backbone.revision}+{self.backbone.variant_revisions[self.variant]}+{self.image_size}"


class ThresholdOptions(Options):
    """Where the object begins, and how supports are used."""

    threshold: Literal["relative", "absolute"] = Field(
        default="relative",
        description="`relative`, as published, cuts at a share of the greatest strength, so there is "
        "always a mask, even if the image does not show the concept. `absolute` cuts at a fixed strength, and "
        "the mask may be empty. Use it to decide whether the concept is there, or with several concepts.",
    )
    threshold_value: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The share or the strength to cut at. Unset: 0.25 for `relative`, as published; 0.15 "
        "for `absolute`.",
    )
    support_sampling: bool = Field(
        default=False,
        description="Reduce the tokens of all supports of a concept to the number of one support, by "
        "random choice. The cost then does not grow with the number of shots. Weights that were trained on one "
        "shot are reported to be more accurate with it.",
    )

    def cut(self) -> Threshold:
        """The threshold of a mask."""
        default = 0.25 if self.threshold == "relative" else 0.15
        return Threshold(self.threshold, self.threshold_value or default)


class ConceptResult(BaseModel):
    """The result for one concept."""

    label: int = Field(description="Number of the concept in label maps, from 1. 0 is the background.")
    id: str = Field(description="Id of the concept; empty if the request itself brought the support images.")
    shots: int
    presence: float = Field(
        description="Greatest strength in the image, 0 to 1. A low value means that the concept is "
        "probably not in the image. It is not a calibrated probability."
    )
    cut: float = Field(description="The threshold: pixels with a greater strength belong to the mask.")
    mask: MaskAnswer = Field(
        description="Mask of the concept. If several concepts claim a pixel, the concept with the greatest "
        "strength gets it."
    )


def open_few_shot(
    backbone: Backbone,
    weights: Path | ModelEntry | None = None,
    *,
    name: str = "",
    image_size: int | None = None,
    bank_form: BankForm = "keys_values",
) -> FewShotModel:
    """The few-shot network in `weights`, as a variant of the backbone; an added model's under its own name.

    name: of weights on a path, and of their variant.
    Raises ModelNotFound without weights, and ModelNotFound and CheckpointError as `load_few_shot` does.
    """
    if weights is None or not isinstance(backbone, StableDiffusion):
        raise ModelNotFound(
            "this server has no few-shot weights",
            hint="set DIFFSIGHT_FEW_SHOT__WEIGHTS to a DiffewS folder that fits the backbone, or to what "
            "`diffsight fit few-shot` wrote",
        )
    size = image_size or input_size(backbone.description)
    if isinstance(weights, ModelEntry):
        name, weights = weights.name, weights.weights
    if name:
        load_few_shot(backbone, weights, variant=name)
        return FewShotModel(backbone.description, size, bank_form, name, name)
    load_few_shot(backbone, weights)
    return FewShotModel(backbone.description, size, bank_form)


def find_shipped_few_shot(backbone: Backbone) -> Path | None:
    """The folder of the network that ships for this backbone; None if none was fitted to it."""
    fits = POCKET.is_dir() and base_revision(POCKET) == backbone.description.revision
    return POCKET if fits else None


async def segment_by_banks(
    engine: Engine,
    model: FewShotModel,
    image: NDArray[np.uint8],
    banks: Sequence[Sequence[Bank]],
    seeds: Sequence[bytes],
    options: ThresholdOptions,
) -> list[ConceptMask]:
    """Each concept's mask in an image, (H, W, 3) uint8 RGB, from the banks of its supports.

    seeds: one a concept, for the draw of `support_sampling`.
    """
    joined: list[Bank] = []
    for members, seed in zip(banks, seeds, strict=True):
        if options.support_sampling:
            joined.append(await engine.run(sample_banks, members, seed))
        else:
            joined.append(await engine.run(concatenate_banks, members))
    thresholds = [options.cut()] * len(joined)
    return await segment_concepts(
        engine, image, joined, thresholds=thresholds, size=model.image_size, variant=model.variant
    )


def separate_masks(
    concepts: Sequence[ConceptMask],
) -> tuple[NDArray[np.int32], NDArray[np.bool_], list[float]]:
    """Concepts that share no pixel: the map of their numbers (H, W), masks (N, H, W) bool, mean strengths inside."""
    labels = label_map(concepts)
    masks = labels[None] == np.arange(1, len(concepts) + 1)[:, None, None]
    scores = [
        float(concept.strength[mask].mean()) if mask.any() else 0.0
        for concept, mask in zip(concepts, masks, strict=True)
    ]
    return labels, masks, scores


def answer_concepts(
    concepts: Sequence[ConceptMask],
    names: Sequence[str],
    ids: Sequence[str],
    shots: Sequence[int],
    *,
    form: MaskForm = "rle",
) -> list[ConceptResult]:
    """Each concept's answer, masks as COCO RLE or as outlines. names, ids, shots: one a concept."""
    _, masks, scores = separate_masks(concepts)
    return [
        ConceptResult(
            label=place + 1,
            id=ids[place],
            shots=shots[place],
            presence=round(concept.presence, 6),
            cut=round(concept.cut, 6),
            mask=mask_answer(masks[place], names[place], scores[place], form=form),
        )
        for place, concept in enumerate(concepts)
    ]


def check_counts(images: int, masks: int, most: int, field: str) -> None:
    """Raises InvalidInput for other numbers of masks than images, for no support, and for more supports than `most`."""
    if images != masks:
        raise InvalidInput(field, f"{masks} masks for {images} images", hint="send one mask for each image, in order")
    if images < 1:
        raise InvalidInput(field, "no supports", hint="a concept needs at least one image with its mask")
    if images > most:
        raise InvalidInput(
            field,
            f"{images} supports; a concept takes {most}",
            hint="send fewer: past five they seldom help; or raise the server's setting limits.max_shots",
        )
