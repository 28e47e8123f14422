"""Fits a depth, segmentation or referring head to cached features of the frozen backbone.

The U-Net and the text encoder stay unchanged, and so does the text (the adapter's gain is 0). So each example needs one
pass, which is computed once and stored on disk. Source of losses and networks: VPD (arXiv:2303.02153).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.files import write_file
from backbones.loading.weight_files import write_tensors
from backbones.stable_diffusion import StableDiffusion
from heads.images import distinct_colours, pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.vpd.checkpoint import FittedAs, list_feature_channels, open_head, save_fitted
from heads.vpd.depth_network import DepthNetwork
from heads.vpd.features import FeatureLayers, find_feature_layers, make_row, pyramid, stack_pyramids
from heads.vpd.heads import DenseTask
from heads.vpd.metrics import IGNORED, IoUCounts, depth_figures, mean_figures, referring_figures, silog_loss
from heads.vpd.referring import enlarge_mask_logits, read_expression
from heads.vpd.referring_network import ReferringNetwork
from heads.vpd.segmentation import enlarge_class_logits
from heads.vpd.segmentation_network import SegmentationNetwork
from training import checkpoints
from training.curves import draw_curves
from training.datasets.dense_folder import DenseFolder, Sample
from training.dense_baselines import fit_baselines, save_baselines, score_baselines
from training.evaluate_dense import world_figures

TEMPLATE = "a photo of a {}"
MASK_WEIGHTS = (0.9, 1.1)
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class DenseRecipe:
    """How a head is fitted.

    width: channels inside it. size: shorter side of images; 0 is the backbone's own. held_out: share of the examples
    that the figures of every epoch are measured on; they are the last examples in the folder.
    """

    epochs: int = 12
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    width: int = 64
    size: int = 0
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """The inputs that all steps of a fit share."""

    folder: DenseFolder
    task: DenseTask
    backbone: StableDiffusion
    layers: FeatureLayers
    size: tuple[int, int]
    recipe: DenseRecipe
    context: Tensor
    classes: tuple[str, ...]

    @property
    def maps(self) -> bool:
        return self.task != "depth"


def fit_dense(
    backbone: StableDiffusion,
    task: DenseTask,
    source: Path,
    out: Path,
    recipe: DenseRecipe,
    *,
    most: int = 0,
    measured: Path | None = None,
) -> dict[str, float]:
    """Fit a head on the examples in `source` and write it into `out`; a run that was stopped continues.

    most: maximum number of examples, 0 for all. measured: another folder for the figures of the card, which are
    measured on the head as it will be served; without it they come from the held-out examples of `source`.

    Returns the figures. Writes TASK.safetensors, TASK-baselines.safetensors, TASK.md (the card), curves-TASK.png and
    cache/, which may be deleted.
    Raises InvalidInput if the folder does not hold the files that the task needs.
    """
    setup = prepare(backbone, task, DenseFolder(source, task, most=most), recipe)
    out.mkdir(parents=True, exist_ok=True)
    features = list(cache_features(setup, out / "cache" / task))
    truths = [truth_at(setup, sample) for sample in tqdm(setup.folder.samples, desc="truth", leave=False)]
    first = max(1, math.floor(len(features) * (1 - recipe.held_out)))
    if first == len(features):
        raise InvalidInput("folder", "there are too few examples to hold some out", hint="give at least two")
    max_metres = float(math.ceil(max(float(truth.max()) for truth in truths))) if task == "depth" else 10.0
    network = build_network(setup)
    history = train(setup, network, features, truths, first, max_metres, out)
    figures = evaluate(setup, network, features[first:], truths[first:], max_metres)
    baselines = fit_baselines(task, images_of(setup, 0, first), truths[:first], len(setup.classes) * setup.maps)
    guessed = score_baselines(
        task, baselines, list(images_of(setup, first)), [truth.numpy() for truth in truths[first:]]
    )
    fitted = FittedAs(
        task=task,
        backbone=backbone.name,
        revision=backbone.description.revision,
        size=setup.size[0],
        max_metres=max_metres,
        classes=setup.classes if task == "segmentation" else (),
        palette=tuple(map(tuple, distinct_colours(len(setup.classes)).tolist())) if task == "segmentation" else (),
        tokens=len(setup.context) if task == "referring" else 0,
    )
    save_fitted(out / f"{task}.safetensors", network, fitted)
    save_baselines(out / f"{task}-baselines.safetensors", baselines)
    draw_curves(out / f"curves-{task}.png", history)
    shown, where = {**figures, **guessed}, f"the {len(truths) - first} examples that were held out"
    if measured is not None:
        others = DenseFolder(measured, task)
        head = open_head(backbone, task, out / f"{task}.safetensors")
        shown = world_figures(DirectEngine(backbone), head, others, baselines)
        where = f"{len(others.samples)} examples of another folder, none of which were used for training"
    write_file(out / f"{task}.md", card(setup, fitted, shown, first, where).encode())
    return shown


def prepare(backbone: StableDiffusion, task: DenseTask, folder: DenseFolder, recipe: DenseRecipe) -> Setup:
    """The text and the sizes of a fit."""
    described = backbone.description
    side = recipe.size or described.image_size
    engine = DirectEngine(backbone)
    classes: tuple[str, ...] = ()
    if task != "referring":
        try:
            classes = folder.class_names()
        except InvalidInput:
            if task == "segmentation":
                raise
    # Depth reads the same text as segmentation, so one pass serves both.
    states = [end_state(engine, name) for name in classes]
    context = torch.stack(states) if states else complete(engine.embed([""]))[0]
    return Setup(folder, task, backbone, find_feature_layers(described), (side, side), recipe, context.float(), classes)


def end_state(engine: DirectEngine, name: str) -> Tensor:
    """(D,) state at the end of a class's prompt, which CLIP pools."""
    text = TEMPLATE.format(name.replace("_", " "))
    (states,) = complete(engine.embed([text]))
    return states[min(len(engine.tokenize([text])[0]), len(states)) - 1]


