"""The help of every command, as docs/cli.md and a terminal show it."""

from __future__ import annotations

import pytest

from diffsight.cli.reference import walk_commands
from tests.diffsight.command import script

HELP = dict(walk_commands())


@pytest.mark.parametrize("command", HELP, ids=lambda command: " ".join(command) or "diffsight")
def test_help_opens_with_an_example_to_copy(command: tuple[str, ...]) -> None:
    assert HELP[command].splitlines()[2].startswith("  diffsight " + " ".join(command))


@pytest.mark.parametrize("command", [(), ("predict", "depth")])
def test_help_is_what_the_script_prints(command: tuple[str, ...]) -> None:
    done = script(*command, "--help")
    assert done.returncode == 0
    assert "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip() == HELP[command]
