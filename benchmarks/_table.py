"""The output of every benchmark: one table, and figures as JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backbones.files import write_json

# As `diffsight` itself does; a benchmark imports this module before it imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help='write {"figures": {name: number}, ...} here')
    return parser


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print one table, with the first column left and the others right, and its notes below."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def write_figures(file: Path | None, figures: Mapping[str, float], **more: object) -> None:
    """Write figures as JSON; without a file, write nothing."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"figures": dict(figures), **more})
