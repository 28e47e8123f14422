"""Replay of DiffewS cases through heads/diffews on the direct engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.loading.diffusers_folder import load_part, load_tokenizer, read_schedule
from backbones.loading.published_keys import sd2_unet_keys
from backbones.loading.stock_networks import build_text_encoder, build_unet, build_vae
from backbones.loading.weight_files import fill
from backbones.loading.weight_files import read_tensors as read_weights
from backbones.rows import Bank, Capture, KeysValues
from backbones.stable_diffusion import StableDiffusion, Variant
from heads.diffews.bank import (
    TIMESTEP,
    VARIANT,
    bank_capture,
    bank_tensors,
    concatenate_banks,
    prompt_context,
    support_row,
)
from heads.diffews.checkpoint import load_few_shot
from heads.diffews.episodes import Episode, draw_episodes, list_episodes
from heads.diffews.evaluate import Labelled, run_episodes, scores_of
from heads.diffews.metrics import areas, scores
from heads.diffews.preprocess import mask_pixel_values, pixel_values, resize_labels
from heads.diffews.published_keys import unet_keys
from heads.diffews.segment import mask_latents, query_row
from heads.diffews.threshold import Threshold, cut, levels
from tests.conformance.checks import Check, TrackedTensors, compare, exact, fail_unchecked, read_json
from training.few_shot import episode_loss


def replay(folder: Path) -> Iterator[Check]:
    """Every case in a folder laid out like the shared one, each case naming its own weights."""
    for file in sorted(folder.glob("*/info.json")):
        case, info = file.parent, read_json(file)
        kind = _KINDS.get(info["kind"])
        if kind is None:
            yield fail_unchecked(case.name, f"kind {info['kind']}")
            continue
        stored = [case / f"{which}.safetensors" for which in ("inputs", "expected")]
        inputs, expected = (TrackedTensors(array) if array.is_file() else None for array in stored)
        yield from kind(case, info, inputs, expected)
        for tensors in (inputs, expected):
            yield from tensors.fail_unread(case.name) if tensors is not None else ()


def _preprocess(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    size, tolerance = info["image_size"], info["tolerance"]
    for number, class_id in info["class_id"].items():
        image = pixel_values(inputs[f"image.{number}"].numpy(), size)
        yield compare(case.name, f"image.{number}", image, expected[f"image.{number}"], *tolerance["image"])
        labels = torch.from_numpy(resize_labels(inputs[f"label.{number}"].numpy(), size))
        mask = (labels == class_id + 1).to(torch.uint8)
        yield exact(case.name, f"mask.{number}", mask, expected[f"mask.{number}"])
        ignored = (labels == 255).to(torch.uint8)
        yield exact(case.name, f"ignore.{number}", ignored, expected[f"ignore.{number}"])
        name = f"support_mask_rgb.{number}"
        if name in expected:
            yield exact(case.name, name, mask_pixel_values(mask.numpy()).to(torch.int8), expected[name])


def _segment(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    """Queries that share one support set, or (`segment_batch`) have their own, in one batch."""
    engine, tolerance = _engine(case, info), info["tolerance"]
    own_supports = info["kind"] == "segment_batch"
    scale = engine.backbone.scaling_factor
    yield exact(case.name, "latent_scale", scale, info["latent_scale"])
    yield exact(case.name, "timestep", TIMESTEP, info["timestep"])
    context = complete(prompt_context(engine))
    if "text_embeds" in expected:
        yield exact(case.name, "prompt_token_ids", list(engine.tokenize([""])[0]), info["prompt_token_ids"])
        yield _compare(case, "text_embeds", context[None], expected, tolerance)

    size = info["image_size"]
    support_images = [pixel_values(support_image.numpy(), size) for support_image in inputs["support_images"]]
    support_masks = [mask_pixel_values(support_mask.numpy()) for support_mask in inputs["support_masks"]]
    query_images = [pixel_values(query_image.numpy(), size) for query_image in inputs["query_images"]]
    image_latents, painted, query_latents = (
        [latent * scale for latent in complete(engine.encode(pixels))]
        for pixels in (support_images, support_masks, query_images)
    )
    yield _compare(case, "query_latents", torch.stack(query_latents), expected, tolerance)
    for name, latents in (("support_image_latents", image_latents), ("support_mask_latents", painted)):
        if name in expected:
            yield _compare(case, name, torch.stack(latents), expected, tolerance)

    layers = engine.backbone.self_attentions
    capture = Capture(output=True, keys_values=bank_capture(layers).keys_values)
    rows = [support_row(*pair, context, capture) for pair in zip(image_latents, painted, strict=True)]
    supports = complete(engine.unet(rows))
    if not own_supports:
        outputs = torch.stack([support.output for support in supports if support.output is not None])
        yield _compare(case, "support_unet_output", outputs, expected, tolerance)
        yield from _bank(case, [support.keys_values for support in supports], expected, tolerance["bank"])
    shots = info["shots"]
    banks = [
        concatenate_banks(
            [support.keys_values for support in (supports[q * shots : (q + 1) * shots] if own_supports else supports)]
        )
        for q in range(info["queries"])
    ]
    # A row that stops at its last self-attention gives the same bank.
    early = complete(engine.unet([support_row(image_latents[0], painted[0], context, bank_capture(layers))]))[0]
    yield from _same_bank(case, early.keys_values, supports[0].keys_values)

    queries = [query_row(latents, context, bank) for latents, bank in zip(query_latents, banks, strict=True)]
    captures = complete(engine.unet(queries))
    output = torch.stack([capture.output for capture in captures if capture.output is not None])
    yield _compare(case, "unet_output", output, expected, tolerance)
    yield _compare(case, "x0_latents", torch.stack(mask_latents(captures, 1.0)), expected, tolerance)
    decoded = torch.stack(complete(engine.decode(mask_latents(captures, scale))))
    every = decoded.shape[-1] // expected["decoded"].shape[-1]  # the fixtures keep every second pixel
    yield _compare(case, "decoded", decoded[:, :, ::every, ::every], expected, tolerance)
    rgb = levels(decoded)
    yield from _levels(case, rgb.permute(0, 2, 3, 1), expected["rgb_uint8"], tolerance["rgb_uint8"])
    for name, threshold in (
        ("mask", Threshold("relative", info["r_threshold"]) if "mask" in expected else None),
        ("mask_absolute", Threshold("absolute", info["absolute_threshold"]) if "mask_absolute" in expected else None),
    ):
        if threshold is not None:
            masks = torch.stack([cut(picture, threshold) for picture in rgb])
            most = tolerance["mask"]["max_fraction_of_pixels"]
            yield _fraction(case, name, masks, expected[name], most)
    _ = inputs["query_masks"]  # scored in `evaluation`; here they only say what the pictures show


def _bank(case: Path, banks: list[Any], expected: TrackedTensors, tolerance: Any) -> Iterator[Check]:
    stored = {name.removeprefix("bank.") for name in expected if name.startswith("bank.")}
    tensors_of_banks = [bank_tensors(bank) for bank in banks]
    yield exact(case.name, "bank layers", set(tensors_of_banks[0]), stored)
    for name in sorted(stored & set(tensors_of_banks[0])):
        ours = torch.stack([tensors[name] for tensors in tensors_of_banks])
        yield compare(case.name, f"bank.{name}", ours, expected[f"bank.{name}"], *tolerance)


def _same_bank(case: Path, early: Mapping[str, KeysValues], whole: Bank) -> Iterator[Check]:
    pairs = bank_tensors(early), bank_tensors(whole)
    worst = max(float((pair - pairs[1][name]).abs().max()) for name, pair in pairs[0].items())
    yield compare(case.name, "bank of a row that stops early", torch.tensor(worst), torch.tensor(0.0), 3e-3)


def _threshold(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    for name in inputs:
        rgb = inputs[name].permute(2, 0, 1)
        kinds: tuple[Literal["relative"], Literal["absolute"]] = ("relative", "absolute")
        for kind in kinds:
            for value in info[kind]:
                stored = f"mask_{kind}_{value:g}.{name.removeprefix('rgb.')}"
                mask = cut(rgb, Threshold(kind, value)).to(torch.uint8)
                yield exact(case.name, stored, mask, expected[stored])


def _metrics(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    tolerance = info["tolerance"]
    for name, figures in info["expected"].items():
        truth, predicted, ignored, classes = (
            inputs[f"{name}.{part}"].numpy() for part in ("ground_truth", "prediction", "ignore", "class_id")
        )
        pairs = [areas(*masks) for masks in zip(predicted, truth, ignored, strict=True)]
        inner, outer = zip(*pairs, strict=True)
        for part, ours in (("area_intersection", inner), ("area_union", outer)):
            array = torch.from_numpy(np.stack(ours)).float()
            yield exact(case.name, f"{name}.{part}", array, expected[f"{name}.{part}"])
        result = scores(figures["class_ids"], classes.tolist(), inner, outer)
        yield from _percent(case, name, result, figures, tolerance)
        stored = f"{name}.class_iou_foreground"
        ours_iou = torch.tensor(result.class_iou)
        yield compare(case.name, stored, ours_iou, expected[stored], tolerance["class_iou_foreground"])


def _episodes(case: Path, info: Any, inputs: None, expected: None) -> Iterator[Check]:
    names = {int(class_id): files for class_id, files in info["files_by_class"].items()}
    for run, expected_scores in info["expected_episodes"].items():
        shots = int(run.partition("_")[0])
        random = np.random.RandomState(info["numpy_seed"])
        ours = draw_episodes(names, info["class_ids"], shots, len(expected_scores), random)
        yield exact(case.name, f"{run}.episodes", [_plain(episode) for episode in ours], expected_scores)


def _evaluation(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    engine, size, tolerance = _engine(case, info), info["image_size"], info["tolerance"]
    pairs = [(line.split("__")[0], int(line.split("__")[1]) - 1) for line in info["split_file_lines"]]

    def read(name: str, class_id: int) -> Labelled:
        labels = inputs[f"label.{name}"].numpy()
        own = np.where(labels == 255, 255, labels == class_id + 1).astype(np.uint8)
        return inputs[f"image.{name}"].numpy(), own

    for shots in info["shots"]:
        run = f"{shots}_shot"
        figures = info["expected"][run]
        random = np.random.RandomState(info["numpy_seed"])
        episodes = list_episodes(pairs, shots, len(figures["episodes"]), random)
        yield exact(case.name, f"{run}.episodes", [_plain(episode) for episode in episodes], figures["episodes"])

        async def all_results(episodes: list[Episode] = episodes) -> list[Any]:
            threshold = Threshold("relative", info["r_threshold"])
            return [result async for result in run_episodes(engine, episodes, read, size=size, threshold=threshold)]

        results = complete(all_results())
        masks = torch.from_numpy(np.stack([result.mask for result in results]))
        most = tolerance["mask"]["max_fraction_of_pixels"]
        yield _fraction(case, f"{run}.mask", masks, expected[f"{run}.mask"], most)
        ignored = torch.tensor([result.ignored for result in results], dtype=torch.int32)
        yield exact(case.name, f"{run}.ignored", ignored, expected[f"{run}.ignored"])
        for name, ours in (
            ("area_intersection", [result.intersection for result in results]),
            ("area_union", [result.union for result in results]),
        ):
            bound = tolerance["area"]["max_fraction_of_image"] * size * size
            array = torch.from_numpy(np.stack(ours)).float()
            yield compare(case.name, f"{run}.{name}", array, expected[f"{run}.{name}"], bound)
        yield from _percent(case, run, scores_of(results, info["class_ids"]), figures, tolerance)
    _ = [inputs[name] for name in inputs]  # pictures of the split that no episode drew


def _training_step(case: Path, info: Any, inputs: TrackedTensors, expected: TrackedTensors) -> Iterator[Check]:
    engine, tolerance = _engine(case, info), info["tolerance"]
    model = engine.model
    assert info["timestep"] == TIMESTEP
    ids = inputs["text_ids"]
    context = model.text_encoder(ids)[0]  # type: ignore[attr-defined]
    yield compare(case.name, "text_embeds", context, inputs["text_embeds"], 1e-4, 1e-4)
    variant = model.variants[VARIANT]  # type: ignore[attr-defined]
    convolution = variant.input_convolutions["support"]
    for module in (variant.unet, convolution):
        module.requires_grad_(True)
    try:
        supports = list(zip(inputs["support_image_latents"], inputs["support_mask_latents"], strict=True))
        query = (inputs["query_latents"][0], inputs["query_mask_latents"][0])
        loss, prediction = episode_loss(variant, [supports], [query], inputs["text_embeds"][0])
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = dict(variant.unet.named_parameters())
        parameters |= {f"conv_in_ref.{name}": parameter for name, parameter in convolution.named_parameters()}
        gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        yield _compare(case, "prediction", prediction, expected, tolerance)
        yield compare(case.name, "target", -inputs["query_mask_latents"], expected["target"], 1e-6)
        yield _compare(case, "loss", loss[None], expected, tolerance)
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        yield _compare(case, "gradient_norm", norm[None], expected, tolerance)
        for name in expected:
            if name.startswith("gradient."):
                most = tolerance["gradient"]["max_error_over_max_abs_expected"]
                own_gradient = gradients[name.removeprefix("gradient.")]
                yield compare(case.name, name, own_gradient, expected[name], most * float(expected[name].abs().max()))
    finally:
        for module in (variant.unet, convolution):
            module.requires_grad_(False)
            module.zero_grad()


def _manifest(case: Path, info: Any, inputs: None, expected: None) -> Iterator[Check]:
    keys = {name: tuple(shape) for name, shape in read_json(case / info["file"]).items()}
    ours = unet_keys()
    yield exact(case.name, "keys", ours, keys)
    yield exact(case.name, "number of keys", len(ours), info["keys"])
    yield exact(case.name, "values", sum(int(np.prod(shape)) for shape in ours.values()), info["values"])
    stock = sd2_unet_keys()
    extra = {name: list(shape) for name, shape in ours.items() if name not in stock}
    yield exact(case.name, "extra over stock", extra, info["extra_over_stock"])


_KINDS: Mapping[str, Callable[..., Iterator[Check]]] = {
    "preprocess": _preprocess,
    "segment": _segment,
    "segment_batch": _segment,
    "threshold": _threshold,
    "metrics": _metrics,
    "episodes": _episodes,
    "evaluation": _evaluation,
    "training_step": _training_step,
    "manifest": _manifest,
}


def _compare(case: Path, name: str, actual: Tensor, expected: TrackedTensors, tolerance: Any) -> Check:
    return compare(case.name, name, actual, expected[name], *tolerance[name])


def _levels(case: Path, actual: Tensor, expected: Tensor, tolerance: Any) -> Iterator[Check]:
    difference = (actual.int() - expected.int()).abs().float()
    most = tolerance["max_level_difference"]
    yield compare(case.name, "rgb_uint8, levels", difference.max(), torch.tensor(0.0), most)
    share = (difference > 0).float().mean()
    yield compare(case.name, "rgb_uint8, share", share, torch.tensor(0.0), tolerance["max_fraction_of_values"])


def _fraction(case: Path, name: str, actual: Tensor, expected: Tensor, most: float) -> Check:
    if actual.shape != expected.shape:
        return exact(case.name, f"{name}, shape", tuple(actual.shape), tuple(expected.shape))
    share = (actual.bool() != expected.bool()).float().mean()
    return compare(case.name, f"{name}, share", share, torch.tensor(0.0), most)


def _percent(case: Path, name: str, result: Any, figures: Any, tolerance: Any) -> Iterator[Check]:
    for key, ours in (("miou_percent", result.mean_iou), ("fb_iou_percent", result.fb_iou)):
        yield compare(case.name, f"{name}.{key}", torch.tensor(ours), torch.tensor(figures[key]), tolerance[key])


def _plain(episode: Episode) -> dict[str, Any]:
    return {"query": episode.query, "supports": list(episode.supports), "class_id": episode.class_id}


def _engine(case: Path, info: Any) -> DirectEngine:
    weights = {name: (case / path).resolve() for name, path in info["weights"].items()}
    return _load_engine(weights["base"], weights["unet"])


@cache
def _load_engine(base: Path, unet: Path) -> DirectEngine:
    """The base folder, whose own U-Net is left out of the fixtures, with the fine-tuned one over it.

    The stock part of the fine-tuned U-Net replaces the backbone's own, which the replay does not read.
    """
    tensors = read_weights(unet / "diffusion_pytorch_model.safetensors")
    stock = {name: tensor for name, tensor in tensors.items() if not name.startswith("conv_in_ref.")}
    config = {name: value for name, value in read_json(unet / "config.json").items() if name != "in_channels_ref"}
    own = build_unet({name: value for name, value in config.items() if not name.startswith("_")})
    fill(own, stock, unet, torch.float32)
    alphas_cumprod, _ = read_schedule(base / "scheduler")
    model = StableDiffusion(
        name=base.name,
        vae=load_part(build_vae, base / "vae", torch.float32),
        text_encoder=load_part(build_text_encoder, base / "text_encoder", torch.float32),
        tokenizer=load_tokenizer(base / "tokenizer"),
        variants={"": Variant(own, "epsilon", "stock")},
        alphas_cumprod=alphas_cumprod,
    )
    load_few_shot(model, unet)
    return DirectEngine(model)
