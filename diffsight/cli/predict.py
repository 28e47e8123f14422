"""`diffsight predict ...`: one command a task, made when it is first wanted."""

from __future__ import annotations

from functools import cached_property

import click
import typer
from typer.core import TyperGroup


class TaskGroup(TyperGroup):
    """The commands of all tasks. Making them imports torch, which `diffsight --help` must not wait for."""

    @cached_property
    def _made(self) -> click.Group:
        from diffsight.cli.task_command import make_group
        from service.tasks import TASKS

        return make_group(TASKS)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all tasks, in the order of `TASKS`."""
        return self._made.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a task."""
        return self._made.get_command(ctx, cmd_name)


predict = typer.Typer(
    cls=TaskGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Run a task here, without a server.",
    help="\b\ndiffsight predict zero-shot cat.jpg --labels cat,dog\n\nRun a task here, without a server.",
)


@predict.callback()
def _group() -> None:
    """Run a task here, without a server."""
