"""The predicted time of full-size tasks on a GPU, by a model: `python -m benchmarks.gpu_cost --json FILE`.

Networks of the published sizes run on torch's `meta` device with the product's own code. The benchmark counts
operations, their FLOPs, the bytes that they move and their memory. The speed of a card is assumed (CARDS). Nothing here
was measured on a GPU. `docs/gpu.md` shows the table of `benchmarks/gpu_cost.json`, which `python -m benchmarks.gpu_cost
--json benchmarks/gpu_cost.json` writes again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from benchmarks._table import arguments, write_figures

# isort: split
import torch
from torch import Tensor

from backbones.captures import forward_rows
from backbones.rows import Bank, Capture, Captures, KeysValues, UNetRow
from backbones.sub_blocks import sub_block_names
from benchmarks._full_networks import Kind, build_encoder, build_head, build_unet
from benchmarks._meta_cost import Card, Cost, Rates, counting
from heads.feature_pooling.blocks import default_blocks
from heads.sdpose.head import HeatmapHead
from heads.vpd.features import FeatureLayers, find_feature_layers, pyramid, stack_pyramids

RECORD = Path(__file__).with_name("gpu_cost.json")
CARDS = (
    Card("H100", Rates(350e12, 450e12, 300e12), Rates(45e12, 45e12, 25e12), 2.5e12),
    Card("RTX 4090", Rates(100e12, 130e12, 90e12), Rates(45e12, 50e12, 30e12), 0.85e12),
)
"""About half of the rates in the makers' data sheets without sparsity; float32 is without TF32."""
BATCHES = (1, 8, 32)
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
# Vectors and tokens to which a row attends: a prompt, the classes of ADE20K, an expression, an empty prompt.
_PROMPT, _CLASSES, _EXPRESSION, _EMPTY = 77, 150, 40, 2

Pass = Callable[[int, torch.dtype], Cost]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one answer. parts: passes, each with as many items as the batch has answers. unit: of the answer."""

    task: str
    parts: Sequence[Pass]
    unit: str = "images"


class _Described:
    """The part of a backbone's description from which VPD finds its feature layers."""

    name, downscale = "sd15", 8

    def __init__(self, unet: Any) -> None:
        self.sub_blocks = sub_block_names(unet)


@cache
def _unet(kind: Kind, dtype: torch.dtype) -> Any:
    return build_unet(kind, dtype, "meta")


@cache
def _vae(dtype: torch.dtype) -> Any:
    return build_encoder(dtype, "meta")


def _find_layers(unet: Any) -> FeatureLayers:
    return find_feature_layers(_Described(unet))  # type: ignore[arg-type]


def _rows(
    unet: Any, count: int, capture: Capture, size: tuple[int, int], tokens: int, bank: Bank | None = None
) -> list[UNetRow]:
    """Rows without values, each of an image of its own. size: (height, width) of their latents."""
    context = torch.empty(tokens, unet.config.cross_attention_dim, device="meta", dtype=unet.dtype)
    latents = torch.empty(count, 4, *size, device="meta", dtype=unet.dtype)
    return [UNetRow(own, 1, context, capture, bank=bank) for own in latents]


def encode(height: int, width: int) -> Pass:
    """The VAE's encoder over pictures of one size."""

    def run(batch: int, dtype: torch.dtype) -> Cost:
        vae, pixels = _vae(dtype), torch.empty(batch, 3, height, width, device="meta", dtype=dtype)
        with counting() as cost:
            vae.encode(pixels)
        return cost

    return run


