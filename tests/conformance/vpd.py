"""Replay of VPD: each case's image through our own code with the case's weights, each stored result compared.

Tolerances and sizes come from each case's info.json. A stored tensor that nothing reads fails the replay.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from backbones.engine import DirectEngine, complete
from backbones.loading.published_keys import vae_encoder_keys
from backbones.loading.variants import build_variant
from backbones.stable_diffusion import StableDiffusion
from diffsight.doctor.originals import VPD, vpd_backbone
from heads.images import pad_to_multiple, to_pixel_values
from heads.vpd.checkpoint import NETWORKS, OriginalParts, build_published_head, split_original
from heads.vpd.depth import choose_context, depth_of_pixels, predict_depth
from heads.vpd.features import level_maps, make_row, pyramid, stack_pyramids
from heads.vpd.heads import DenseTask, DepthHead, ReferringHead, SegmentationHead
from heads.vpd.metrics import depth_figures, silog_loss, valid_depth
from heads.vpd.published_keys import head_keys, unet_keys
from heads.vpd.referring import enlarge_mask_logits, referring_logits
from heads.vpd.segmentation import slide_probabilities
from heads.vpd.windows import flip_maps
from tests.conformance.checks import Check, TrackedTensors, compare, exact, fail_unchecked, read_json, read_tensors


def replay(folder: Path) -> Iterator[Check]:
    """Checks of every case under `folder`, a folder each."""
    for case in sorted(path for path in folder.iterdir() if (path / "info.json").is_file()):
        try:
            yield from _replay_case(case)
        except Exception as error:
            yield fail_unchecked(case.name, f"failed: {type(error).__name__}: {error}")


class _Case:
    """One case: its settings, tensors, networks, and comparisons at its own tolerances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.info: dict[str, Any] = read_json(folder / "info.json")
        self.settings: dict[str, Any] = self.info["settings"]
        self.io = TrackedTensors(folder / "io.safetensors")
        half = self.io["image_half"].numpy()
        factor = self.settings["image_enlarge"]
        self.image = half.repeat(factor, axis=0).repeat(factor, axis=1)

    def parts(self, task: DenseTask) -> OriginalParts:
        own = self.folder / "weights.safetensors"
        # The weights of the committed case are in the package, whose doctor replays it too.
        stored = read_tensors(own if own.is_file() else VPD)
        tensors = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in stored.items()}
        return split_original(tensors, task, self.name)

    def bound(self, name: str) -> dict[str, float]:
        rules: dict[str, dict[str, float]] = self.info["tolerance"]
        if name in rules:
            return rules[name]
        return next(bound for rule, bound in rules.items() if fnmatch.fnmatchcase(name, rule))

    def compare(self, name: str, actual: Tensor) -> Check:
        bound, expected = self.bound(name), self.io[name]
        if "max_fraction_of_pixels" in bound:
            most = bound["max_fraction_of_pixels"]
            if actual.shape != expected.shape:
                return compare(self.name, name, actual, expected, 0.0)
            share = float((actual.cpu().long() != expected.long()).double().mean())
            return Check(self.name, name, share, most, share <= most, "share of pixels")
        return compare(self.name, name, actual, expected, bound["atol"], bound["rtol"])


def _replay_case(folder: Path) -> Iterator[Check]:
    kind = read_json(folder / "info.json")["kind"]
    if kind == "key_manifest":
        yield from _replay_keys(folder)
        return
    kinds = {"depth": _replay_depth, "segmentation": _replay_segmentation, "referring": _replay_referring}
    if kind not in kinds:
        yield fail_unchecked(folder.name, f"a case of kind {kind!r}")
        return
    case = _Case(folder)
    yield from kinds[kind](case)
    yield from case.io.fail_unread(case.name)


def _backbone(case: _Case, parts: OriginalParts, *, lent: tuple[str, ...] = ()) -> StableDiffusion:
    """The case's own U-Net and VAE as a backbone."""
    unet, vae = case.settings["unet"], case.settings["vae"]
    return vpd_backbone(
        parts,
        case.name,
        attention_heads=unet["num_attention_heads"],
        unet_groups=unet["norm_num_groups"],
        vae_groups=vae["norm_num_groups"],
        lent=lent,
    )


