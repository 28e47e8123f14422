"""Depth, masks and fitted classifiers as tasks of jobs. Masks are COCO RLE, each with a number for its category."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from service.api.classifiers import store_of as classifiers_of
from service.api.classify import image_classes
from service.api.concepts import check_loaded
from service.api.concepts import store_of as concepts_of
from service.api.depth import depth_result
from service.api.few_shot import concept_masks, found_concepts
from service.api.segmentation import referring_result, segmentation_result
from service.dense import head_revision
from service.inputs.images import DecodedImage
from service.library.store import unpacked

if TYPE_CHECKING:
    from heads.vpd.heads import DepthHead, ReferringHead, SegmentationHead
    from service.engine.session import Session
    from service.library.banks import Shot
    from service.library.classifiers import Classifier
    from service.models.loading import Service

Given = Mapping[str, Any]
Result = dict[str, Any]


def open_depth(service: Service, asked: Any) -> tuple[str, DepthHead]:
    """The revision of backbone and head, and the head."""
    head = service.dense.depth_head()
    return head_revision(service.engine.model, head), head


async def depth(engine: Session, image: DecodedImage, asked: Any, given: Given, head: DepthHead) -> Result:
    """Metres: figures, and the map as a 16-bit PNG in base64."""
    from heads.vpd.depth import predict_depth

    options = {name: getattr(asked, name) for name in ("scene", "protocol", "windows", "flip")}
    got = await predict_depth(engine, image.array, head, **options)
    told = await engine.run_on_host(depth_result, got, head.name)
    return told.model_dump(mode="json", exclude=None if asked.maps else {"png16", "metres_per_unit"})


def open_segmentation(service: Service, asked: Any) -> tuple[str, SegmentationHead]:
    """The revision of backbone and head, and the head."""
    head = service.dense.segmentation_head()
    return head_revision(service.engine.model, head), head


async def segmentation(
    engine: Session, image: DecodedImage, asked: Any, given: Given, head: SegmentationHead
) -> Result:
    """A mask for each class that the image has; its category is the class's index plus 1."""
    from heads.vpd.segmentation import predict_segmentation

    got = await predict_segmentation(engine, image.array, head, protocol=asked.protocol)
    told = await engine.run_on_host(segmentation_result, got, head.name, "rle")
    masks = [
        {"category_id": head.classes.index(one.name) + 1, **one.model_dump(exclude_none=True)} for one in told.segments
    ]
    return {"masks": masks, "head": head.name}


def open_referring(service: Service, asked: Any) -> tuple[str, ReferringHead]:
    """The revision of backbone and head, and the head."""
    head = service.dense.referring_head()
    return head_revision(service.engine.model, head), head


async def referring(engine: Session, image: DecodedImage, asked: Any, given: Given, head: ReferringHead) -> Result:
    """A mask for each expression; its category is the expression's place, from 1."""
    from heads.vpd.referring import predict_referring

    got, read = await predict_referring(engine, image.array, head, asked.expressions, threshold=asked.threshold)
    told = await engine.run_on_host(referring_result, got, read, head.name, "rle")
    masks = [{"category_id": at, **one.model_dump(exclude_none=True)} for at, one in enumerate(told.masks, 1)]
    return {"masks": masks, "head": head.name}


Concepts = tuple["Service", list[str], list[str], list[list["Shot"]]]
"""The service, and names, ids and shots of concepts as they were when the job's run began."""


def open_few_shot(service: Service, asked: Any) -> tuple[str, Concepts]:
    """The revision of backbone, few-shot network and concepts, and the concepts. Raises NothingStored."""
    from heads.diffews.bank import VARIANT
    from service.library.concepts import read_concept

    check_loaded(service)
    backbone, settings = service.engine.model.description, service.settings.few_shot
    ids = list(dict.fromkeys(asked.concepts))
    read = [read_concept(concepts_of(service), concept) for concept in ids]
    names, shots = [about.name for about, _ in read], [one for _, one in read]
    told: list[Any] = [backbone.revision, backbone.variant_revisions[VARIANT], settings.image_size, names]
    told.append([[shot.id for shot in one] for one in shots])
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32], (service, names, ids, shots)


async def few_shot(engine: Session, image: DecodedImage, asked: Any, given: Given, concepts: Concepts) -> Result:
    """A mask for each concept; its category is the concept's place, from 1."""
    service, names, ids, shots = concepts
    results = await concept_masks(service, engine, asked, image, shots)
    told = await engine.run_on_host(found_concepts, results, names, ids, shots)
    masks = [
        {
            "category_id": one.label,
            **one.mask.model_dump(exclude_none=True),
            **one.model_dump(include={"id", "presence", "cut"}),
        }
        for one in told
    ]
    return {"masks": masks}


def open_classifier(service: Service, asked: Any) -> tuple[str, tuple[Service, Classifier]]:
    """A digest of the classifier, and it. Raises NothingStored, and InvalidInput for one of another backbone."""
    from service.library.classifiers import check_usable, from_file

    data, _ = classifiers_of(service).file(asked.classifier)
    read = from_file(*unpacked(data))
    check_usable(read.about, service.engine.model.description)
    return hashlib.sha256(data).hexdigest()[:32], (service, read)


async def classifier(
    engine: Session, image: DecodedImage, asked: Any, given: Given, opened: tuple[Service, Classifier]
) -> Result:
    """What the image is by a fitted classifier."""
    from service.library.vectors import vectors_of_images

    service, read = opened
    vectors, _ = await vectors_of_images(engine, service.vectors, [image], read.about.features)
    (told,) = await engine.run_on_host(image_classes, read, vectors, [image], asked.top)
    return told.model_dump(mode="json", exclude={"image"})
