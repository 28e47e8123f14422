"""Classify among thousands of labels by a tree: a race among the children of each label on the path."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import check_numbers, clean_latents, run_race
from heads.diffusion_classifier.hypotheses import Combine, Hypotheses, make_hypotheses
from heads.diffusion_classifier.losses import Loss
from heads.diffusion_classifier.posterior import Scale
from heads.diffusion_classifier.preprocess import Interpolation
from heads.diffusion_classifier.units import default_layout
from heads.results import LabelPath, Posterior, TreeLevel

DEEPEST = 32


@dataclass(frozen=True)
class Label:
    """A label, and the labels below it; none below a leaf."""

    text: str
    children: tuple[Label, ...] = ()

    @cached_property
    def races(self) -> int:
        """The largest number of races on a path down from here. A label with one child needs no race."""
        return max((child.races for child in self.children), default=0) + (len(self.children) > 1)


def parse_tree(tree: object, *, most_labels: int = 100_000, most_children: int = 500) -> Label:
    """The root of a tree that people wrote as nested JSON values; the root itself has no text.

    tree: an object of labels and what is below each, as in {"animal": ["cat", "dog"], "vehicle": {"boat": []}}, or a
    list of labels and of such objects. A leaf is a text, or a label with null or an empty list below it.
    Raises InvalidInput, about `tree`, with the place of what is wrong: no label, an empty label, two equal siblings, a
    value that is not a text, list or object, too many labels, too many levels.
    """
    counted = 0

    def below(value: object, path: tuple[str, ...]) -> tuple[Label, ...]:
        nonlocal counted
        if len(path) > DEEPEST:
            raise _refuse(path[:3], f"is more than {DEEPEST} labels deep", "leave out levels")
        pairs = list(_pairs(value, path))
        counted += len(pairs)
        if counted > most_labels:
            raise InvalidInput("tree", f"more than {most_labels:,} labels", hint="send a smaller tree")
        if len(pairs) > most_children:
            message = f"has {len(pairs):,} labels right below it; a race takes {most_children:,}"
            raise _refuse(path, message, "put a level between")
        seen: set[str] = set()
        for text, _ in pairs:
            if not text.strip():
                raise _refuse(path, f"has the empty label {text!r}", "write a word or a phrase")
            if text in seen:
                raise _refuse(path, f"has the label {text!r} twice", "write it once")
            seen.add(text)
        return tuple(Label(text, below(under, (*path, text))) for text, under in pairs)

    root = Label("", below(tree, ()))
    if not root.children:
        raise InvalidInput(
            "tree", "it has no labels", hint='send a tree such as {"animal": ["cat", "dog"], "vehicle": ["car"]}'
        )
    return root


def error_share(here: Label, left: float) -> float:
    """The share of the remaining error rate for the race below `here`.

    It depends on the tree alone, and the shares on any path add up to the whole. A wrong answer means that a race on
    the right path went wrong, each with a probability of at most its share.
    """
    return left / here.races


async def classify_tree(
    engine: Engine,
    image: NDArray[np.uint8],
    root: Label,
    *,
    templates: Sequence[str] = ("a photo of a {}.",),
    combine: Combine = "mean",
    confidence: float = 0.95,
    budget: Budget | None = None,
    loss: Loss = "l2",
    temperature: float = 1.0,
    interpolation: Interpolation = "bicubic",
    on_progress: Callable[[LabelPath], None] | None = None,
) -> LabelPath:
    """The path down from the root on which each label beats its siblings, with a race at every fork.

    image: (H, W, 3) uint8 RGB. confidence: about the probability, over the order of units, that evaluating all siblings
    on all units leads to the same path; the remaining error rate is shared among the forks. It says nothing about
    whether a leaf on another path fits better. budget: of all races together; the path ends when it is spent. The rest
    as in `classify_anytime`. on_progress: called with the path so far after each look.
    Raises InvalidInput for a tree whose labels cannot be used, or that the network cannot tell apart above the leaves,
    and for a budget below one block of the first race.
    """
    started = time.perf_counter()
    check_numbers(temperature, confidence)
    forks = await engine.run_on_host(_forks, engine, root, templates, combine)
    latents, key = await clean_latents(engine, image, interpolation)
    scale = Scale(latents.numel(), temperature)
    race = partial(run_race, engine, latents, key, started=started, loss=loss, scale=scale)
    steps = len(engine.backbone.alphas_cumprod)
    return await _descend(root, forks, race, steps, 1 - confidence, budget or Budget(), started, on_progress)


async def _descend(
    root: Label,
    forks: Mapping[tuple[str, ...], Hypotheses],
    race: Callable[..., Awaitable[Posterior]],
    steps: int,
    error_rate: float,
    budget: Budget,
    started: float,
    on_progress: Callable[[LabelPath], None] | None,
) -> LabelPath:
    """The path down from the root. race: `run_race` on the image. error_rate: of all races together."""
    levels: list[TreeLevel] = []
    shares: list[float] = []
    path: tuple[str, ...] = ()
    here, left = root, 1.0
    while here.children:
        if len(here.children) == 1:
            here = here.children[0]
            path = (*path, here.text)
            continue
        hypotheses = forks[path]
        layout = default_layout(len(hypotheses.members), steps)
        if levels and _is_spent(budget, started, layout.block_units * len(hypotheses.prompts)):
            break
        share = error_share(here, left)
        shares.append(share)

        def report(posterior: Posterior, under: tuple[str, ...] = path) -> None:
            if on_progress is not None:
                on_progress(
                    _make_path(
                        (*under, posterior.label), [*levels, TreeLevel(under, posterior)], shares, complete=False
                    )
                )

        labels = [child.text for child in here.children]
        posterior = await race(
            hypotheses, labels, error_rate=error_rate * share, budget=budget, layout=layout, on_progress=report
        )
        levels.append(TreeLevel(path, posterior))
        here = next(child for child in here.children if child.text == posterior.label)
        path, left = (*path, here.text), left - share
        if budget.rows is not None:
            budget = replace(budget, rows=budget.rows - posterior.rows)
        if posterior.stopped == "budget":
            break
    return _make_path(path, levels, shares, complete=not here.children)


def _make_path(
    path: tuple[str, ...], levels: Sequence[TreeLevel], shares: Sequence[float], *, complete: bool
) -> LabelPath:
    """shares: of the error rate, one a race, fixed by the tree before the first race.

    A wrong path leaves the right one at some fork, whose race had the level share * (1 - confidence): the confidence at
    which every race could have stopped where it did is 1 minus the largest of the levels over their shares.
    """
    doubts = [(1 - (level.posterior.confidence or 0.0)) / share for level, share in zip(levels, shares, strict=True)]
    return LabelPath(
        path=path,
        complete=complete,
        levels=tuple(levels),
        rows=sum(level.posterior.rows for level in levels),
        probability=prod(max(level.posterior.probabilities) for level in levels),
        confidence=1 - min(1.0, max(doubts, default=0.0)),
        stopped="decided" if complete and (not levels or levels[-1].posterior.stopped != "budget") else "budget",
    )


def _is_spent(budget: Budget, started: float, block_rows: int) -> bool:
    """Whether the remaining budget is too small for one block of the next race."""
    if budget.rows is not None and budget.rows < block_rows:
        return True
    return budget.seconds is not None and time.perf_counter() - started >= budget.seconds


def _pairs(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Each label directly below `path`, with its subtree."""
    if value is None:
        return
    if isinstance(value, dict):
        for text, under in value.items():
            yield str(text), under
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, str):
                yield item, None
            elif isinstance(item, dict):
                yield from _pairs(item, path)
            else:
                raise _refuse(path, f"has {str(item)[:40]!r} in its list", "a list holds labels, or objects of labels")
    else:
        raise _refuse(path, f"has {str(value)[:40]!r} below it", "a list or an object of labels belongs there")


