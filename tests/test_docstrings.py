"""Public functions that take or return arrays say their shapes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for folder in ("backbones", "heads") for file in (ROOT / folder).rglob("*.py"))


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of a module and methods of its public classes, but for those that fulfil a protocol said elsewhere."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield inner


def mentions_arrays(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    annotations = [argument.annotation for argument in (*function.args.args, *function.args.kwonlyargs)]
    text = " ".join(ast.unparse(one) for one in (*annotations, function.returns) if one is not None)
    return "Tensor" in text.replace("TensorCache", "") or "NDArray" in text


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_with_arrays_say_shapes(module: Path) -> None:
    silent = []
    for function in public_functions(ast.parse(module.read_text())):
        docstring = ast.get_docstring(function)
        # An undocumented method that implements a documented protocol takes its words from there.
        implements = docstring is None and function.name in {"encode", "embed", "decode", "forward", "unet"}
        says = any(word in (docstring or "") for word in ("(", "shape"))
        if mentions_arrays(function) and not implements and not says:
            silent.append(f"{function.name} (line {function.lineno})")
    assert not silent, f"no shape in the docstring of: {', '.join(silent)}"
