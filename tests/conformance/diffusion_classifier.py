"""Replay of Diffusion Classifier cases through heads/diffusion_classifier on the direct engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.dit import load_dit
from backbones.noise_schedule import add_noise, signal_and_noise_levels
from backbones.rows import Capture, UNetRow
from heads.diffusion_classifier.losses import noise_error
from heads.diffusion_classifier.preprocess import halve_to_square, pixel_values, square
from heads.diffusion_classifier.race import Round, denoising_errors, race
from heads.diffusion_classifier.schedule import Schedule, new_timesteps
from heads.diffusion_classifier.variational import posterior_log_variance, variational_terms
from heads.diffusion_classifier.winoground import TAGS, caption_errors, report
from tests.conformance.checks import Check, TrackedTensors, compare, exact, fail_unchecked, read_json


def replay(folder: Path) -> Iterator[Check]:
    """Every case in a folder laid out like the shared one, weights in `weights/`."""
    for file in sorted(folder.glob("*/info.json")):
        case, info = file.parent.name, read_json(file)
        tensors_file = file.parent / "io.safetensors"
        tensors = TrackedTensors(tensors_file) if tensors_file.exists() else None
        kind = _KINDS.get(info["kind"])
        if kind is None:
            yield fail_unchecked(case, f"kind {info['kind']}")
            continue
        yield from kind(folder, case, info, tensors)
        if tensors is not None:
            yield from tensors.fail_unread(case)


def _adaptive(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    """One image, round by round; `full_matrix` and the half-precision and v-prediction cases are the same race."""
    engine = _engine(folder / info["model"], info["settings"]["dtype"])
    yield from _text(case, engine, info, tensors)
    noise = tensors["noise"] if "noise" in tensors else _draw_noise(info, tensors["latent"].shape)
    yield from _one_image(case, "", engine, info, info, tensors, noise)
    if "alphas_cumprod_half" in tensors:
        half = engine.backbone.alphas_cumprod.half()
        signal, spread = signal_and_noise_levels(half)
        for name, own in (
            ("alphas_cumprod_half", half),
            ("sqrt_alpha_half", signal),
            ("sqrt_one_minus_alpha_half", spread),
        ):
            yield exact(case, name, own, tensors[name])
    if "converted.error" in tensors:
        yield from _replay_converted(case, engine, info, tensors, noise)


def _end_to_end(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    engine = _engine(folder / info["model"], info["settings"]["dtype"])
    yield from _text(case, engine, info, tensors)
    for index, result in enumerate(info["images"]):
        prefix = f"image{index}."
        yield from _one_image(case, prefix, engine, info, result, tensors, tensors[f"{prefix}noise"])


def _text(case: str, engine: DirectEngine, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    contexts = torch.stack(complete(engine.embed([prompt["prompt"] for prompt in info["prompts"]])))
    tolerance = info["tolerance"]["embeddings"]
    yield compare(case, "text_embeddings", contexts, tensors["text_embeddings"], tolerance)


def _one_image(
    case: str, prefix: str, engine: DirectEngine, info: Any, result: Any, tensors: TrackedTensors, noise: Tensor
) -> Iterator[Check]:
    settings, tolerance = info["settings"], info["tolerance"]
    picture = _picture(tensors, prefix, info.get("image_mode", "RGB"))
    pixels = pixel_values(square(picture, settings["img_size"], settings["interpolation"]))
    if f"{prefix}pixels" in tensors:
        yield compare(case, f"{prefix}pixels", pixels, tensors[f"{prefix}pixels"], max(tolerance["pixels"], 1e-6))
    latents = complete(engine.encode([pixels]))[0] * engine.backbone.scaling_factor
    yield compare(case, f"{prefix}latent", latents[None], tensors[f"{prefix}latent"], tolerance["latent"])

    half = settings["dtype"] == "float16"
    rounds = complete(
        race(
            engine,
            latents,
            complete(engine.embed([prompt["prompt"] for prompt in info["prompts"]])),
            lambda index: noise[index],
            Schedule(tuple(settings["n_samples"]), tuple(settings["to_keep"])),
            loss=settings["loss"],
            trials=settings["n_trials"],
            alphas_cumprod=engine.backbone.alphas_cumprod.half() if half else None,
            raw_output=info["kind"] == "adaptive_v_prediction",
        )
    )
    yield exact(case, f"{prefix}rounds", len(rounds), len(result["rounds"]))
    for number, (own, original) in enumerate(zip(rounds, result["rounds"], strict=False)):
        yield from _round(case, f"{prefix}round{number}", own, original, settings["n_trials"], tolerance, tensors)
    if f"{prefix}error_matrix" in tensors:
        yield compare(case, "error_matrix", rounds[0].errors, tensors[f"{prefix}error_matrix"], tolerance["error"])
        yield exact(case, "timestep", list(rounds[0].timesteps), tensors[f"{prefix}timestep"].tolist())
    if "total_rows" in result:
        yield exact(case, "total_rows", sum(round_.errors.numel() for round_ in rounds), result["total_rows"])
    winner = rounds[-1].kept[0]
    prediction = {"prompt_index": winner, "classidx": info["prompts"][winner]["classidx"]}
    yield exact(case, f"{prefix}prediction", prediction, result["prediction"])
    yield from _final(case, prefix, rounds, tolerance, tensors)


def _round(
    case: str, name: str, own: Round, original: Any, trials: int, tolerance: Any, tensors: TrackedTensors
) -> Iterator[Check]:
    before = original["timesteps_before"]
    if original["new_timesteps"] != "tensor timestep":
        yield exact(case, f"{name}.new_timesteps", list(own.timesteps), original["new_timesteps"])
    yield exact(case, f"{name}.candidates", list(own.candidates), original["candidates"])
    yield exact(case, f"{name}.kept", list(own.kept), original["kept_best_first"])
    means = torch.tensor(original["mean_error_of_candidates"])
    yield compare(case, f"{name}.mean_error", own.mean_errors, means, tolerance["mean_error"])
    yield exact(case, f"{name}.rows", own.errors.numel(), original["rows"])
    if f"{name}.error" not in tensors:
        return
    # The stored rows are prompt-major, trials innermost.
    units = len(own.timesteps) * trials
    timesteps = [timestep for timestep in own.timesteps for _ in range(trials)] * len(own.candidates)
    indices = list(range(trials * before, trials * before + units)) * len(own.candidates)
    prompts = [index for index in own.candidates for _ in range(units)]
    yield compare(case, f"{name}.error", own.errors.flatten(), tensors[f"{name}.error"], tolerance["error"])
    yield exact(case, f"{name}.timestep", timesteps, tensors[f"{name}.timestep"].tolist())
    yield exact(case, f"{name}.noise_index", indices, tensors[f"{name}.noise_index"].tolist())
    yield exact(case, f"{name}.prompt_index", prompts, tensors[f"{name}.prompt_index"].tolist())


def _final(case: str, prefix: str, rounds: Sequence[Round], tolerance: Any, tensors: TrackedTensors) -> Iterator[Check]:
    """Each prompt's mean over its rows until it was dropped, and the number of these rows."""
    means, counts = {}, dict.fromkeys(rounds[0].candidates, 0)
    for round_ in rounds:
        for index, mean in zip(round_.candidates, round_.mean_errors, strict=True):
            means[index] = mean
            counts[index] += round_.errors.shape[1]
    own = torch.stack([means[index] for index in sorted(means)])
    yield compare(case, f"{prefix}final.mean_error", own, tensors[f"{prefix}final.mean_error"], tolerance["mean_error"])
    own_counts = [counts[index] for index in sorted(counts)]
    yield exact(case, f"{prefix}final.count", own_counts, tensors[f"{prefix}final.count"].tolist())


