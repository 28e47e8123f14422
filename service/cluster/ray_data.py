"""A job on a cluster by Ray Data: parts of its list go to a pool of actors, one device worker each.

Only numbers of parts and counts pass through Ray. Lists and results are in the job's folder, see
`service/cluster/parts.py`, which also shows what is done. Ray Data's own checkpoint would write another file a block,
is deleted at the end, and does not know failed images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backbones.errors import InvalidInput
from service.cluster.annotator import Annotator
from service.cluster.parts import Order, PartFolder
from service.cluster.ray_package import count_gpus, count_nodes, wants_gpu, worker_settings
from service.settings.loader import Settings

MOST_BLOCKS = 10_000
"""Blocks of a data set: each is one task of an actor, and the driver holds a reference to each."""
_MOST_RESTARTS = 100
"""Restarts of one actor whose device or node is lost: an image that crashes every actor must not do so for ever."""
_PARTS_AT_ONCE = 2
"""Parts of one actor at a time: images of the next part fill its batches while the last images of a part run."""


@dataclass(frozen=True, slots=True)
class PartDone:
    """How the images of a part ended. reused: those that had a result before."""

    part: int
    done: int
    failed: int
    reused: int


def annotate_parts(
    ray: Any,
    settings: Settings,
    folder: PartFolder,
    order: Order,
    parts: Sequence[int],
    on_part: Callable[[PartDone], None],
    *,
    actors: int | None = None,
) -> None:
    """Compute parts of a job and wait for all of them.

    on_part: called for each finished part. ray: the module, connected. actors: their largest number; None means one a
    GPU, or one a machine without GPUs.
    Raises InvalidInput for errors of the whole job; finished parts are kept.
    """
    from ray.data import ActorPoolStrategy, DataContext, from_items
    from ray.exceptions import RayError

    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    on_gpu = wants_gpu(settings.device, count_gpus(ray))
    most = actors or max(1, count_gpus(ray) if on_gpu else count_nodes(ray))
    pool = ActorPoolStrategy(
        min_size=1,
        max_size=most,
        initial_size=most,
        # Parts of an actor on a lost node wait until the actor runs elsewhere.
        max_tasks_in_flight_per_actor=_PARTS_AT_ONCE,
        max_concurrent_calls_per_actor=_PARTS_AT_ONCE,
        enable_true_multi_threading=True,
    )
    made = {"settings": worker_settings(settings), "folder": str(folder.path.absolute()), "order": order}
    rows = from_items([{"part": part} for part in parts], override_num_blocks=min(len(parts), MOST_BLOCKS))
    answers = rows.map_batches(
        Annotator,
        fn_constructor_kwargs=made,
        batch_size=1,
        compute=pool,
        num_cpus=0 if on_gpu else 1,
        num_gpus=1 if on_gpu else 0,
        max_restarts=_MOST_RESTARTS,
    )
    try:
        for answer in answers.iter_rows():
            if answer["problem"]:
                hint = "finished parts are kept: correct the error and give the command again"
                raise InvalidInput("job", answer["problem"], hint=hint)
            on_part(PartDone(answer["part"], answer["done"], answer["failed"], answer["reused"]))
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InvalidInput("job", f"Ray failed: {reason}", hint="give the same command again") from error
