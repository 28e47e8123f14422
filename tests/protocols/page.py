"""The calls of docs/protocols.md: client, task and code."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocols.md"


@dataclass(frozen=True, slots=True)
class Example:
    """One call.

    client: the section of the page. task: its heading. code: assigns the client's answer to `answer`.
    apart: whether its client lives in an environment of its own. anchor: of the heading, as GitHub makes it.
    """

    client: str
    task: str
    code: str
    apart: bool
    anchor: str

    @property
    def method(self) -> str:
        """The client's method that is called."""
        line = next(line for line in self.code.splitlines() if line.startswith("answer = "))
        method: str = re.findall(r"\.(\w+)\(", line)[0]
        return method


def read_examples() -> list[Example]:
    """Every call of the page, in its order."""
    examples, seen = [], Counter[str]()
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        client, _, rest = section.partition("\n")
        for part in re.split(r"^### ", rest, flags=re.MULTILINE)[1:]:
            task = part.partition("\n")[0]
            (block,) = re.findall(r"```(python|py)\n(.*?)```", part, re.DOTALL)
            anchor = f"{task}-{seen[task]}" if seen[task] else task
            seen[task] += 1
            examples.append(Example(client, task, block[1], block[0] == "py", anchor))
    return examples


def calls_table() -> str:
    """Markdown table of tasks by clients, each call leading to its code."""
    examples = read_examples()
    clients = list(dict.fromkeys(example.client for example in examples))
    cells = {(example.task, example.client): f"[`{example.method}`](#{example.anchor})" for example in examples}
    lines = [f"| task | {' | '.join(clients)} |", "|---" * (len(clients) + 1) + "|"]
    for task in dict.fromkeys(example.task for example in examples):
        lines.append(f"| `{task}` | {' | '.join(cells.get((task, client), '') for client in clients)} |")
    return "\n".join(lines)
