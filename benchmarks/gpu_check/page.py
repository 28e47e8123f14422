"""What was measured as one page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.gpu_cost import RECORD

TITLES = {
    "machine": "The machine and its ceilings",
    "marked_tests": "Tests that need a GPU",
    "answers": "Every head beside its recorded answer, by number type",
    "throughput": "U-Net rows a second",
    "published_loops": "SDPose and DiffewS beside loops like their authors'",
    "mixture": "Four tasks at once",
}


def write_page(report: Mapping[str, Any]) -> str:
    """The page of a report: steps by name, each with its seconds, and its figures or why it failed."""
    kind = "a trial with small networks: its figures mean nothing" if report["dry_run"] else "full size"
    lines = ["# GPU check", "", f"{report['date']}, {kind}. {report['seconds']:.0f} seconds in all."]
    for name, step in report["steps"].items():
        lines += ["", f"## {TITLES.get(name, name)}", "", f"{step['seconds']:.0f} seconds."]
        if "failed" in step:
            lines += ["", f"**Not done:** {step['failed']}"]
            continue
        figures = step["figures"]
        lines += ["", *(_batches(figures) if name == "throughput" else _list(figures))]
        if name == "throughput":
            lines += _beside_the_model(figures)
    return "\n".join(lines) + "\n"


def _list(figures: Mapping[str, Any]) -> list[str]:
    return ["| what | value |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in figures.items())]


def _batches(figures: Mapping[str, Any]) -> list[str]:
    """A row for each backbone and batch, and what belongs to no batch below."""
    columns = ("ours", "eager", "compiled", "ours over eager", "share of the ceiling", "GB")
    by_batch: dict[str, dict[str, Any]] = {}
    rest = {}
    for name, value in figures.items():
        place, _, figure = name.partition(": ")
        if place.endswith(" rows"):
            by_batch.setdefault(place, {})[figure] = value
        else:
            rest[name] = value
    lines = ["| batch | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for place, values in by_batch.items():
        lines.append(f"| {place} | " + " | ".join(_cell(values.get(column, "")) for column in columns) + " |")
    return [*lines, "", *_list(rest)]


def _beside_the_model(figures: Mapping[str, Any]) -> list[str]:
    """Measured rows a second of SD 1.5 over those that the cost model gives an H100."""
    computed = json.loads(RECORD.read_text())["figures"]
    lines = ["", "Measured over what the cost model gives an H100 (a whole row of SD 1.5 in bfloat16):", ""]
    ratios = []
    for batch in (1, 8, 32):
        measured = figures.get(f"sd15, {batch} rows: ours")
        if measured is not None:
            model = computed[f"zero-shot, bfloat16, {batch}: rows a second, H100"]
            ratios.append(f"| {batch} | {measured:.0f} | {model:.0f} | {measured / model:.2f} |")
    return [*lines, "| rows | measured | computed | ratio |", "|---|---|---|---|", *ratios]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
