"""`diffsight predict ...`: one command a task."""

from __future__ import annotations

from diffsight.cli.task_command import make_group
from service.tasks import TASKS

predict = make_group(TASKS)
