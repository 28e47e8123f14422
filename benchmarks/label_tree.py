"""What a tree of labels saves: U-Net rows of one race among all leaves, and of a race at every fork on the way down.

The tree is --tree FILE, or 6 x 6 x 6 generated labels ("ball", "red ball", "red ball on grass"). The images are files,
or the digit of the README. The race among all leaves may take --most-rows; if it ends there, its rows are a lower
bound.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.engine import DirectEngine, complete
from benchmarks._table import arguments, print_table, write_figures
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import classify_anytime
from heads.diffusion_classifier.tree_descent import Label, classify_tree, parse_tree
from service.models.loading import open_model
from service.settings.loader import load_settings

THINGS = ("ball", "box", "table", "lamp", "tree", "person")
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
PLACES = ("on grass", "on sand", "on wood", "in snow", "in water", "in a room")


def make_tree() -> dict[str, dict[str, list[str]]]:
    """Three levels of six labels each."""
    return {
        thing: {f"{colour} {thing}": [f"{colour} {thing} {place}" for place in PLACES] for colour in COLOURS}
        for thing in THINGS
    }


def leaves(here: Label, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path to every leaf."""
    if not here.children:
        yield path
    for child in here.children:
        yield from leaves(child, (*path, child.text))


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("images", nargs="*", type=Path, default=[Path("docs/images/seven.png")])
    parser.add_argument("--tree", type=Path, help="JSON file of nested labels")
    parser.add_argument("--template", default="a photo of a {}.")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--most-rows", type=int, default=20_000, help="of the race among all leaves")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()

    root = parse_tree(json.loads(chosen.tree.read_text()) if chosen.tree else make_tree())
    paths = {path[-1]: path for path in leaves(root)}
    engine = DirectEngine(
        open_model(load_settings(backbone=chosen.backbone, device=chosen.device, engine={"torch_threads": 1}))
    )
    templates, budget = (chosen.template,), Budget(rows=chosen.most_rows)
    rows, cut, same, prefix = [], 0, 0, 0
    for file in chosen.images:
        image = np.asarray(Image.open(file).convert("RGB"))
        tree = complete(classify_tree(engine, image, root, templates=templates, confidence=chosen.confidence))
        flat = complete(
            classify_anytime(
                engine, image, list(paths), templates=templates, confidence=chosen.confidence, budget=budget
            )
        )
        rows.append((tree.rows, flat.rows))
        cut += flat.stopped == "budget"
        same += paths[flat.label] == tree.path
        prefix += paths[flat.label][0] == tree.path[0]
    tree_rows, flat_rows = np.mean(rows, axis=0)
    count = len(chosen.images)
    print_table(
        f"A tree of {len(paths)} leaves, {root.races} races deep: {chosen.backbone}, {count} images, "
        f"confidence {chosen.confidence:g}",
        ["way", "rows an image", "same leaf", "same first label"],
        [
            ["race among all leaves", f"{flat_rows:,.0f}", "-", "-"],
            ["race at every fork", f"{tree_rows:,.0f}", f"{same / count:.2f}", f"{prefix / count:.2f}"],
        ],
        [f"the race among all leaves was ended by its {chosen.most_rows:,} rows in {cut} of {count} images"],
    )
    figures = {
        "tree_rows": float(tree_rows),
        "flat_rows": float(flat_rows),
        "tree_rows_over_flat": float(tree_rows / flat_rows),
        "flat_cut_share": cut / count,
        "same_leaf_share": same / count,
    }
    write_figures(chosen.json, figures, leaves=len(paths), backbone=chosen.backbone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
