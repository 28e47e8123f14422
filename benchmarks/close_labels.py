"""What close labels cost a race, and a picture of a race.

The errors of one image under all labels on all units are computed, and every race runs on them. Then only the best
label and its closest rival race. Their mean difference is shrunk step by step to zero, while its spread stays. The
benchmark counts the rows at 95 % confidence for each difference, also with an `indifference` of a quarter of the
original difference, in 200 orders each. --picture draws the posterior over the computed rows, and the rows over the
difference.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from benchmarks._table import arguments, print_table, write_figures
from benchmarks.zero_shot import CONFIDENCE, engine_of, grid, run_races
from heads.diffusion_classifier.anytime import Race
from heads.diffusion_classifier.units import Layout, default_layout

SHRUNK = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.0)


@dataclass(frozen=True)
class Cost:
    """Races of two labels whose mean difference is `difference`. rows, rows_indifferent: mean over the orders."""

    difference: float
    rows: float
    undecided: float
    wrong: float
    rows_indifferent: float


def bring_closer(errors: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Errors of two labels whose mean difference is shrunk to `factor` of the original one.

    errors: (2, units) float32, the better label first; the result has the same shape.
    """
    mean = float((errors[1].astype(np.float64) - errors[0]).mean())
    return np.stack([errors[0], errors[1] - np.float32((1 - factor) * mean)])


def costs(errors: NDArray[np.float32], layout: Layout, orders: int) -> list[Cost]:
    """The cost of two labels at each shrunken difference. errors: (2, units) float32, the better label first."""
    mean = float((errors[1].astype(np.float64) - errors[0]).mean())
    measured = []
    for factor in SHRUNK:
        table = bring_closer(errors, factor)
        races = run_races(table, layout, orders)
        indifferent = run_races(table, layout, orders, indifference=mean / 4)
        measured.append(
            Cost(
                factor * mean,
                float(np.mean([race.rows for race in races])),
                float(np.mean([race.stopped == "complete" for race in races])),
                float(np.mean([race.elimination.leader != 0 for race in races])) if factor else float("nan"),
                float(np.mean([race.rows for race in indifferent])),
            )
        )
    return measured


def trace_posterior(race: Race, elements: int, temperature: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows computed after each visited block, (N,), and the posterior then, (N, labels) float64.

    A dropped label keeps its last paired gap.
    """
    elimination = race.elimination
    means = elimination.block_means[:, : elimination.visited]
    alive = ~np.isnan(means)
    rows = (alive.sum(axis=0) * elimination.layout.block_units).cumsum()
    gaps = np.where(alive, means - means[elimination.leader], 0.0).cumsum(axis=1) / alive.cumsum(axis=1)
    posterior: NDArray[np.float64] = softmax(-elements * gaps.T / temperature, axis=1)
    return rows, posterior


def draw(
    file: Path, race: Race, labels: list[str], elements: int, temperature: float, measured: list[Cost], most: int
) -> None:
    """Draw the posterior over rows on the left, and the cost of two labels on the right."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    rows, posterior = trace_posterior(race, elements, temperature)
    for label in posterior.max(axis=0).argsort()[::-1]:
        left.plot(rows, posterior[:, label], label=labels[label], drawstyle="steps-post")
    for blocks in sorted({drop.blocks for drop in race.elimination.drops}):
        gone = sum(drop.blocks == blocks for drop in race.elimination.drops)
        left.axvline(race.rows_at[blocks], color="grey", linewidth=0.8, linestyle=":")
        left.annotate(f"{gone} dropped", (race.rows_at[blocks], 0.5), rotation=90, fontsize=7, ha="right")
    left.set(xlabel="U-Net rows spent", ylabel="posterior", title="One race of all labels", ylim=(-0.02, 1.02))
    left.legend(fontsize=7, ncols=2)
    differences = [1000 * cost.difference for cost in measured]
    right.plot(differences, [cost.rows for cost in measured], "o-", label=f"confidence {CONFIDENCE:g}")
    right.plot(differences, [cost.rows_indifferent for cost in measured], "s--", label="with indifference")
    right.axhline(most, color="grey", linewidth=0.8, label="every row")
    right.set(
        xlabel="difference of mean errors (thousandths)",
        ylabel="rows",
        title="Two labels, brought closer",
        yscale="log",
    )
    right.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--image", type=Path, default=Path("docs/images/seven.png"))
    parser.add_argument("--labels", default="zero,one,two,three,four,five,six,seven,eight,nine")
    parser.add_argument("--template", default="a handwritten {}")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the drawn posterior")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--picture", type=Path, metavar="PNG")
    parser.add_argument("--drawn-confidence", type=float, default=1 - 1e-6, help="of the drawn race, so that it lasts")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()

    labels = [label.strip() for label in chosen.labels.split(",")]
    image = np.asarray(Image.open(chosen.image).convert("RGB"))
    layout, pair_layout = default_layout(len(labels)), default_layout(2)
    prompts = [chosen.template.replace("{}", label) for label in labels]
    errors = grid(chosen.backbone, chosen.device, image, prompts, layout.units)
    backbone = engine_of(chosen.backbone, chosen.device).backbone
    elements = backbone.latent_channels * (backbone.image_size // backbone.downscale) ** 2
    best, rival = errors.mean(axis=1, dtype=np.float64).argsort()[:2]
    measured = costs(errors[[best, rival]], pair_layout, chosen.orders)
    most = 2 * pair_layout.units
    print_table(
        f"Close labels: {chosen.backbone}, {labels[best]!r} and {labels[rival]!r}, confidence {CONFIDENCE:g}, "
        f"{chosen.orders} orders",
        ["difference of means", "rows", "of every row", "visited all", "wrong", "rows, indifferent"],
        [
            [
                f"{cost.difference:.5f}",
                f"{cost.rows:,.0f}",
                f"{cost.rows / most:.2f}",
                f"{cost.undecided:.2f}",
                "-" if np.isnan(cost.wrong) else f"{cost.wrong:.3f}",
                f"{cost.rows_indifferent:,.0f}",
            ]
            for cost in measured
        ],
        [f"indifference: {measured[0].difference / 4:.5f}, a quarter of the difference as it is; every row: {most:,}"],
    )
    if chosen.picture is not None:
        (race,) = run_races(errors, layout, 1, confidence=chosen.drawn_confidence)
        draw(chosen.picture, race, labels, elements, chosen.temperature, measured, most)
        print(f"wrote {chosen.picture}")
    figures = {
        "rows_as_it_is": measured[0].rows,
        "rows_at_a_quarter": measured[2].rows,
        "rows_tied": measured[-1].rows,
        "rows_tied_indifferent": measured[-1].rows_indifferent,
        "wrong_share_worst": float(np.nanmax([cost.wrong for cost in measured])),
    }
    write_figures(chosen.json, figures, backbone=chosen.backbone, orders=chosen.orders)
    return 0


if __name__ == "__main__":
    sys.exit(main())
