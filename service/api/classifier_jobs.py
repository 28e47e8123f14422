"""Labelled examples out of a finished job: its vectors, and the folders that its images were in."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from backbones.errors import InvalidInput
from service.api.classifier_bodies import folder_of
from service.errors import ChangedMeanwhile
from service.jobs.store import JobStore

if TYPE_CHECKING:
    from backbones.backbone import Description
    from service.library.classifiers import Examples, FeatureOptions

# What is read of an image, as the job's own parameters have it.
READ_BY_THE_JOB = ("blocks", "timesteps", "pool_size", "noise_samples", "fit")


def examples_of_job(
    store: JobStore, job_id: str, backbone: Description, most_images: int
) -> tuple[Examples, FeatureOptions]:
    """The examples of a job of the task features, and how it read them. Blocks.

    An image's key is that of its result: the same file twice in one job counts once, one that is sent again does not.
    Raises NothingStored, ChangedMeanwhile before its end, and InvalidInput for one that no classifier can use.
    """
    import numpy as np

    from service.library.classifiers import Examples, FeatureOptions
    from service.library.duplicates import from_records

    job = store.get(job_id)
    if job.task != "features":
        raise InvalidInput("job", f"its task is {job.task}", hint="give one of the task features")
    if job.status != "done":
        raise ChangedMeanwhile(f"the job is {job.status}", hint="wait for its end, or retry it")
    if job.revision != backbone.revision:
        told = f"its vectors are of the weights {job.revision}, and this server has {backbone.revision}"
        raise InvalidInput("job", told, hint="run it again here")
    if job.parameters["normalise"]:
        raise InvalidInput("job", "its vectors are scaled to length 1", hint="run it with normalise=false")
    if job.done > most_images:
        told = f"{job.done:,} images; one classifier takes {most_images:,}"
        raise InvalidInput("job", told, hint="raise the server's limits.max_training_images")
    records = list(store.records(job.id))
    labels = tuple(folder_of(record.name) for record in records)
    stored = from_records((record.name, record.result or {}) for record in records)
    keys = [hashlib.blake2b(record.key.encode(), digest_size=16).digest() for record in records]
    options = FeatureOptions(
        blocks=tuple((records[0].result or {})["blocks"]),
        **{name: job.parameters[name] for name in READ_BY_THE_JOB if name != "blocks"},
    )
    return Examples(stored.vectors, labels, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)), options