def _engine(case: _Case, task: DenseTask) -> tuple[DirectEngine, Any]:
    """The engine, and the head whose U-Net is a variant as the product loads it."""
    parts = case.parts(task)
    lent = ("conv_norm_out.", "conv_out.") if task == "depth" else ()
    backbone = _backbone(case, parts, lent=lent)
    variant = build_variant(backbone, parts.unet, source=case.name, revision=case.name, from_backbone=lent)
    backbone.add_variant(task, variant)
    size = case.settings["input_size" if task == "depth" else "base_size"]
    return DirectEngine(backbone), build_published_head(backbone, task, parts.head, case.name, variant=task, size=size)


@torch.no_grad()
def _replay_depth(case: _Case) -> Iterator[Check]:
    settings = case.settings
    engine, head = _engine(case, "depth")
    assert isinstance(head, DepthHead)
    left, right = settings["single_crop_x"]
    pixels = to_pixel_values(case.image[: settings["input_size"], left:right])
    padded = pad_to_multiple(pixels, head.layers.stride)
    yield exact(case.name, "padded_size", padded.shape[-1], settings["padded_size"])
    context, _ = choose_context(head, settings["single_scene"])
    (latents,) = complete(engine.encode([padded]))
    yield case.compare("latents", latents[None])
    yield case.compare("context", context[None])
    (captures,) = complete(engine.unet([make_row(latents, context, head.layers.capture(maps=False), head.variant)]))
    features = pyramid(captures, head.layers, maps=False)
    for level, feature in enumerate(features):
        yield case.compare(f"feature_{level}", feature[None])
    yield case.compare("encoder_out", head.network.encoder(stack_pyramids([features])))
    (metres,) = complete(depth_of_pixels(engine, [pixels], head, context))
    stride = settings["depth_stored_stride"]
    yield case.compare("depth", metres[None, None, ::stride, ::stride])

    protocol = settings["protocol"]
    depth_map = complete(
        predict_depth(
            engine,
            case.image,
            head,
            scene=protocol["scene"],
            protocol="published",
            windows=len(protocol["windows_x"]),
            flip=protocol["flip"],
        )
    )
    stride = protocol["stored_stride"]
    yield case.compare("depth_protocol", torch.from_numpy(depth_map.metres)[None, None, ::stride, ::stride])
    yield from _replay_metrics(case)


def _replay_metrics(case: _Case) -> Iterator[Check]:
    settings = case.settings["metrics"]
    canvas, enlarge = tuple(settings["canvas"]), settings["enlarge"]

    def place(small: Tensor, fill_value: float) -> Tensor:
        large = small.repeat_interleave(enlarge, 0).repeat_interleave(enlarge, 1)[: canvas[0], : canvas[1]]
        whole = torch.full(canvas, fill_value)
        whole[: large.shape[0], : large.shape[1]] = large
        return whole

    predicted = place(case.io["depth_protocol"][0, 0], settings["prediction_fill"])
    truth = place(case.io["metric_truth_mm"].float() / 1000, settings["truth_fill"])
    figures = depth_figures(predicted, truth, valid_depth(truth, eigen=True))
    figures["silog_loss"] = float(silog_loss(predicted, truth))
    expected: Mapping[str, float] = read_json(case.folder / "expected.json")["metrics"]
    yield exact(case.name, "metrics", set(figures), set(expected))
    atol = case.info["tolerance"]["metrics"]["atol"]
    for name, value in expected.items():
        if name == "n_valid":
            yield exact(case.name, name, figures[name], value)
        else:
            yield compare(case.name, name, torch.tensor(figures[name]), torch.tensor(value), atol)


