"""`diffsight doctor`: check this machine, the settings and the models, and say how to fix problems."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from diffsight.cli.options import AsJson, with_settings
from service.settings.loader import Settings


@with_settings()
def doctor(
    settings: Settings,
    answers: Annotated[
        bool, typer.Option(help="Compute an answer of every head, and compare it with the recorded one.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight doctor
    diffsight doctor --device cuda --dtype bfloat16 --json

    Check device and driver, disks and rights, keys and exposure, the clock, every file of the models and what fits
    into memory; then compute an answer of every head on the served device and number type, beside recorded ones, and
    answers of the original systems on small networks.
    Exit status 1 where something is wrong.
    """
    # The checks load torch and every task, which takes seconds.
    from diffsight.doctor.examination import examine
    from diffsight.doctor.findings import has_problem

    findings = []
    for finding in examine(settings, answers=answers):
        findings.append(finding)
        if not as_json:
            typer.echo(finding.as_text())
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings], ensure_ascii=False))
    elif not has_problem(findings):
        typer.echo("all is well" if all(finding.level == "ok" for finding in findings) else "nothing is wrong")
    if has_problem(findings):
        raise typer.Exit(1)
