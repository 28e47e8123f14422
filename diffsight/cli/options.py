"""Options that several commands have. Where one is not given, the settings decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Backbone = Annotated[
    str | None,
    typer.Option(help="pocket, a diffusers folder, a checkpoint file or a hub id."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
DType = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", metavar="NAME")]
Config = Annotated[
    Path | None, typer.Option(help="TOML file of settings; docs/settings.md lists them.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
