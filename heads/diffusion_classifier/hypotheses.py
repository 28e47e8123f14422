"""From labels to hypotheses: distinct prompts or classes, and the labels that each belongs to."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from backbones.backbone import Description
from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.diffusion_classifier.race import Condition

Combine = Literal["mean", "best_prompt"]


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """The hypotheses of a race. prompts: distinct inputs of the network: texts, or class numbers.

    members: each hypothesis's prompts, as indices.

    of_label: each label's hypotheses. Labels with the same hypotheses tie.
    """

    prompts: tuple[str, ...] | tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    of_label: tuple[tuple[int, ...], ...]

    @property
    def answers(self) -> list[int]:
        """The first label of each hypothesis."""
        return [
            next(label for label, own in enumerate(self.of_label) if hypothesis in own)
            for hypothesis in range(len(self.members))
        ]


def make_hypotheses(
    engine: Engine, labels: Sequence[str], templates: Sequence[str], combine: Combine = "best_prompt"
) -> Hypotheses:
    """The hypotheses of `labels` in `templates`, prompts with equal token ids merged.

    combine: "mean" makes one hypothesis of all prompts of a label; "best_prompt" makes each prompt a hypothesis, as the
    original does, and the label of the best one wins. For a class-conditional network a label is one of its classes, by
    its name or its number, and the one template is "{}".
    Raises InvalidInput for empty lists and texts, a template without its {}, two templates that give one text, and a
    prompt that is too long; for a label that is no class, or the name of several.
    """
    if engine.backbone.class_conditional:
        return _classes(engine.backbone, labels, templates)
    prompts, of_prompt = _distinct(engine, labels, templates)
    by_label = [
        tuple(of_prompt[at : at + len(templates)]) for at in range(0, len(labels) * len(templates), len(templates))
    ]
    if combine == "best_prompt":
        return Hypotheses(tuple(prompts), tuple((index,) for index in range(len(prompts))), tuple(by_label))
    groups: dict[tuple[int, ...], int] = {}
    of_label = [(groups.setdefault(tuple(sorted(own)), len(groups)),) for own in by_label]
    return Hypotheses(tuple(prompts), tuple(groups), tuple(of_label))


async def conditions(engine: Engine, hypotheses: Hypotheses) -> list[Condition]:
    """The condition of each hypothesis: a text context (T, D), or a class."""
    if engine.backbone.class_conditional:
        return list(cast(tuple[int, ...], hypotheses.prompts))
    return list(await engine.embed(cast(tuple[str, ...], hypotheses.prompts)))


def class_number(backbone: Description, label: str) -> int:
    """The class that a label names: by its whole name, by one of its comma-separated names, or by its number.

    Case is ignored.
    Raises InvalidInput if it names none, or several.
    """
    count = backbone.num_class_labels
    wanted = label.strip().casefold()
    # A class without a name is called its number.
    names = {number: name for number, name in enumerate(backbone.class_names) if name != str(number)}
    parts = {number: [part.strip() for part in name.split(",")] for number, name in names.items()}
    whole = [number for number, name in names.items() if name.strip().casefold() == wanted]
    named = whole or [number for number, several in parts.items() if wanted in [part.casefold() for part in several]]
    if len(named) == 1:
        return named[0]
    if named:
        classes = ", ".join(f"{number} ({names[number]})" for number in named[:5])
        raise InvalidInput(
            "labels", f"{label[:60]!r} is the name of several classes: {classes}", hint="send the class number instead"
        )
    if wanted.isdecimal() and len(wanted) < 10 and int(wanted) < count:
        return int(wanted)
    near = difflib.get_close_matches(label, [part for several in parts.values() for part in several], n=3)
    instead = f"did you mean {', '.join(near)}?" if near else f"send a class's name, or a number up to {count - 1}"
    message = f"{label[:60]!r} is no class of the network {backbone.name!r}, which has no text input"
    raise InvalidInput("labels", message, hint=instead)


def _classes(backbone: Description, labels: Sequence[str], templates: Sequence[str]) -> Hypotheses:
    """The hypotheses of a class-conditional network; labels of one class are merged."""
    if not labels:
        raise InvalidInput("labels", "no labels", hint="send the names or numbers of classes")
    if tuple(templates) != ("{}",):
        raise InvalidInput(
            "templates", f"the network {backbone.name!r} has classes and no text input", hint="leave templates out"
        )
    index_of_class: dict[int, int] = {}
    of_label = [(index_of_class.setdefault(class_number(backbone, label), len(index_of_class)),) for label in labels]
    return Hypotheses(tuple(index_of_class), tuple((index,) for index in range(len(index_of_class))), tuple(of_label))


def _distinct(engine: Engine, labels: Sequence[str], templates: Sequence[str]) -> tuple[list[str], list[int]]:
    """The distinct prompts, and the index of the prompt for each label in each template, label-major."""
    if not labels:
        raise InvalidInput("labels", "no labels", hint="send one text for each class, such as ['cat', 'dog']")
    if not templates:
        raise InvalidInput("templates", "no templates", hint="send one at least, such as 'a photo of a {}.'")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidInput(
                "templates",
                f"{template!r} does not hold {{}} exactly once",
                hint="send a template such as 'a photo of a {}.'",
            )
    for label in labels:
        if not label.strip():
            raise InvalidInput("labels", f"label {label!r} is empty", hint="send a word or a phrase for each class")
    filled = [template.replace("{}", label) for label in labels for template in templates]
    index_of_tokens: dict[tuple[int, ...], int] = {}
    prompts: list[str] = []
    of_prompt: list[int] = []
    for index, ids in enumerate(engine.tokenize(filled)):
        most = engine.backbone.max_tokens
        if len(ids) > most:
            label = labels[index // len(templates)]
            raise InvalidInput(
                "labels",
                f"the prompt of label {label[:60]!r} has {len(ids)} tokens and the text encoder takes {most}",
                hint="shorten the label or the template",
            )
        which = index_of_tokens.setdefault(ids, len(prompts))
        if which in of_prompt[index - index % len(templates) :]:
            raise InvalidInput(
                "templates",
                f"{prompts[which]!r} and {filled[index]!r} are the same text for the network",
                hint="send each template once",
            )
        if which == len(prompts):
            prompts.append(filled[index])
        of_prompt.append(which)
    return prompts, of_prompt