def _replay_converted(
    case: str, engine: DirectEngine, info: Any, tensors: TrackedTensors, noise: Tensor
) -> Iterator[Check]:
    """Errors of the noise that a v-prediction implies, every prompt on every timestep; noise goes by position."""
    contexts = complete(engine.embed([prompt["prompt"] for prompt in info["prompts"]]))
    timesteps = tensors["converted.timestep"].tolist()
    errors = complete(
        denoising_errors(
            engine,
            tensors["latent"][0],
            contexts,
            timesteps,
            lambda place: noise[place],
            loss=info["settings"]["loss"],
        )
    )
    expected = info["converted"]
    yield compare(case, "converted.error", errors, tensors["converted.error"], info["tolerance"]["error"])
    means = torch.tensor(expected["mean_error"])
    yield compare(case, "converted.mean_error", errors.mean(dim=1), means, info["tolerance"]["mean_error"])
    yield exact(case, "converted.argmin_prompt", int(errors.mean(dim=1).argmin()), expected["argmin_prompt"])


def _preprocess(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    for stored in info["cases"]:
        name = stored["index"]
        square_image = square(_picture(tensors, f"{name}.", stored["mode"]), stored["size"], stored["interpolation"])
        expected = tensors[f"{name}.expected_u8"]
        levels = ((pixel_values(square_image) + 1) * 127.5).round().to(torch.uint8)
        yield exact(case, f"{name}.expected_u8", levels, expected)
        yield compare(case, f"{name}.pixel_values", pixel_values(square_image), expected.float() / 127.5 - 1, 1e-6)


def _picture(tensors: TrackedTensors, prefix: str, mode: str) -> Image.Image:
    """The stored array as an image in its own mode; a palette image has its colours beside it."""
    picture = Image.fromarray(tensors[f"{prefix}image"].numpy())
    if mode == "P":
        picture = Image.frombytes("P", picture.size, picture.tobytes())
        picture.putpalette(tensors[f"{prefix}palette"].numpy().tobytes())
    return picture


def _texts(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    tolerance = info["tolerance"]
    for model, path in info["models"].items():
        engine = _engine(folder / path, "float32")
        ids = _model(folder / path, "float32").prompt_ids(info["texts"])
        yield exact(case, f"{model}.input_ids", ids, tensors[f"{model}.input_ids"].long())
        contexts = torch.stack(complete(engine.embed(info["texts"])))
        yield compare(case, f"{model}.embeddings", contexts, tensors[f"{model}.embeddings"], tolerance["embeddings"])
        table = engine.backbone.alphas_cumprod
        expected = tensors[f"{model}.alphas_cumprod"]
        yield compare(case, f"{model}.alphas_cumprod", table, expected, tolerance["alphas_cumprod"])


def _timesteps(folder: Path, case: str, info: Any, tensors: TrackedTensors | None) -> Iterator[Check]:
    for stored in info["cases"]:
        schedule = Schedule(tuple(stored["n_samples"]), tuple(stored["to_keep"]))
        rounds = new_timesteps(schedule, info["settings"]["train_timesteps"])
        candidates, visited = stored["prompts"], 0
        yield exact(case, f"{stored['name']}.rounds", len(rounds), len(stored["rounds"]))
        for number, (own, original, keep) in enumerate(zip(rounds, stored["rounds"], stored["to_keep"], strict=True)):
            expected = [first + step * i for first, step, count in original["new_timesteps_runs"] for i in range(count)]
            own_fields = {
                "new": len(own),
                "new_timesteps": own,
                "candidates": candidates,
                "noise_index_first": visited,
                "rows": candidates * len(own),
            }
            expected_fields = {key: expected if key == "new_timesteps" else original[key] for key in own_fields}
            # The original records no candidates and no noise for a round that adds nothing.
            expected_fields = {
                key: own_fields[key] if value is None and not own else value for key, value in expected_fields.items()
            }
            yield exact(case, f"{stored['name']}.round{number}", own_fields, expected_fields)
            candidates, visited = keep, visited + len(own)
        yield exact(case, f"{stored['name']}.evaluated_timesteps", visited, stored["evaluated_timesteps"])


def _winoground(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    settings, tolerance = info["settings"], info["tolerance"]
    engine = _engine(folder / info["model"], settings["dtype"])
    noise = tensors["noise"]
    scores: dict[str, list[list[list[float]]]] = {run: [] for run in info["runs"]}
    for example in info["examples"]:
        contexts = complete(engine.embed([example["caption_0"], example["caption_1"]]))
        by_image: dict[str, list[Tensor]] = {run: [] for run in info["runs"]}
        for which in (0, 1):
            picture = Image.fromarray(tensors[f"{example['id']}.image_{which}"].numpy())
            pixels = pixel_values(square(picture, settings["img_size"], settings["interpolation"]))
            latents = complete(engine.encode([pixels]))[0] * engine.backbone.scaling_factor
            name = f"{example['id']}.latent_{which}"
            yield compare(case, name, latents[None], tensors[name], tolerance["latent"])
            for run in info["runs"]:
                # Without randomize_noise a row's noise is its place in the original's batch.
                places = settings["batch_size"] if run == "fixed" else len(noise)
                errors = complete(
                    caption_errors(
                        engine,
                        latents,
                        contexts,
                        lambda row, places=places: noise[row % places],  # type: ignore[misc]
                        interval=settings["t_interval"],
                        trials=settings["n_trials"],
                        loss=settings["loss"],
                    )
                )
                by_image[run].append(errors)
                for caption in (0, 1):
                    name = f"{example['id']}.{run}.c{caption}_i{which}.error"
                    yield compare(case, name, errors[caption], tensors[name], tolerance["error"])
        for run, errors_by_image in by_image.items():
            means = -torch.stack(errors_by_image, dim=1).mean(dim=(2, 3))
            scores[run].append(means.tolist())
    for run, expected in info["runs"].items():
        own = torch.tensor(scores[run])
        stored = torch.tensor([[[s[f"c{c}_i{i}"] for i in (0, 1)] for c in (0, 1)] for s in expected["scores"]])
        yield compare(case, f"{run}.scores", own, stored, tolerance["scores"])
        yield exact(
            case, f"{run}.printed", report(own, [example["tag"] for example in info["examples"]]), expected["printed"]
        )


def _winoground_metrics(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    by_name = dict(zip(info["order"], (-tensors["error"].mean(dim=(2, 3))).unbind(dim=1), strict=True))
    scores = torch.stack(
        [torch.stack([by_name[f"c{caption}_i{image}"] for image in (0, 1)], -1) for caption in (0, 1)], 1
    )
    yield exact(case, "tags", set(info["tags"]) <= set(TAGS), True)
    yield exact(case, "printed", report(scores, info["tags"]), info["printed"])


def _dit(folder: Path, case: str, info: Any, tensors: TrackedTensors) -> Iterator[Check]:
    """A class-conditional network: its outputs, and the four errors of every class with either way of sharing noise."""
    settings, tolerance = info["settings"], info["tolerance"]
    model = load_dit(folder / case / "dit.safetensors", heads=info["network"]["num_heads"])
    engine = DirectEngine(model)
    table = engine.backbone.alphas_cumprod
    yield compare(case, "alphas_cumprod", table, tensors["alphas_cumprod"], 1e-9)
    floor = posterior_log_variance(table)
    yield compare(case, "posterior_log_variance_clipped", floor, tensors["posterior_log_variance_clipped"], 1e-9)
    latents, noise, timesteps = tensors["latent"][0], tensors["noise"], settings["timesteps"]
    for run, expected in info["results"].items():
        places = settings["batch_size"] if run == "fixed" else len(noise)
        drawn = [noise[row % places] for row in range(len(timesteps))]
        noised = [add_noise(latents, own, table, t) for own, t in zip(drawn, timesteps, strict=True)]
        by_class = []
        for label in range(info["network"]["num_classes"]):
            rows = [
                UNetRow(own, t, None, Capture(output=True, noise_pred=True), class_label=label)
                for own, t in zip(noised, timesteps, strict=True)
            ]
            captures = complete(engine.unet(rows))
            output = torch.stack([capture.output for capture in captures if capture.output is not None])
            predicted = torch.stack([capture.noise_pred for capture in captures if capture.noise_pred is not None])
            if run == "randomize" and f"model_output.{label}" in tensors:
                stored = tensors[f"model_output.{label}"]
                yield compare(case, f"model_output.{label}", output, stored, tolerance["model_output"])
            true = torch.stack(drawn)
            terms = variational_terms(
                output, latents.expand_as(true), torch.stack(noised), torch.tensor(timesteps), table
            )
            plain = noise_error(predicted, true, "l2")
            by_class.append(torch.stack([plain, noise_error(predicted, true, "l1"), *terms], dim=-1))
            shape = (-1, settings["n_trials"])
            if run == "randomize" and f"plain_error.class{label}" in tensors:
                stored = tensors[f"plain_error.class{label}"]
                yield compare(case, f"plain_error.{label}", plain.reshape(shape), stored, tolerance["error_l2_l1"])
                spatial = (true - predicted).square().mean(dim=1)
                stored = tensors[f"spatial_error.class{label}"]
                yield compare(case, f"spatial_error.{label}", spatial.reshape(stored.shape), stored, 5e-4)
        own_errors = torch.stack(by_class)
        stored = tensors[f"error.{run}"]
        errors = own_errors.reshape(stored.shape)
        yield compare(case, f"error.{run} l2, l1", errors[..., :2], stored[..., :2], tolerance["error_l2_l1"])
        relative = tolerance["error_kl_nll_rel"]
        yield compare(case, f"error.{run} kl, nll", errors[..., 2:], stored[..., 2:], 0.0, rtol=relative)
        means = errors.mean(dim=(1, 2))
        yield compare(case, f"{run}.mean", means, torch.tensor(expected["mean"]), 2e-5, rtol=relative)
        chosen = {"l2": means[:, 0], "l1": means[:, 1], "vlb": means[:, 2], "l2_plus_vlb": means[:, 0] + means[:, 2]}
        decided = {name: int(score.argmin()) for name, score in chosen.items()}
        yield exact(case, f"{run}.decision", decided, expected["decision"])
    crops = TrackedTensors(folder / case / "crop.safetensors")
    for crop_case in info["crop_cases"]:
        name = crop_case["index"]
        crop = halve_to_square(Image.fromarray(crops[f"{name}.image"].numpy()), crop_case["size"])
        levels = ((pixel_values(crop) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
        yield exact(case, f"{name}.expected_u8", levels.contiguous(), crops[f"{name}.expected_u8"])
    yield from crops.fail_unread(case)


_KINDS: Mapping[str, Callable[..., Iterator[Check]]] = {
    "adaptive": _adaptive,
    "adaptive_float16": _adaptive,
    "adaptive_v_prediction": _adaptive,
    "full_matrix": _adaptive,
    "end_to_end": _end_to_end,
    "dit": _dit,
    "preprocess": _preprocess,
    "text": _texts,
    "timesteps": _timesteps,
    "winoground": _winoground,
    "winoground_metrics": _winoground_metrics,
}


def _draw_noise(info: Any, latent_shape: Sequence[int]) -> Tensor:
    seed = info["noise_seed"]["seed"] if isinstance(info["noise_seed"], dict) else info["noise_seed"]
    count = max(info["settings"]["n_samples"]) * info["settings"]["n_trials"]
    return torch.randn((count, *latent_shape[1:]), generator=torch.Generator().manual_seed(seed))


@cache
def _model(folder: Path, dtype: str) -> Any:
    return load_diffusers_folder(folder, dtype=getattr(torch, dtype))


def _engine(folder: Path, dtype: str) -> DirectEngine:
    return DirectEngine(_model(folder, dtype))
