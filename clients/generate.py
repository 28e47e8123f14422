"""`python -m clients.generate` writes the generated part of the Python client from openapi/openapi.json.

That is `models.py`, the answers as pydantic models, and `operations.py` and `async_operations.py`, with a method for
each operation. The code that they call is written by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.methods import Operation, method_lines, operations_of
from clients.schema_types import model_lines, reachable

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "openapi" / "openapi.json"
PACKAGE = ROOT / "clients" / "python" / "diffsight_client"

_NOTE = "Written by `make openapi` from the OpenAPI document: change that, not this."
# Base classes of answers with methods.
_ABILITIES = {
    "DepthAnswer": "DepthArray",
    "DepthResult": "DepthArray",
    "MaskAnswer": "MaskArray",
    "ExpressionAnswer": "MaskArray",
    "SegmentationAnswer": "SegmentMasks",
    "SegmentationResult": "SegmentMasks",
    "ReferringAnswer": "ExpressionMasks",
    "ReferringResult": "ExpressionMasks",
    "FewShotAnswer": "ConceptMasks",
    "FewShotResult": "ConceptMasks",
    "FeaturesAnswer": "FeatureVectors",
    "FeaturesResult": "FeatureVectors",
    "PoseAnswer": "Persons",
    "PoseResult": "Persons",
}


def generate_files(document: Mapping[str, Any]) -> dict[str, str]:
    """The generated modules by name, formatted as the repository's code."""
    operations = operations_of(document)
    return {
        "models.py": _format(_models(document, operations)),
        "operations.py": _format(_operations(operations, waits=True)),
        "async_operations.py": _format(_operations(operations, waits=False)),
    }


def _models(document: Mapping[str, Any], operations: list[Operation]) -> list[str]:
    schemas = document["components"]["schemas"]
    used = {name for operation in operations for name in operation.models()} | {"JobAnswer", "JobDetails", "Problem"}
    names = reachable(used, schemas)
    abilities = sorted({_ABILITIES[name] for name in names if name in _ABILITIES} - {"Persons"})
    lines = [
        '"""What the server answers.',
        "",
        f"{_NOTE}",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any, Literal",
        "",
        "from pydantic import BaseModel, ConfigDict, Field",
        "",
        f"from diffsight_client.arrays import {', '.join(abilities)}",
        "from diffsight_client.keypoints import Persons",
        "",
        "",
        "class Model(BaseModel):",
        '    """The base of them all: fields that a newer server adds are kept."""',
        "",
        '    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())',
    ]
    for name in names:
        base = f"{_ABILITIES[name]}, Model" if name in _ABILITIES else "Model"
        lines += model_lines(name, schemas[name], base)
    return lines


def _operations(operations: list[Operation], *, waits: bool) -> list[str]:
    name, other = ("Operations", "wait for the answer") if waits else ("AsyncOperations", "are awaited")
    models = sorted({name for operation in operations for name in operation.models()})
    typing = "Iterable, Iterator, Mapping, Sequence" if waits else "AsyncIterator, Iterable, Mapping, Sequence"
    stream = "Iterator" if waits else "AsyncIterator"
    lines = [
        f'"""A method an operation; they {other}.',
        "",
        f"{_NOTE}",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from abc import ABC, abstractmethod",
        f"from collections.abc import {typing}",
        "from typing import Any, Literal, TypeVar",
        "from urllib.parse import quote",
        "",
        "from pydantic import BaseModel",
        "",
        "from diffsight_client.calls import ANY, EVENTS, Answer, Call, nothing, text_of",
        "from diffsight_client.images import Image",
        f"from diffsight_client.models import {', '.join(models)}",
        "",
        'Progress = TypeVar("Progress", bound=BaseModel)',
        'Final = TypeVar("Final", bound=BaseModel)',
        "",
        "",
        f"class {name}(ABC):",
        '    """What a server does, a method an operation."""',
        "",
        "    @abstractmethod",
        f"    {'' if waits else 'async '}def _call(self, call: Call[Answer]) -> Answer: ...",
        "",
        "    @abstractmethod",
        f"    def _events(self, call: Call[Final], progress: type[Progress]) -> {stream}[Progress | Final]: ...",
    ]
    for operation in operations:
        lines += method_lines(operation, waits=waits)
    return lines


def _format(lines: list[str]) -> str:
    """The code formatted by `ruff`, with sorted imports and without unused ones."""
    code = "\n".join(lines) + "\n"
    for command in (["check", "--select", "I,F401", "--fix", "--exit-zero"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--config", str(ROOT / "pyproject.toml")]
        name = ["--stdin-filename", str(PACKAGE / "generated.py"), "-"]
        code = subprocess.run([*ruff, *name], input=code, capture_output=True, text=True, check=True).stdout
    return code


def main() -> None:
    """Write the modules."""
    for name, code in generate_files(json.loads(DOCUMENT.read_text(encoding="utf-8"))).items():
        (PACKAGE / name).write_text(code, encoding="utf-8")
        print(f"wrote {PACKAGE / name}")


if __name__ == "__main__":
    main()