def decode(height: int, width: int) -> Pass:
    """The VAE's decoder to pictures of one size."""

    def run(batch: int, dtype: torch.dtype) -> Cost:
        vae, latents = _vae(dtype), torch.empty(batch, 4, height // 8, width // 8, device="meta", dtype=dtype)
        with counting() as cost:
            vae.decode(latents)
        return cost

    return run


def features_row(batch: int, dtype: torch.dtype) -> Cost:
    """A row of pooled features, which stops at the last block that they read."""
    unet = _unet("sd15", dtype)
    capture = Capture(features=default_blocks(sub_block_names(unet)))
    rows = _rows(unet, batch, capture, (64, 64), _PROMPT)
    with counting() as cost:
        forward_rows(unet, rows, {})
    return cost


def whole_row(batch: int, dtype: torch.dtype) -> Cost:
    """One label at one timestep of zero-shot classification: a whole pass."""
    unet = _unet("sd15", dtype)
    rows = _rows(unet, batch, Capture(output=True), (64, 64), _PROMPT)
    with counting() as cost:
        forward_rows(unet, rows, {})
    return cost


def depth(batch: int, dtype: torch.dtype) -> Cost:
    """A pass of VPD's depth over 512 x 640 pixels, and its head in float32."""
    unet = _unet("sd15", dtype)
    layers, head = _find_layers(unet), build_head("depth", "meta")
    rows = _rows(unet, batch, layers.capture(maps=False), (64, 80), 1)
    with counting() as cost:
        head(_stack_pyramids(forward_rows(unet, rows, {}), layers, maps=False), (480, 640), 10.0)
    return cost


def segmentation(task: Literal["segmentation", "referring"], tokens: int) -> Pass:
    """A pass of VPD's segmentation, of classes or by expression, with its attention maps, and its head in float32."""

    def run(batch: int, dtype: torch.dtype) -> Cost:
        unet = _unet("sd15", dtype)
        layers, head = _find_layers(unet), build_head(task, "meta")
        rows = _rows(unet, batch, layers.capture(maps=True), (64, 64), tokens)
        with counting() as cost:
            head(_stack_pyramids(forward_rows(unet, rows, {}), layers, maps=True))
        return cost

    return run


def pose(batch: int, dtype: torch.dtype) -> Cost:
    """A pass of SDPose over a crop of 1024 x 768 pixels, and its head of 17 maps."""
    unet = _unet("sd21", dtype)
    with torch.device("meta"):
        head = HeatmapHead(320, 17).to(dtype).eval().requires_grad_(False)
    rows = _rows(unet, batch, Capture(features=("up_blocks.3",)), (128, 96), _EMPTY)
    with counting() as cost:
        head(torch.stack([row.features["up_blocks.3"] for row in forward_rows(unet, rows, {})]))
    return cost


def few_shot(batch: int, dtype: torch.dtype) -> Cost:
    """A query's pass of DiffewS over 512 x 512 pixels, with the cached bank of one support."""
    unet = _unet("sd21", dtype)
    rows = _rows(unet, batch, Capture(output=True), (64, 64), _EMPTY, _bank(unet))
    with counting() as cost:
        forward_rows(unet, rows, {})
    return cost


def _bank(unet: Any) -> Bank:
    """One support's keys and values, by the side that the maps of each width have."""
    bank: dict[str, KeysValues] = {}
    for name, module in unet.named_modules():
        if getattr(module, "is_cross_attention", None) is False:
            width: int = module.to_k.out_features
            side = 8 if "mid" in name else {320: 64, 640: 32, 1280: 16}[width]
            tokens = torch.empty(side * side, width, device="meta", dtype=unet.dtype)
            bank[name] = KeysValues(tokens, tokens)
    return bank


def _stack_pyramids(captures: Sequence[Captures], layers: FeatureLayers, *, maps: bool) -> list[Tensor]:
    return stack_pyramids([pyramid(row, layers, maps=maps) for row in captures])


WORK = (
    Work("features", (encode(512, 512), features_row)),
    Work("zero-shot", (whole_row,), "rows"),
    Work("depth", (encode(512, 640), depth)),
    Work("segmentation", (encode(512, 512), segmentation("segmentation", _CLASSES))),
    Work("referring", (encode(512, 512), segmentation("referring", _EXPRESSION))),
    Work("pose", (encode(1024, 768), pose), "persons"),
    Work("few-shot", (encode(512, 512), few_shot, decode(512, 512))),
)
"""Images have the size of the networks' input; the bank of few-shot is cached, and texts are embedded before."""


def measure(
    work: Sequence[Work] = WORK, types: Sequence[str] = tuple(TYPES), batches: Sequence[int] = BATCHES
) -> dict[str, float]:
    """Figures by `task, number type, batch: name`: TFLOP, kernels and peak GB of a batch, and answers a second."""
    figures: dict[str, float] = {}
    for item in work:
        for kind in types:
            for batch in batches:
                costs = [part(batch, TYPES[kind]) for part in item.parts]
                key = f"{item.task}, {kind}, {batch}"
                figures[f"{key}: TFLOP"] = sum(cost.flops for cost in costs) / 1e12
                figures[f"{key}: kernels"] = sum(cost.kernels for cost in costs)
                figures[f"{key}: GB"] = max(cost.peak_bytes for cost in costs) / 1e9
                for card in CARDS:
                    seconds = sum(cost.seconds(card, batch=batch) for cost in costs)
                    figures[f"{key}: {item.unit} a second, {card.name}"] = batch / seconds
    return figures


def table(figures: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: a row for each task and number type."""
    columns = ["task", "type", "TFLOP each"]
    columns += [f"{card.name}: {batch}" for card in CARDS for batch in BATCHES]
    columns += [f"GB at {batch}" for batch in BATCHES]
    rows = []
    for item in WORK:
        for kind in TYPES:
            keys = [f"{item.task}, {kind}, {batch}" for batch in BATCHES]
            cells = [f"{figures[f'{keys[0]}: TFLOP']:.2f}"]
            cells += [f"{figures[f'{key}: {item.unit} a second, {card.name}']:.0f}" for card in CARDS for key in keys]
            cells += [f"{figures[f'{key}: GB']:.1f}" for key in keys]
            rows.append([f"{item.task}, {item.unit}", kind, *cells])
    return columns, rows


def markdown(figures: Mapping[str, float] | None = None) -> str:
    """The table in Markdown, from the recorded figures unless `figures` are passed."""
    columns, rows = table(json.loads(RECORD.read_text())["figures"] if figures is None else figures)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    chosen = arguments(__doc__ or "").parse_args()
    figures = measure()
    print(f"by assumed rates, not measured: answers a second by batch, and memory of its tensors\n{markdown(figures)}")
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