def cache_features(setup: Setup, folder: Path) -> Iterator[list[Tensor]]:
    """Four maps (C, h, w) float16 of each example, computed once and stored in files of `_CHUNK` examples."""
    samples = setup.folder.samples
    header = {
        "revision": setup.backbone.description.revision,
        "size": setup.size,
        "context": list(setup.context.shape),
        "samples": [[sample.image.name, sample.sentence] for sample in samples],
    }
    claim = folder / "features.json"
    text = json.dumps(header)
    if claim.is_file() and claim.read_text(encoding="utf-8") != text:
        for file in folder.glob("*.safetensors"):
            file.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_file(claim, text.encode())
    engine = DirectEngine(setup.backbone)
    starts = range(0, len(samples), _CHUNK)
    for start in tqdm(starts, desc="features"):
        file = folder / f"{start:07d}.safetensors"
        if not file.is_file():
            chunk = samples[start : start + _CHUNK]
            maps = features_of(setup, engine, chunk)
            tensors = {
                f"{place}.{level}": tensor for place, levels in enumerate(maps) for level, tensor in enumerate(levels)
            }
            write_tensors(tensors, file)
        stored = load_file(file)
        for place in range(len(stored) // 4):
            yield [stored[f"{place}.{level}"] for level in range(4)]


def features_of(setup: Setup, engine: DirectEngine, samples: Sequence[Sample]) -> list[list[Tensor]]:
    """Four maps (C, h, w) float16 of each example."""
    pictures = [to_pixel_values(resize(setup.folder.image(sample), setup.size)) for sample in samples]
    latents = complete(engine.encode([pad_to_multiple(picture, setup.layers.stride) for picture in pictures]))
    contexts = [setup.context] * len(samples)
    if setup.task == "referring":
        tokens = len(setup.context)
        read = [read_expression(engine, sample.sentence, tokens).read for sample in samples]
        contexts = [context[:tokens] for context in complete(engine.embed(read))]
    capture = setup.layers.capture(maps=setup.maps)
    rows = [make_row(latent, context, capture, "") for latent, context in zip(latents, contexts, strict=True)]
    outputs = complete(engine.unet(rows))
    return [
        [level.half().cpu().contiguous() for level in pyramid(captures, setup.layers, maps=setup.maps)]
        for captures in outputs
    ]


def images_of(setup: Setup, start: int, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) uint8 RGB of some examples, at the size that the network sees."""
    return (resize(setup.folder.image(sample), setup.size) for sample in setup.folder.samples[start:stop])


def truth_at(setup: Setup, sample: Sample) -> Tensor:
    """(H, W) at the size that the network sees, nearest: metres float32, or classes uint8."""
    truth = torch.from_numpy(np.ascontiguousarray(setup.folder.truth(sample)))
    resized = functional.interpolate(truth[None, None].float(), setup.size, mode="nearest")[0, 0]
    return resized if setup.task == "depth" else resized.to(torch.uint8)


def build_network(setup: Setup) -> Any:
    """The task's network for this backbone's channels, with seeded weights; its adapter's gain is 0."""
    torch.manual_seed(setup.recipe.seed)
    width, text_width = setup.recipe.width, setup.context.shape[1]
    channels = list_feature_channels(setup.backbone)
    tokens = len(setup.context) if setup.maps else 0
    read = [channels[0], channels[1] + tokens, channels[2] + tokens, channels[3]]
    network: Any
    if setup.task == "depth":
        network = DepthNetwork(
            read,
            encoder_channels=4 * width,
            deconv_channels=(width, width, width),
            deconv_kernels=(2, 2, 2),
            decoder_channels=width,
            scenes=len(setup.context),
            text_width=text_width,
        )
        part = network.encoder
    elif setup.task == "segmentation":
        network = part = SegmentationNetwork(
            read, neck_channels=width, head_channels=width, classes=len(setup.classes), text_width=text_width
        )
    else:
        network = part = ReferringNetwork(read, hidden=width, text_width=text_width)
    with torch.no_grad():
        part.gamma.zero_()
        if setup.task != "referring":
            part.class_embeddings.copy_(setup.context)
    return network.to(setup.backbone.description.device)


def loss_of(setup: Setup, network: Any, features: list[Tensor], truth: Tensor, max_metres: float) -> Tensor:
    """The task's published loss. features: four of (B, C, h, w) float32. truth: (B, H, W)."""
    size = (truth.shape[-2], truth.shape[-1])
    if setup.task == "depth":
        return silog_loss(network(features, size, max_metres).clamp_min(1e-3), truth)
    logits = resize_maps(network(features), size, align_corners=setup.task == "referring")
    if setup.task == "referring":
        return functional.cross_entropy(logits, truth.long(), weight=torch.tensor(MASK_WEIGHTS, device=logits.device))
    return functional.cross_entropy(logits, truth.long(), ignore_index=IGNORED)


def train(
    setup: Setup,
    network: Any,
    features: Sequence[list[Tensor]],
    truths: Sequence[Tensor],
    first: int,
    max_metres: float,
    out: Path,
) -> list[dict[str, float]]:
    """Train on the examples before `first`; returns one line for each epoch. Continues from out/TASK.checkpoint if it
    exists.
    """
    recipe, device = setup.recipe, setup.backbone.description.device
    trained = [
        parameter
        for name, parameter in network.named_parameters()
        if "text_adapter" not in name and "gamma" not in name
    ]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = 1 + recipe.epochs * max(1, math.ceil(first / recipe.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    history: list[dict[str, float]] = []
    file = out / f"{setup.task}.checkpoint"
    setup_facts = {**asdict(recipe), "examples": len(features), "revision": setup.backbone.description.revision}
    if file.is_file() and (state := checkpoints.load_checkpoint(file))["told"] == setup_facts:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = state["history"]
    for epoch in range(len(history), recipe.epochs):
        network.train()
        losses = []
        for batch, truth in epoch_batches(setup, features, truths, first, epoch):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(setup, network, batch, truth, max_metres)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        history.append({"epoch": epoch + 1, "loss": float(np.mean(losses or [0.0]))})
        history[-1] |= evaluate(setup, network, features[first:], truths[first:], max_metres)
        line = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
        tqdm.write(f"epoch {epoch + 1}: {line}", file=sys.stderr)  # a program may read standard output as JSON
        checkpoints.save_checkpoint(
            file,
            {
                "told": setup_facts,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history,
            },
        )
    network.eval()
    return history


def epoch_batches(
    setup: Setup, features: Sequence[list[Tensor]], truths: Sequence[Tensor], first: int, epoch: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """The batches of an epoch: the examples before `first` in random order, every second batch mirrored.

    Yields four features (B, C, h, w) float32 and the truth (B, H, W), on the backbone's device.
    """
    recipe, device = setup.recipe, setup.backbone.description.device
    order = torch.randperm(first, generator=torch.Generator().manual_seed(recipe.seed * 1000 + epoch)).tolist()
    for start in tqdm(range(0, first, recipe.batch), desc=f"epoch {epoch + 1}/{recipe.epochs}", leave=False):
        chosen = order[start : start + recipe.batch]
        if len(chosen) < 2:
            continue  # batch norm needs two
        batch = [feature.float().to(device) for feature in stack_pyramids(features[i] for i in chosen)]
        truth = torch.stack([truths[i] for i in chosen]).to(device)
        if start // recipe.batch % 2 and setup.task != "referring":  # a phrase may name left and right
            batch, truth = [feature.flip(-1) for feature in batch], truth.flip(-1)
        yield batch, truth


@torch.no_grad()
def evaluate(
    setup: Setup, network: Any, features: Sequence[list[Tensor]], truths: Sequence[Tensor], max_metres: float
) -> dict[str, float]:
    """The published figures over these examples, at the size that the network sees."""
    device = setup.backbone.description.device
    network.eval()
    depths, counts, pairs = [], IoUCounts.zeros(max(1, len(setup.classes))), []
    for feature, truth in zip(features, truths, strict=True):
        batch = [level[None].float().to(device) for level in feature]
        size = (truth.shape[-2], truth.shape[-1])
        if setup.task == "depth":
            metres = network(batch, size, max_metres)[0].cpu()
            depths.append(depth_figures(metres, truth, truth > 0))
        elif setup.task == "segmentation":
            counts.add(enlarge_class_logits(network(batch)[0], size).argmax(dim=0).cpu().numpy(), truth.numpy())
        else:
            mask, object_ = enlarge_mask_logits(network(batch)[0], size).argmax(dim=0).cpu().bool(), truth.bool()
            pairs.append((int((mask & object_).sum()), int((mask | object_).sum())))
    if setup.task == "depth":
        return mean_figures(depths)
    return counts.figures() if setup.task == "segmentation" else referring_figures(pairs)


def card(setup: Setup, fitted: FittedAs, figures: Mapping[str, float], first: int, where: str) -> str:
    """The model card, Markdown. figures: of the head and of its baselines. where: the data of the measurement."""
    return "\n".join(
        [
            f"# A {fitted.task} head on {fitted.backbone}",
            "",
            f"VPD's {fitted.task} network on features of the frozen backbone {fitted.backbone} (revision "
            f"{fitted.revision}); U-Net and text encoder are unchanged. Fitted by `diffsight fit {fitted.task}` on "
            f"{first} examples, measured on {where}. It knows images like its training data, and no others.",
            "",
            f"Settings: {json.dumps(asdict(setup.recipe))}",
            *(["", f"Classes: {', '.join(fitted.classes)}"] if fitted.classes else []),
            "",
            "| figure | value |",
            "|---|---|",
            *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
            "",
        ]
    )
