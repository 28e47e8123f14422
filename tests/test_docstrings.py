"""Public functions that take or return arrays say their shapes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for folder in ("backbones", "heads") for file in (ROOT / folder).rglob("*.py"))

# `(B, C, h, w)`, `(N,)`, `(H, W, 3)`, `(..., 2h, 2w)`, `(*size, C)`: sizes without a word of prose between them.
_SIZE = r"(?:\.\.\.|\*?[\w.^]+(?:\(\w+\))?(?: ?[x*+/-] ?[\w.^]+)*)"
_SHAPE = re.compile(rf"\(({_SIZE}(?:, {_SIZE})+|{_SIZE},)\)")
# At least one of them is a letter for a size, a number, or a named side: `(name, text)` is no shape.
_SYMBOL = re.compile(r"\b[A-Z]\b|\d|\.\.\.|\*|\b(?:h|w|height|width|size|steps|images|persons)\b|\blen\(|,$")


def says_shape(docstring: str) -> bool:
    """Whether a text names the shape of an array, or allows any shape."""
    shapes = (match.group(1) for match in _SHAPE.finditer(" ".join(docstring.split())))
    return "any shape" in docstring or any(_SYMBOL.search(shape) for shape in shapes)


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of a module and methods of its public classes, except those of a protocol that has docstrings."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield inner


def mentions_arrays(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    annotations = [argument.annotation for argument in (*function.args.args, *function.args.kwonlyargs)]
    text = " ".join(
        ast.unparse(annotation) for annotation in (*annotations, function.returns) if annotation is not None
    )
    return "Tensor" in text.replace("TensorCache", "") or "NDArray" in text


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_with_arrays_say_shapes(module: Path) -> None:
    silent = []
    for function in public_functions(ast.parse(module.read_text())):
        docstring = ast.get_docstring(function)
        # An undocumented method that implements a documented protocol takes its words from there.
        implements = docstring is None and function.name in {"encode", "embed", "decode", "forward", "unet"}
        if mentions_arrays(function) and not implements and not says_shape(docstring or ""):
            silent.append(f"{function.name} (line {function.lineno})")
    assert not silent, f"no shape in the docstring of: {', '.join(silent)}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The features, (B, C, h, w) float32.", True),
        ("Scores (N,) and boxes (N, 4).", True),
        ("An image (H, W, 3) uint8.", True),
        ("Vectors (images, timesteps x blocks x C).", True),
        ("Tensors of any shape.", True),
        ("The features (see above, or below) of each image (float32).", False),
        ("Pairs (name, text), and the function f(x).", False),
        ("The same shape as given.", False),
    ],
)
def test_shapes_are_distinguished_from_prose(text: str, says: bool) -> None:
    assert says_shape(text) is says
