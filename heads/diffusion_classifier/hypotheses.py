"""From the caller's labels and templates to what races: distinct prompts, and the labels that each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backbones.engine import Engine
from backbones.errors import InvalidInput

Combine = Literal["mean", "best_prompt"]


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """What races. prompts: texts that differ to the network. members: each hypothesis's prompts, as indices.

    of_label: each label's hypotheses. Labels with the same ones are one label to the network, and tie.
    """

    prompts: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    of_label: tuple[tuple[int, ...], ...]

    @property
    def answers(self) -> list[int]:
        """The first label that each hypothesis stands for."""
        return [
            next(label for label, own in enumerate(self.of_label) if hypothesis in own)
            for hypothesis in range(len(self.members))
        ]


def make_hypotheses(
    engine: Engine, labels: Sequence[str], templates: Sequence[str], combine: Combine = "best_prompt"
) -> Hypotheses:
    """The hypotheses of `labels` in `templates`, prompts with equal token ids merged.

    combine: "mean" makes one hypothesis of all prompts of a label; "best_prompt" lets every prompt race for itself and
    its label win with it, as the original does.
    Raises InvalidInput for empty lists and texts, a template without its {}, two templates that give one text, and a
    prompt that is too long.
    """
    prompts, of_prompt = _distinct(engine, labels, templates)
    by_label = [
        tuple(of_prompt[at : at + len(templates)]) for at in range(0, len(labels) * len(templates), len(templates))
    ]
    if combine == "best_prompt":
        return Hypotheses(tuple(prompts), tuple((one,) for one in range(len(prompts))), tuple(by_label))
    groups: dict[tuple[int, ...], int] = {}
    of_label = [(groups.setdefault(tuple(sorted(own)), len(groups)),) for own in by_label]
    return Hypotheses(tuple(prompts), tuple(groups), tuple(of_label))


def _distinct(engine: Engine, labels: Sequence[str], templates: Sequence[str]) -> tuple[list[str], list[int]]:
    """The prompts that differ to the network, and which of them each label in each template is, label-major."""
    if not labels:
        raise InvalidInput("labels", "no labels", hint="send one text for each class, such as ['cat', 'dog']")
    if not templates:
        raise InvalidInput("templates", "no templates", hint="send one at least, such as 'a photo of a {}.'")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidInput("templates", f"{template!r} does not hold {{}} once", hint="such as 'a photo of a {}.'")
    for label in labels:
        if not label.strip():
            raise InvalidInput("labels", f"label {label!r} is empty", hint="send a word or a phrase for each class")
    written = [template.replace("{}", label) for label in labels for template in templates]
    known: dict[tuple[int, ...], int] = {}
    prompts: list[str] = []
    of_prompt: list[int] = []
    for index, ids in enumerate(engine.tokenize(written)):
        most = engine.backbone.max_tokens
        if len(ids) > most:
            label = labels[index // len(templates)]
            raise InvalidInput(
                "labels",
                f"the prompt of label {label[:60]!r} has {len(ids)} tokens and the text encoder takes {most}",
                hint="shorten the label or the template",
            )
        which = known.setdefault(ids, len(prompts))
        if which in of_prompt[index - index % len(templates) :]:
            raise InvalidInput(
                "templates",
                f"{prompts[which]!r} and {written[index]!r} are the same text to the network",
                hint="send each template once",
            )
        if which == len(prompts):
            prompts.append(written[index])
        of_prompt.append(which)
    return prompts, of_prompt
