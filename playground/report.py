"""Answers as HTML: legends, tables, bars, problems. All texts of servers and clients are escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from diffsight_client import ClientError, ServerProblem
from playground.drawing import colours_of, find_masks

_LONGEST = 160
"""Maximum characters of a text in the shown JSON; pictures in base64 have millions."""
_MOST_NUMBERS = 16


def show(answer: Mapping[str, Any]) -> str:
    """An answer as HTML, by the fields that it has."""
    parts = [part(answer) for field, part in _PARTS.items() if field in answer]
    masks = list(find_masks(answer))
    if masks:
        parts.append(_legend(answer, masks))
    parts += [note(str(text)) for text in answer.get("notes") or ()]
    return "".join(filter(None, parts)) or _plain(answer)


def show_cost(answer: Mapping[str, Any], seconds: float) -> str:
    """Rows and milliseconds of an answer. seconds: from the request to the answer, including the network."""
    stages = answer.get("timing", {}).get("seconds", {}) if isinstance(answer.get("timing"), Mapping) else {}
    detail = ", ".join(f"{escape(stage)} {1000 * value:.0f}" for stage, value in stages.items())
    rows = answer.get("rows")
    counted = f"<b>{rows}</b> U-Net row{'' if rows == 1 else 's'} · " if rows is not None else ""
    backbone = answer.get("backbone")
    name = f" · {escape(str(backbone['name']))}" if isinstance(backbone, Mapping) and "name" in backbone else ""
    more = f" ({detail})" if detail else ""
    return f'<p class="ds-spent">{counted}<b>{1000 * seconds:.0f}</b> ms{more}{name}</p>'


def show_problem(error: ClientError | OSError) -> str:
    """The error as HTML, with the server's message and hint if it is a problem of the server."""
    if not isinstance(error, ServerProblem):
        return advise(str(error))
    field = f" · <code>{escape(error.field)}</code>" if error.field else ""
    hint = f"<p><b>What to do:</b> {to_markup(error.hint)}</p>" if error.hint else ""
    return (
        f'<div class="ds-problem" role="alert"><p><b>{error.status} {escape(error.title)}</b>{field}</p>'
        f"<p>{to_markup(error.detail)}</p>{hint}</div>"
    )