def _forks(
    engine: Engine, root: Label, templates: Sequence[str], combine: Combine
) -> dict[tuple[str, ...], Hypotheses]:
    """The hypotheses of every fork by the path to it: wrong labels are refused before any row is computed."""
    forks: dict[tuple[str, ...], Hypotheses] = {}
    waiting: list[tuple[tuple[str, ...], Label]] = [((), root)]
    while waiting:
        path, here = waiting.pop()
        waiting += [((*path, child.text), child) for child in here.children]
        if not here.children:
            continue
        try:
            hypotheses = make_hypotheses(engine, [child.text for child in here.children], templates, combine)
        except InvalidInput as error:
            if error.field != "labels":
                raise
            raise _refuse(path, f"has a label that can not be used: {error.message}", error.hint) from error
        by_text: dict[tuple[int, ...], Label] = {}
        for child, own in zip(here.children, hypotheses.of_label, strict=True):
            twin = by_text.setdefault(own, child)
            if twin is not child and (twin.children or child.children):
                message = f"has {twin.text!r} and {child.text!r}, which are the same text for the network"
                raise _refuse(path, message, "only leaves may be, and then tie; merge the two")
        forks[path] = hypotheses
    return forks


def _refuse(path: tuple[str, ...], message: str, hint: str) -> InvalidInput:
    place = " > ".join(label[:40] for label in path) if path else "the root"
    return InvalidInput("tree", f"{place} {message}", hint=hint)
