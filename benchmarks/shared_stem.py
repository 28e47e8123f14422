"""What it saves that rows which differ only in their text share the stem of the U-Net.

A batch has each noised latent with every label, as zero-shot classification asks for it. The same batch with a copy of
its latent for each row shares nothing, and is what a plain U-Net computes. Both take turns; figures are ratios of
seconds, medians of all rounds: `shared_over_plain_N_labels`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from benchmarks._table import arguments, print_table, write_figures
from service.models.loading import open_model
from service.settings.loader import load_settings

LABELS = (2, 5, 10, 20)


def make_rows(model: StableDiffusion, labels: int, rows: int) -> list[UNetRow]:
    """At least one noised latent with every label; about `rows` rows."""
    described = model.description
    side = described.image_size // described.downscale
    generator = torch.Generator().manual_seed(0)
    contexts = model.embed([f"a photo of a thing number {number}" for number in range(labels)])
    return [
        UNetRow(latents.to(described.device), 37 * place, context, Capture(noise_pred=True))
        for place in range(max(1, rows // labels))
        for latents in [torch.randn(described.latent_channels, side, side, generator=generator)]
        for context in contexts
    ]


def seconds_of(model: StableDiffusion, rows: Sequence[UNetRow]) -> float:
    """Seconds of one batch."""
    started = time.perf_counter()
    model.forward(rows)
    if model.description.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def open_network(chosen: Any) -> StableDiffusion:
    """The backbone of the options: one with weights, or random ones at the published size."""
    settings = load_settings(
        backbone="pocket" if chosen.published_size else chosen.backbone, device=chosen.device, dtype=chosen.dtype
    )
    model = open_model(settings)
    if not chosen.published_size:
        return model
    from benchmarks._full_networks import build_backbone

    return build_backbone(chosen.published_size, model.description.dtype, str(model.description.device))


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--published-size", choices=["sd15", "sd21"], help="random weights of this size instead")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--rows", type=int, default=20, help="of a batch, about")
    parser.add_argument("--labels", type=int, nargs="*", default=LABELS)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    model = open_network(chosen)
    figures, lines = {}, []
    for labels in chosen.labels:
        shared = make_rows(model, labels, chosen.rows)
        plain = [replace(row, latents=row.latents.clone()) for row in shared]
        seconds_of(model, shared), seconds_of(model, plain)
        turns = [(seconds_of(model, shared), seconds_of(model, plain)) for _ in range(chosen.rounds)]
        ratios = [ours / theirs for ours, theirs in turns]
        figures[f"shared_over_plain_{labels}_labels"] = statistics.median(ratios)
        milliseconds = 1000 * statistics.median(theirs for _, theirs in turns) / len(shared)
        lines.append([f"{labels}", f"{len(shared)}", f"{milliseconds:.1f}", f"{statistics.median(ratios):.3f}",
                      f"{min(ratios):.3f} to {max(ratios):.3f}"])  # fmt: skip
    print_table(
        f"A shared stem: {model.name} on {model.description.device}",
        ["labels", "rows", "ms a row, plain", "shared over plain", "rounds"],
        lines,
    )
    write_figures(chosen.json, figures, rounds=chosen.rounds, backbone=model.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
