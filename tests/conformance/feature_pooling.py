"""Replay of feature pooling: each case's inputs through our own code, each stored result compared.

Tolerances come from each case's info.json. A stored tensor that was neither an input nor compared fails the replay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backbones.engine import DirectEngine, complete
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.guided_diffusion import (
    PUBLISHED_256,
    GuidedDiffusionFlags,
    build_network,
    sinusoid,
    stock_state,
)
from backbones.loading.weight_files import fill
from backbones.noise_schedule import content_key, linear_alphas_cumprod, signal_and_noise_levels
from backbones.pixel_diffusion import PixelDiffusion
from backbones.rows import Capture, Captures
from heads.feature_pooling import published
from heads.feature_pooling.blocks import default_blocks, list_numbered_blocks
from heads.feature_pooling.checkpoint import load_weights
from heads.feature_pooling.classifier_heads import AttentionFusion, AttentionHead, PooledHead, hidden_widths
from heads.feature_pooling.features import make_noised_row, pool_features
from heads.feature_pooling.feedback import FeedbackLayers, feedback_features
from heads.feature_pooling.pooling import pool
from heads.feature_pooling.preprocess import CropDraw, evaluation_crop, fit_image, pixel_values, training_crop
from heads.feature_pooling.recipe import HeadRecipe, fit_head
from tests.conformance.checks import Check, TrackedTensors, compare, exact, fail_unchecked, read_json, read_tensors

Image = NDArray[np.uint8]


def replay(folder: Path) -> Iterator[Check]:
    """Checks of every case under `folder`, a folder each, and of the key manifests beside them."""
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            yield from _replay_case(case)
        except Exception as error:
            yield fail_unchecked(case.name, f"failed: {type(error).__name__}: {error}")
    for manifest in sorted(folder.glob("keys_*.json")):
        replay_manifest = _MANIFESTS.get(manifest.name)
        if replay_manifest is None:
            yield fail_unchecked(manifest.stem, "a manifest that no replay knows")
        else:
            yield from replay_manifest(manifest.stem, read_json(manifest))


class _Case:
    """One case: its settings, its tensors, and comparisons at its own tolerances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.info: dict[str, Any] = read_json(folder / "info.json")
        self.io = TrackedTensors(folder / "io.safetensors")

    def weights(self) -> dict[str, Tensor]:
        return {key: tensor.float() for key, tensor in read_tensors(self.folder / "weights.safetensors").items()}

    def compare(self, name: str, actual: Tensor, *, rule: str = "") -> Check:
        """Ours against the stored tensor `name`; `rule`: whose tolerance, where it is not the name's first part."""
        return self.compare_with(name, actual, self.io[name], rule or name.split(".")[0])

    def compare_with(self, quantity: str, actual: Tensor, expected: Tensor, rule: str) -> Check:
        bound = self.info["tolerance"][rule]
        return compare(self.name, quantity, actual, expected, bound["atol"], bound["rtol"])

    def images(self) -> list[Image]:
        return [self.io[name].numpy() for name in self.info["images"]]

    def find_matches(self, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
        """Stored tensors whose whole name fits the pattern."""
        for name in self.io:
            match = re.fullmatch(pattern, name)
            if match:
                yield name, match


def _replay_case(folder: Path) -> Iterator[Check]:
    if not (folder / "info.json").is_file():
        yield fail_unchecked(folder.name, "a folder without info.json")
        return
    case = _Case(folder)
    replay_kind = _KINDS.get(case.info["kind"])
    if replay_kind is None:
        yield fail_unchecked(case.name, f"a case of kind {case.info['kind']!r}")
        return
    yield exact(case.name, "stored tensors", set(case.io), set(case.info["tensors"]["io.safetensors"]))
    yield from replay_kind(case)
    yield from case.io.fail_unread(case.name)


def _replay_unet_features(case: _Case) -> Iterator[Check]:
    info, io = case.info, case.io
    backbone = _pixel_backbone(case)
    engine = DirectEngine(backbone)
    numbered = list_numbered_blocks(backbone.description.sub_blocks)
    yield exact(case.name, "num_blocks", len(numbered), info["num_blocks"])
    images = case.images()
    pixels = _crop_images(images, info["preprocess"])
    yield case.compare("x_start", torch.stack(pixels))
    labels = io["y"].tolist() if "y" in io else [None] * len(images)
    capture = Capture(output=True, features=numbered)
    shapes: dict[str, list[int]] = {}
    for timestep in info["timesteps"]:
        noise = io[f"noise.t{timestep}"]
        rows = [
            make_noised_row(engine.backbone, latents, drawn, timestep, None, capture, class_label=label)
            for latents, drawn, label in zip(pixels, noise, labels, strict=True)
        ]
        captures = complete(engine.unet(rows))
        if f"x_t.t{timestep}" in io:
            yield case.compare(f"x_t.t{timestep}", torch.stack([row.latents for row in rows]))
        if f"output_first.t{timestep}" in io:
            yield case.compare(f"output_first.t{timestep}", _outputs(captures[:1]))
        for name, match in case.find_matches(rf"feature\.t{timestep}\.b(\d+)"):
            yield case.compare(name, _features(captures, numbered[int(match[1]) - 1]))
        for name, match in case.find_matches(rf"pooled\.t{timestep}\.b(\d+)\.p(\d+)"):
            yield case.compare(name, pool(_features(captures, numbered[int(match[1]) - 1]), int(match[2])))
        shapes = {str(at + 1): list(captures[0].features[name].shape) for at, name in enumerate(numbered)}
    yield exact(case.name, "block_shapes", shapes, info["block_shapes"])

    # The whole procedure at once, image to vector, with the stored noise in place of our own.
    timestep, side = info["timesteps"][0], info["preprocess"]["size"]
    for pool_size in (size for size in info["pool_sizes"] if size <= side):
        embeddings = complete(
            pool_features(
                engine,
                images,
                blocks=info["blocks"],
                timesteps=[timestep],
                pool_size=pool_size,
                class_labels=io["y"].tolist() if "y" in io else None,
                noise=_read_noise(pixels, io[f"noise.t{timestep}"]),
            )
        )
        names = [f"pooled.t{timestep}.b{block}.p{pool_size}" for block in sorted(info["blocks"])]
        if all(name in io for name in names):
            expected = torch.cat([io[name] for name in names], dim=1)
            quantity = f"pooled_features.t{timestep}.p{pool_size}"
            yield case.compare_with(quantity, torch.from_numpy(embeddings.vectors), expected, "pooled")


def _replay_stable_diffusion(case: _Case) -> Iterator[Check]:
    info, io = case.info, case.io
    model = load_diffusers_folder(case.folder / info["model_folder"])
    engine = DirectEngine(model)
    backbone = engine.backbone
    numbered = list_numbered_blocks(backbone.sub_blocks)
    blocks = {str(at + 1): name for at, name in enumerate(numbered)}
    yield exact(case.name, "block_modules", blocks, info["block_modules"])
    yield exact(case.name, "scaling_factor", backbone.scaling_factor, info["scaling_factor"])
    images = case.images()
    pixels = _crop_images(images, info["preprocess"])
    yield case.compare("x_start", torch.stack(pixels))
    means = complete(engine.encode(pixels))
    yield case.compare("latents_mean", torch.stack(means))
    yield exact(case.name, "input_ids", model.prompt_ids([info["prompt"]]), io["input_ids"])
    context = complete(engine.embed([info["prompt"]]))[0]
    yield case.compare("context", context[None])

    latents = [mean * backbone.scaling_factor for mean in means]
    modules = tuple(info["module_shapes"])
    capture = Capture(output=True, features=modules)
    for run in info["runs"]:
        tag, timestep = run["tag"], run["timestep"]
        noises: Sequence[Tensor | None] = list(io[f"noise.{tag}"]) if run["noise"] else [None] * len(images)
        rows = [
            make_noised_row(backbone, clean, noise, timestep, context, capture)
            for clean, noise in zip(latents, noises, strict=True)
        ]
        captures = complete(engine.unet(rows))
        yield case.compare(f"x_t.{tag}", torch.stack([row.latents for row in rows]))
        yield case.compare(f"output.{tag}", _outputs(captures))
        for name, match in case.find_matches(rf"feature\.{re.escape(tag)}\.(.+)"):
            yield case.compare(name, _features(captures, match[1]))
        for name, match in case.find_matches(rf"pooled\.{re.escape(tag)}\.(.+)\.p(\d+)"):
            yield case.compare(name, pool(_features(captures, match[1]), int(match[2])))
        shapes = {name: list(captures[0].features[name].shape) for name in modules}
        yield exact(case.name, f"module_shapes.{tag}", shapes, info["module_shapes"])

        # The whole procedure at once, with the defaults that a caller gets.
        options: dict[str, Any] = {"noise_samples": 0}
        if run["noise"]:
            options = {"noise": _read_noise(pixels, io[f"noise.{tag}"])}
        embeddings = complete(pool_features(engine, images, timesteps=[timestep], **options))
        expected = torch.cat([io[f"pooled.{tag}.{name}.p1"] for name in default_blocks(backbone.sub_blocks)], dim=1)
        yield case.compare_with(f"pooled_features.{tag}", torch.from_numpy(embeddings.vectors), expected, "pooled")


def _replay_schedule(case: _Case) -> Iterator[Check]:
    signal, spread = signal_and_noise_levels(_alphas_cumprod(case.info["diffusion"]))
    yield case.compare("sqrt_alphas_cumprod", signal)
    yield case.compare("sqrt_one_minus_alphas_cumprod", spread)
    timesteps = torch.tensor(case.info["timesteps"])
    yield case.compare("timestep_embedding", sinusoid(case.info["embedding_dim"])(timesteps))


def _replay_preprocess(case: _Case) -> Iterator[Check]:
    bound = case.info["tolerance"]
    for settings in case.info["cases"]:
        index = settings["image"].removeprefix("image_")
        image: Image = case.io[settings["image"]].numpy()
        if settings["mode"] == "center_crop":
            crop = evaluation_crop(image, settings["size"])
        elif settings["mode"] == "random_crop":
            draw = CropDraw(settings["smaller_side"], settings["crop_y"], settings["crop_x"], settings["flip"])
            crop = training_crop(image, settings["size"], draw)
        else:
            yield fail_unchecked(case.name, f"preprocessing of mode {settings['mode']!r}")
            continue
        actual, expected = torch.from_numpy(crop.copy()), case.io[f"crop_{index}"]
        yield compare(case.name, f"crop_{index}", actual, expected, bound["crop"]["max_abs_difference"])
        most = bound["crop"]["share_of_values_that_may_differ"]
        yield _share_beyond(case.name, f"crop_{index} (share)", actual, expected, 0.0, most)
        actual, expected = pixel_values(crop), case.io[f"tensor_{index}"]
        yield compare(case.name, f"tensor_{index}", actual, expected, bound["tensor"]["atol"], bound["tensor"]["rtol"])
        for key, most in bound["tensor"].items():
            if key.startswith("share_beyond_"):
                threshold = float(key.removeprefix("share_beyond_"))
                yield _share_beyond(case.name, f"tensor_{index} (share)", actual, expected, threshold, most)


@torch.no_grad()
def _replay_head_linear(case: _Case) -> Iterator[Check]:
    info = case.info
    head = _load_module(_linear_head(info), case.weights(), case.name)
    features = [case.io[name] for name, _ in case.find_matches(r"feature\..+")]
    yield exact(case.name, "feature maps", len(features), 1)
    yield case.compare("flattened", pool(features[0], info["pre_pool_size"]))
    yield case.compare("logits", head(*features))


@torch.no_grad()
def _replay_attention_fusion(case: _Case) -> Iterator[Check]:
    info = case.info
    head = _load_module(_fusion_head(info, info["blocks"], info["timesteps"]), case.weights(), case.name)
    features = [case.io[f"feature.t{timestep}.b{block}"] for timestep in info["timesteps"] for block in info["blocks"]]
    yield case.compare("logits", head(*features))


@torch.no_grad()
def _replay_attention_head(case: _Case) -> Iterator[Check]:
    # Unknown words are passed over as in the original, which the case comes from.
    head = AttentionHead(case.info["layer_string"], ignore_unknown=True)
    yield case.compare("output", _load_module(head, case.weights(), case.name)(case.io["input"]))


@torch.no_grad()
def _replay_pipeline(case: _Case) -> Iterator[Check]:
    info = case.info
    backbone = _pixel_backbone(_Case(case.folder.parent / info["unet_case"]))
    engine = DirectEngine(backbone)
    numbered = list_numbered_blocks(backbone.description.sub_blocks)
    weights = case.weights()
    first, second, fed_back = info["first_fw_b_list"], info["second_fw_b_list"], info["feedback_b_list"]
    if info["head_type"] == "linear":
        blocks = [*first, *second]
        channels = {"in_channels": info["block_channels"][str(blocks[0])]} if len(blocks) == 1 else {}
        head: nn.Module = _linear_head({**info, **channels})
    else:
        named = {"in_channels": info["block_channels"], "in_size": info["block_sizes"]}
        head = _fusion_head({**info, **named}, [*first, *second], info["t_list"])
    _load_module(head, _under(weights, "head."), case.name)
    feedback = None
    if fed_back:
        all_channels = {
            at + 1: captured.shape[0] for at, captured in enumerate(_every_block(engine, numbered, info["preprocess"]))
        }
        feedback = FeedbackLayers(fed_back, all_channels, info["feedback_arch"])
        _load_module(feedback, _under(weights, "feedback_layers."), case.name)

    pixels = _crop_images(case.images(), info["preprocess"])
    features: list[Tensor] = []
    for timestep in info["t_list"]:
        # Where there is no feedback, only the first pass runs. The original hands features out in order of depth.
        capture = Capture(features=tuple(numbered[block - 1] for block in sorted(first)))
        rows = [
            make_noised_row(engine.backbone, clean, noise, timestep, None, capture)
            for clean, noise in zip(pixels, case.io[f"noise.t{timestep}"], strict=True)
        ]
        if feedback is None:
            captures = complete(engine.unet(rows))
            features += [_features(captures, name) for name in capture.features]
        else:
            noised = torch.stack([row.latents for row in rows])
            plain, fed = feedback_features(backbone, noised, timestep, feedback, first=first, second=second)
            features += [plain[block] for block in first] + [fed[block] for block in sorted(second)]
    yield case.compare("logits", head(*features))


def _replay_training(case: _Case) -> Iterator[Check]:
    info, optimiser = case.info, case.info["optimiser"]
    schedule = re.fullmatch(r"lr x 0\.1 every (\d+) epochs", optimiser["schedule"])
    if schedule is None or optimiser["name"] != "SGD" or optimiser["momentum"] or optimiser["weight_decay"]:
        yield fail_unchecked(case.name, f"training with {optimiser}")
        return
    if info["head_type"] == "linear":
        head: nn.Module = _linear_head(info)
    else:
        block = str(info["block"])
        named = {"in_channels": {block: info["in_channels"]}, "in_size": {block: info["in_size"]}}
        head = _fusion_head({**info, **named}, [info["block"]], [0])
    _load_module(head, case.weights(), case.name)
    features = case.io["features"]
    recipe = HeadRecipe(optimiser["lr"], info["batch_size"], info["epochs"], int(schedule[1]))
    losses = fit_head(head, [features], case.io["labels"], recipe, sample_order=case.io["sample_order"])
    yield case.compare("losses", torch.tensor(losses))
    expected = read_tensors(case.folder / "final_weights.safetensors")
    own = head.state_dict()
    yield exact(case.name, "final_weights keys", set(own), set(expected))
    for key in sorted(own.keys() & expected.keys()):
        yield case.compare_with(f"final_weights.{key}", own[key], expected[key], "final_weights")
    with torch.no_grad():
        yield case.compare("logits", head(features))


def _replay_backbone_manifest(case: str, shapes: Mapping[str, Sequence[int]]) -> Iterator[Check]:
    meta = torch.device("meta")
    network = build_network(PUBLISHED_256, meta)
    state = {key: torch.empty(*shape, device=meta) for key, shape in shapes.items()}
    renamed = {key: tensor.shape for key, tensor in stock_state(state, PUBLISHED_256).items()}
    yield exact(case, "keys and shapes", renamed, {key: tensor.shape for key, tensor in network.state_dict().items()})
    count = sum(tensor.numel() for tensor in state.values())
    yield exact(case, "parameters", sum(parameter.numel() for parameter in network.parameters()), count)


def _replay_heads_manifest(case: str, heads: Mapping[str, Mapping[str, Any]]) -> Iterator[Check]:
    fusion = {"blocks": published.FUSION_BLOCKS, "timesteps": len(published.FUSION_TIMESTEPS)}
    with torch.device("meta"):
        ours: dict[str, dict[str, nn.Module]] = {
            "linear": {"model_head": published.linear_head()},
            "attention": {"model_head": published.attention_head()},
            "fusion": {"model_head": published.attention_head(**fusion)},  # type: ignore[arg-type]
            "feedback": {"model_head": published.attention_head(), "model_feedback": published.feedback_layers()},
        }
    for name, parts in heads.items():
        if name not in ours:
            yield fail_unchecked(case, name)
            continue
        yield exact(case, f"{name} parts", set(ours[name]), set(parts))
        for part, module in ours[name].items():
            shapes = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
            yield exact(case, f"{name}.{part}", shapes, parts.get(part))


_KINDS: dict[str, Callable[[_Case], Iterator[Check]]] = {
    "unet_features": _replay_unet_features,
    "stable_diffusion_features": _replay_stable_diffusion,
    "schedule": _replay_schedule,
    "preprocess": _replay_preprocess,
    "head_linear": _replay_head_linear,
    "head_attention_fusion": _replay_attention_fusion,
    "attention_head": _replay_attention_head,
    "pipeline": _replay_pipeline,
    "training": _replay_training,
}
_MANIFESTS: dict[str, Callable[[str, Any], Iterator[Check]]] = {
    "keys_256x256_uncond.json": _replay_backbone_manifest,
    "keys_heads.json": _replay_heads_manifest,
}


def _pixel_backbone(case: _Case) -> PixelDiffusion:
    settings = case.info["unet"]
    flags = GuidedDiffusionFlags(
        image_size=settings["image_size"],
        num_channels=settings["model_channels"],
        channel_mult=tuple(settings["channel_mult"]),
        num_res_blocks=settings["num_res_blocks"],
        attention_factors=tuple(settings["attention_resolutions"]),
        num_head_channels=settings["num_head_channels"],
        num_classes=settings["num_classes"] or 0,
        learn_sigma=settings["out_channels"] == 2 * settings["in_channels"],
        resblock_updown=settings["resblock_updown"],
        use_scale_shift_norm=settings["use_scale_shift_norm"],
        use_new_attention_order=settings["use_new_attention_order"],
    )
    network = build_network(flags, torch.device("meta"))
    fill(network, stock_state(case.weights(), flags), case.name, torch.float32)
    alphas_cumprod = _alphas_cumprod(case.info["diffusion"])
    return PixelDiffusion(name=case.name, unet=network, revision=case.name, alphas_cumprod=alphas_cumprod)


def _alphas_cumprod(diffusion: Mapping[str, Any]) -> Tensor:
    if diffusion != {"steps": 1000, "noise_schedule": "linear", "rescale_timesteps": False}:
        raise ValueError(f"a noise schedule that no replay knows: {diffusion}")
    return linear_alphas_cumprod(steps=diffusion["steps"])


def _crop_images(images: Sequence[Image], settings: Mapping[str, Any]) -> list[Tensor]:
    if settings["mode"] != "center_crop":
        raise ValueError(f"preprocessing of mode {settings['mode']!r}")
    return [pixel_values(fit_image(image, settings["size"], "crop")) for image in images]


def _linear_head(info: Mapping[str, Any]) -> PooledHead:
    return PooledHead(info["in_channels"], info["pre_pool_size"], info["num_classes"], hidden_widths(info["head_arc"]))


def _fusion_head(info: Mapping[str, Any], blocks: Sequence[int], timesteps: Sequence[int]) -> AttentionFusion:
    return AttentionFusion(
        blocks,
        {int(block): channels for block, channels in info["in_channels"].items()},
        {int(block): side for block, side in info["in_size"].items()},
        num_classes=info["num_classes"],
        fusion_arc=info["fusion_arc"],
        timesteps=len(timesteps),
        pre_pool_size=info["pre_pool_size"],
        norm_type=info["norm_type"],
        ignore_unknown=True,
    )


def _load_module(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> nn.Module:
    load_weights(module, weights, source)
    return module.eval()


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def _every_block(engine: DirectEngine, numbered: tuple[str, ...], settings: Mapping[str, Any]) -> list[Tensor]:
    """A feature map of each numbered block, for its shape."""
    pixels = torch.zeros(engine.backbone.latent_channels, settings["size"], settings["size"])
    row = make_noised_row(engine.backbone, pixels, None, 0, None, Capture(features=numbered))
    captured = complete(engine.unet([row]))[0]
    return [captured.features[name] for name in numbered]


def _features(captures: Sequence[Captures], name: str) -> Tensor:
    return torch.stack([capture.features[name] for capture in captures])


def _outputs(captures: Sequence[Captures]) -> Tensor:
    return torch.stack([capture.output for capture in captures if capture.output is not None])


def _read_noise(pixels: Sequence[Tensor], noise: Tensor) -> Callable[[bytes, int, Sequence[int]], Tensor]:
    """A source of noise that gives each image the case's own draw."""
    by_image = {content_key(image_pixels): drawn for image_pixels, drawn in zip(pixels, noise, strict=True)}
    return lambda content, index, shape: by_image[content]


def _share_beyond(case: str, quantity: str, actual: Tensor, expected: Tensor, threshold: float, most: float) -> Check:
    """The share of values that differ by more than `threshold`; it may be `most`."""
    if actual.shape != expected.shape:
        return fail_unchecked(case, quantity)
    share = float(((actual.double() - expected.double()).abs() > threshold).double().mean())
    return Check(case, quantity, share, most, share <= most, f"share beyond {threshold:g}")
