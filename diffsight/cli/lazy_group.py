"""A group of commands whose modules are imported only to run or describe a command."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """The class of a group. commands: name -> ("module:attribute", one line of help)."""

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in commands:
                return None
            place, help_line = commands[cmd_name]
            return load_command(cmd_name, place, help_line)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, help_line) for name, (_, help_line) in commands.items()])

    return LazyGroup


def command_group(commands: Mapping[str, tuple[str, str]], help_text: str) -> typer.Typer:
    """A group below a command, such as `diffsight fit`, whose commands are as in `lazy_group`."""
    group = typer.Typer(
        cls=lazy_group(commands), add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=help_text
    )
    group.callback()(lambda: None)
    return group


def load_command(name: str, place: str, help_line: str) -> Any:
    """The command at "module:attribute", which is a function or a typer app."""
    module, _, attribute = place.partition(":")
    command = getattr(import_module(module), attribute)
    if not isinstance(command, typer.Typer):
        function, command = command, typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(name, short_help=help_line)(function)
    made = typer.main.get_command(command)
    made.name = name
    return made
