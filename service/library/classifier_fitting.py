"""Fitting classifiers to labelled images: new ones, and stored ones with more images."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from backbones.backbone import Description
from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.feature_pooling.features import FeatureReading
from heads.feature_pooling.fitted_head import HeadPlan, fit_bytes
from service.errors import ChangedMeanwhile
from service.library.classifiers import (
    Classifier,
    FeatureOptions,
    LabelledVectors,
    as_tensors,
    build_head_options,
    check_usable,
    fit_classifier,
    from_file,
    join_examples,
)
from service.library.duplicates import from_records
from service.library.store import Store, Stored
from service.settings.groups import LimitSettings
from service.threads import FITTING, LIBRARY, run_in

# Options of features, as in the job's parameters.
READ_BY_THE_JOB = tuple(FeatureReading.model_fields)
_MOST_TRIES = 5

ReadExamples = Callable[[Engine, FeatureOptions], Awaitable[LabelledVectors]]
"""The examples that a request brings, read with these options."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedClassifier:
    """A classifier that was fitted and stored. duplicates: images that it already had under the same label."""

    stored: Stored
    duplicates: int


async def fit_new(
    engine: Engine,
    store: Store,
    options: FeatureOptions,
    *,
    name: str,
    head: str,
    head_sizes: Mapping[str, Any],
    labels: Sequence[str],
    limits: LimitSettings,
    of_job: LabelledVectors | None,
    read_sent: ReadExamples | None,
) -> FittedClassifier:
    """Fit a new classifier to the vectors of a job, to images that are sent, or to both.

    labels: of all of them.
    Raises InvalidInput for unusable examples and heads, and if there is no room.
    """
    plan = await build_head_options(engine, head, head_sizes, options)
    if plan is not None:
        await engine.run_on_host(check_memory, plan.plan(options), labels, limits)
    examples, duplicates = (None, 0) if of_job is None else join_examples(None, of_job)
    if read_sent is not None:
        examples, again = join_examples(examples, await read_sent(engine, options))
        duplicates += again
    assert examples is not None
    classifier = await _fit(examples, options, engine.backbone, name=name, head=plan)
    about = classifier.about.model_dump(mode="json")
    stored = await run_in(LIBRARY, store.add, about, as_tensors(classifier))
    return FittedClassifier(stored, duplicates)


async def fit_again(
    engine: Engine,
    store: Store,
    classifier: str,
    limits: LimitSettings,
    *,
    read_sent: ReadExamples,
    remove_classes: Sequence[str],
    name: str | None,
) -> FittedClassifier:
    """Fit a kept classifier again, with more examples or fewer classes, under the same id.

    If another request changes the classifier at the same time, it is read and fitted again.
    Raises NothingStored, ChangedMeanwhile after several tries, and InvalidInput for unusable examples.
    """
    tries_left = _MOST_TRIES
    while True:
        tries_left -= 1
        stored, old = await run_in(LIBRARY, read_classifier, store, classifier)
        check_usable(old.about, engine.backbone)
        if old.examples is None:
            raise InvalidInput(
                "classifier",
                "it was exported without the vectors that it was fitted on",
                hint="fit a new one with all images",
            )
        # The second time, after a change of another request, the vectors are in the cache.
        sent = await read_sent(engine, old.about.features)
        examples, duplicates = join_examples(old.examples, sent, without=remove_classes)
        check_classes(examples.labels, limits)
        grown = await _fit(
            examples,
            old.about.features,
            engine.backbone,
            name=old.about.name if name is None else name,
            head=old.about.head,
            created=old.about.created,
        )
        about = grown.about.model_dump(mode="json")
        try:
            written = await run_in(LIBRARY, store.replace, stored, about, as_tensors(grown))
        except ChangedMeanwhile:
            if not tries_left:
                raise
        else:
            return FittedClassifier(written, duplicates)


def read_classifier(store: Store, classifier: str) -> tuple[Stored, Classifier]:
    """The classifier with this id, every number of it checked. Raises NothingStored."""
    stored, tensors = store.read(classifier)
    return stored, from_file(stored.about, tensors)


def check_classes(labels: Sequence[str], limits: LimitSettings) -> None:
    """Raises InvalidInput, before any work, for labels that no classifier can be fitted to."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        message = f"only the class {classes[0]!r}" if classes else "no images"
        raise InvalidInput("labels", message, hint="send images of at least two classes")
    if len(classes) > limits.max_labels:
        raise InvalidInput(
            "labels", f"{len(classes)} classes; one classifier takes {limits.max_labels}", hint="send fewer classes"
        )
    if len(labels) > limits.max_training_images:
        raise InvalidInput(
            "images",
            f"{len(labels):,} images together with the existing ones; one classifier takes "
            f"{limits.max_training_images:,}",
            hint="leave classes out with remove_classes, or begin a new classifier",
        )


def check_memory(plan: HeadPlan, labels: Sequence[str], limits: LimitSettings) -> None:
    """Raises InvalidInput, before any work, for a head whose training would take more memory than allowed."""
    needed = fit_bytes(plan, len(set(labels)), len(labels))
    if needed > limits.max_fit_bytes:
        raise InvalidInput(
            "head_options",
            f"to train this head takes about {needed:,} bytes of memory; one request has {limits.max_fit_bytes:,}",
            hint="choose a smaller width, depth or pool_size, or raise the server's limits.max_fit_bytes",
        )


@dataclass(frozen=True, slots=True, eq=False)
class JobVectors:
    """The results of a finished job of the task `features`: parameters, and (name, key, result) of each image."""

    task: str
    status: str
    revision: str
    parameters: Mapping[str, Any]
    records: Sequence[tuple[str, str, Mapping[str, Any]]]


def examples_of_job(
    job: JobVectors, backbone: Description, label_of: Callable[[str], str]
) -> tuple[LabelledVectors, FeatureOptions]:
    """The examples of a job, and how it read them. label_of: (image name) to the image's class.

    An image's key is that of its result: the same file twice in one job counts once, one that is sent again does not.
    Raises ChangedMeanwhile before the job's end, and InvalidInput for one that no classifier can use.
    """
    if job.task != "features":
        raise InvalidInput("job", f"its task is {job.task}", hint="send the id of a job of the task features")
    if job.status != "done":
        raise ChangedMeanwhile(f"the job is {job.status}", hint="wait for its end, or retry it")
    if job.revision != backbone.revision:
        message = f"its vectors are of the weights {job.revision}, and this server has {backbone.revision}"
        raise InvalidInput("job", message, hint="run the job again on this server")
    if job.parameters["normalise"]:
        raise InvalidInput("job", "its vectors are scaled to length 1", hint="run it with normalise=false")
    labels = tuple(label_of(name) for name, _, _ in job.records)
    stored = from_records((name, result) for name, _, result in job.records)
    keys = [hashlib.blake2b(key.encode(), digest_size=16).digest() for _, key, _ in job.records]
    options = FeatureOptions(
        blocks=tuple(job.records[0][2]["blocks"]),
        **{name: job.parameters[name] for name in READ_BY_THE_JOB if name != "blocks"},
    )
    return LabelledVectors(stored.vectors, labels, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)), options


async def _fit(
    examples: LabelledVectors, options: FeatureOptions, backbone: Description, *, name: str, **more: Any
) -> Classifier:
    async with _stopped_on_leaving() as stopped:
        return await run_in(FITTING, fit_classifier, examples, options, backbone, name=name, stopped=stopped, **more)


@asynccontextmanager
async def _stopped_on_leaving() -> AsyncIterator[threading.Event]:
    """An event that is set when the block is left, so that a fit on a thread ends when no request waits for it."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()