@torch.no_grad()
def _replay_segmentation(case: _Case) -> Iterator[Check]:
    settings = case.settings
    engine, head = _engine(case, "segmentation")
    assert isinstance(head, SegmentationHead)
    left, right = settings["single_crop_x"]
    pixels = to_pixel_values(case.image[: settings["base_size"], left:right])
    (latents,) = complete(engine.encode([pixels]))
    yield case.compare("latents", latents[None])
    yield case.compare("context", head.contexts[None])
    capture = head.layers.capture(maps=True)
    (captures,) = complete(engine.unet([make_row(latents, head.contexts, capture, head.variant)]))
    for name in capture.attention_maps:
        attention_map = captures.attention_maps[name].flatten(1).T
        yield case.compare(f"map.{name.partition('.transformer_blocks')[0]}", attention_map[None])
    for level, level_map in enumerate(level_maps(captures, head.layers), start=1):
        yield case.compare(f"attn_level{level}", level_map[None])
    features = pyramid(captures, head.layers, maps=True)
    for level, feature in enumerate(features):
        yield case.compare(f"feature_{level}", feature[None])
    batch = stack_pyramids([features])
    for level, neck_map in enumerate(head.network.neck(batch)):
        yield case.compare(f"neck_{level}", neck_map)
    yield case.compare("logits", head.network(batch))

    slide = settings["slide"]
    yield exact(case.name, "slide crop", slide["crop"], head.size)
    yield exact(case.name, "slide stride", slide["stride"], head.size * 2 // 3)
    whole, size = to_pixel_values(case.image), (slide["output_size"][0], slide["output_size"][1])
    plain = complete(slide_probabilities(engine, whole, head, size, stride=slide["stride"]))
    mirror = flip_maps(complete(slide_probabilities(engine, flip_maps(whole), head, size, stride=slide["stride"])))
    stride = slide["probabilities_stored_stride"]
    yield case.compare("probabilities_slide", plain[None, :, ::stride, ::stride])
    yield case.compare("pred_slide", plain.argmax(dim=0))
    yield case.compare("pred_slide_flip", ((plain + mirror) / 2).argmax(dim=0))


@torch.no_grad()
def _replay_referring(case: _Case) -> Iterator[Check]:
    settings = case.settings
    engine, head = _engine(case, "referring")
    assert isinstance(head, ReferringHead)
    yield exact(case.name, "token_length", head.tokens, settings["token_length"])
    pixels = to_pixel_values(case.image)
    text = case.io["text_features"][0]
    context = head.network.context(text)
    (latents,) = complete(engine.encode([pixels]))
    yield case.compare("latents", latents[None])
    yield case.compare("context", context[None])
    capture = head.layers.capture(maps=True)
    (captures,) = complete(engine.unet([make_row(latents, context, capture, head.variant)]))
    features = pyramid(captures, head.layers, maps=True)
    for level, feature in enumerate(features):
        yield case.compare(f"feature_{level}", feature[None])
    small = head.network(stack_pyramids([features]))
    yield case.compare("logits", small)
    (whole,) = complete(referring_logits(engine, pixels, head, [text]))
    yield exact(
        case.name,
        "enlarged",
        torch.equal(whole, enlarge_mask_logits(small[0], (whole.shape[-2], whole.shape[-1]))),
        True,
    )
    stride = settings["logits_full_stored_stride"]
    yield case.compare("logits_full", whole[None, :, ::stride, ::stride])
    yield case.compare("mask", functional.softmax(whole, dim=0).argmax(dim=0)[None])


def _replay_keys(folder: Path) -> Iterator[Check]:
    """The full-size names and shapes are those that checkpoints are held to, and make our networks."""
    for name in read_json(folder / "info.json")["settings"]["entries"]:
        task = name.partition("_")[0]
        shapes = {key: tuple(shape) for key, shape in read_json(folder / f"{name}.json").items()}
        tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        parts = split_original(tensors, task, name)
        for part, stored, ours in (
            ("unet", parts.unet, unet_keys(task)),
            ("vae", parts.vae, vae_encoder_keys()),
            ("head", parts.head, head_keys(task)),
        ):
            yield exact(
                folder.name, f"{name} {part}", {key: tuple(tensor.shape) for key, tensor in stored.items()}, ours
            )
        network = NETWORKS[task](parts.head, name)
        built = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        yield exact(folder.name, f"{name} network", built, {key: shapes[key] for key in parts.head})