def to_markup(text: str) -> Markup:
    """A text of the server as HTML; names in backticks become code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))


def note(text: str) -> str:
    """A note as HTML."""
    return f'<p class="ds-note" role="status">{to_markup(text)}</p>'


def advise(text: str) -> str:
    """A message about what is missing before a request can be sent, or about a failed connection."""
    return f'<div class="ds-problem" role="alert"><p>{escape(text)}</p></div>'


def as_json(answer: Any) -> str:
    """The answer as readable JSON: long texts are cut, and lists of numbers are on one line."""
    return json.dumps(_shorten(answer), indent=2, ensure_ascii=False)


def _shorten(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:60]}… ({len(value):,} characters)"
    if isinstance(value, Mapping):
        return {name: _shorten(part) for name, part in value.items()}
    if isinstance(value, list):
        if all(isinstance(part, int | float) for part in value):
            shown = ", ".join(f"{part:.6g}" for part in value[:_MOST_NUMBERS])
            return f"[{shown}{f', … {len(value):,} numbers' if len(value) > _MOST_NUMBERS else ''}]" if value else []
        return [_shorten(part) for part in value[:200]] + (["…"] if len(value) > 200 else [])
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table; cells are texts to escape, numbers, or HTML of this module in a `Markup`."""
    cells = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    inner = f"{title}<thead><tr>{heads}</tr></thead><tbody>{cells}</tbody>"
    return f'<div class="ds-scroll" tabindex="0"><table class="ds-table">{inner}</table></div>'


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A table of true classes (rows) and answers (columns); larger counts are darker."""
    rows = []
    for label, row in zip(labels, counts, strict=False):
        cells = [Markup(f"<b>{escape(label)}</b>")]
        for column, count in enumerate(row):
            share = count / max(1, sum(row))
            colour = "27, 127, 75" if labels[column] == label else "198, 40, 40"
            cells.append(
                Markup(f'<span class="ds-cell" style="background:rgba({colour},{0.6 * share:.2f})">{count}</span>')
            )
        rows.append(cells)
    return table(("True \\ answer", *labels), rows, "Confusion matrix") if rows else ""


class Markup(str):
    """HTML that needs no escaping."""


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    return escape(f"{value:.3f}" if isinstance(value, float) else str(value))


def swatch(colour: Sequence[int]) -> Markup:
    """A square of a colour."""
    return Markup(f'<span class="ds-swatch" style="background:rgb({",".join(map(str, colour))})"></span>')


def _legend(answer: Mapping[str, Any], masks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            Markup(f"{swatch(colour)}{escape(str(mask['name']))}"),
            f"{mask['share']:.1%}",
            mask["score"],
            f"{mask['area']:,}",
        )
        for mask, colour in zip(masks, colours_of(answer, masks), strict=True)
    ]
    return table(("What", "Share", "Score", "Pixels"), rows, "Legend")


_ENDS = (("near", "minimum"), ("far", "maximum"))


def _depth(answer: Mapping[str, Any]) -> str:
    figures = answer["statistics"]
    if not isinstance(figures, Mapping) or "percentile_5" not in figures:
        return ""
    unit = escape(str(answer.get("unit", "")))
    near, far = (f"<span>{name} {figures[end]:.2f} {unit}</span>" for name, end in _ENDS)
    ramp = '<div class="ds-depth" role="img" aria-label="Near is bright, far is dark"></div>'
    ramp += f'<div class="ds-ends">{near}{far}</div>'
    rows = [(name.replace("_", " "), f"{value:.3f} {answer.get('unit', '')}") for name, value in figures.items()]
    return ramp + table(("Depth", "Value"), rows)


def _persons(answer: Mapping[str, Any]) -> str:
    count, source = len(answer["persons"]), str(answer["boxes_from"])
    boxes = {"caller": "as drawn", "detector": f"by {answer.get('detector')}", "whole_image": "the whole image"}
    line = f"{count} person{'' if count == 1 else 's'}; boxes: {boxes.get(source, source)}"
    tables = []
    for number, person in enumerate(answer["persons"], 1):
        if person.get("problem"):
            tables.append(f'<p class="ds-note">Person {number}: {escape(person["problem"])}</p>')
            continue
        points = zip(answer["names"], person["keypoints"], person["keypoint_scores"], strict=True)
        rows = [(name, f"{x:.1f}", f"{y:.1f}", score) for name, (x, y), score in points]
        tables.append(table(("Point", "x", "y", "Score"), rows, f"Person {number}, score {person['score']:.3f}"))
    return f"<p>{escape(line)}</p>" + "".join(tables)


def _posterior(answer: Mapping[str, Any]) -> str:
    """Bars, best first; dropped labels are grey, with the leader of that moment and the rows until then."""
    dropped = {part["label"]: part for part in answer.get("dropped", ())}
    bars = []
    for part in answer["posterior"]:
        left = dropped.get(part["label"])
        best = part["label"] == answer.get("label")
        end = "" if left is None else f"dropped after {left['rows']} rows, led by {left['by']}"
        bars.append(bar(str(part["label"]), float(part["probability"]), faded=left is not None, best=best, about=end))
    confidence = answer.get("confidence")
    sure = "" if confidence is None else f" Confidence {confidence:.3f}."
    # An intermediate result has no timing, and has not stopped.
    stopped = f" Stopped: {answer['stopped']}." if answer.get("stopped") and "timing" in answer else ""
    return f'<div class="ds-bars" aria-live="polite">{"".join(bars)}</div><p>{escape((sure + stopped).strip())}</p>'


def bar(label: str, share: float, *, faded: bool = False, best: bool = False, about: str = "") -> str:
    """One bar of a posterior: label, bar, probability. about: further text."""
    classes = f"ds-bar{' ds-dropped' if faded else ''}{' ds-best' if best else ''}"
    about_text = f"<small>{escape(about)}</small>" if about else ""
    width = 100 * min(max(share, 0), 1)
    return (
        f'<div class="{classes}"><span class="ds-label">{escape(label)}{about_text}</span>'
        f'<span class="ds-track"><span style="width:{width:.1f}%"></span></span>'
        f'<span class="ds-value">{share:.3f}</span></div>'
    )


def _path(answer: Mapping[str, Any]) -> str:
    way = " → ".join(escape(str(label)) for label in answer["path"])
    levels = "".join(
        f"<h4>{escape(' → '.join(level.get('under', ())) or 'top')}</h4>{_posterior(level)}"
        for level in answer.get("levels", ())
        if isinstance(level, Mapping) and "posterior" in level
    )
    return f"<p><b>{way}</b></p>{levels}"


def _scores(answer: Mapping[str, Any]) -> str:
    scores = answer.get("corrected_scores") or answer["scores"]
    if not scores or not isinstance(scores[0], list):
        return ""
    names = answer.get("names") or [f"image {number}" for number in range(1, len(scores[0]) + 1)]
    rows = [(f"caption {number}", *(f"{value:.4f}" for value in row)) for number, row in enumerate(scores, 1)]
    best = ", ".join(f"image {image}: caption {caption + 1}" for image, caption in enumerate(answer["best_caption"], 1))
    return table(("", *names), rows, "Higher fits better") + f"<p>Best: {escape(best)}</p>"


def _vectors(answer: Mapping[str, Any]) -> str:
    vectors = answer["vectors"]
    rows = [
        (
            number,
            ", ".join(f"{value:.3f}" for value in vector[:6]) + " …",
            f"{sum(value * value for value in vector) ** 0.5:.3f}",
        )
        for number, vector in enumerate(vectors, 1)
    ]
    about = f"{len(vectors)} vector{'' if len(vectors) == 1 else 's'} of {answer.get('dimension')} numbers"
    return table(("Image", "First numbers", "Length"), rows, about)


def _answers(answer: Mapping[str, Any]) -> str:
    blocks = []
    for number, part in enumerate(answer["answers"], 1):
        if not isinstance(part, Mapping) or "scores" not in part:
            return ""
        bars = "".join(
            bar(str(entry["label"]), float(entry["probability"]), best=place == 0)
            for place, entry in enumerate(part["scores"])
        )
        in_no_class = " — of none of the classes" if part.get("known") is False else ""
        blocks.append(f"<h4>Image {number}{in_no_class}</h4><div class='ds-bars'>{bars}</div>")
    return "".join(blocks)


def _plain(answer: Mapping[str, Any]) -> str:
    """Fields with a single value, for tasks that this module does not know."""
    rows = [(name, value) for name, value in answer.items() if isinstance(value, str | int | float) and name != "rows"]
    return table(("Field", "Value"), rows) if rows else ""


_PARTS = {
    "statistics": _depth,
    "persons": _persons,
    "posterior": _posterior,
    "path": _path,
    "best_caption": _scores,
    "vectors": _vectors,
    "answers": _answers,
}
