"""Replay of SDPose: crops, network, decoding, drawing and evaluation, each case's inputs through our own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import DirectEngine, complete
from heads.results import Keypoints
from heads.sdpose import codec, crops, metrics, openpose, skeletons
from heads.sdpose.checkpoint import POSE_CLASS, open_published
from heads.sdpose.crops import CropRegion
from heads.sdpose.estimation import PoseModel, empty_context, estimate_poses, heatmaps, pose_rows, stack_features
from heads.sdpose.head import HeatmapHead
from heads.sdpose.losses import heatmap_loss, pck
from heads.sdpose.persons import Person, read_annotated_persons, read_detected_persons
from tests.conformance.checks import Check, TrackedTensors, compare, exact, fail_unchecked, read_json


class _Case:
    """One case: its settings, and comparisons at its own tolerances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.info: dict[str, Any] = read_json(folder / "info.json")
        self.settings: dict[str, Any] = self.info["settings"]
        self.tolerance: dict[str, Any] = self.info["tolerance"]

    def json(self, name: str) -> Any:
        return read_json(self.folder / name)

    def size(self, key: str = "input_wh") -> tuple[int, int]:
        width, height = self.settings[key]
        return width, height

    def compare(self, quantity: str, actual: Any, expected: Any, rule: str, where: Tensor | None = None) -> Check:
        """Ours against the stored value, at the entries that `where` marks."""
        ours, theirs = torch.as_tensor(actual), torch.as_tensor(expected)
        bound = self.tolerance[rule]
        if bound == "exact":
            return exact(self.name, quantity, ours, theirs)
        if where is not None and ours.shape == theirs.shape:
            # Entries outside the mask must be finite too.
            if not ours.isfinite().all():
                return fail_unchecked(self.name, f"{quantity}: ours is not finite")
            ours, theirs = ours[where], theirs[where]
        return compare(self.name, quantity, ours, theirs, bound["atol"], bound.get("rtol", 0.0))


def replay(folder: Path) -> Iterator[Check]:
    """Checks of every case under `folder`, a folder each."""
    for file in sorted(folder.glob("*/info.json")):
        case = _Case(file.parent)
        kind = _KINDS.get(case.info["kind"])
        if kind is None:
            yield fail_unchecked(case.name, f"kind {case.info['kind']}")
            continue
        try:
            yield from kind(case)
        except Exception as error:
            yield fail_unchecked(case.name, f"failed: {type(error).__name__}: {error}")


def _affine(case: _Case) -> Iterator[Check]:
    stored = case.json("affine.json")
    width, height = stored["output_wh"]
    for index, box_case in enumerate(stored["cases"]):

        def check(name: str, actual: Any, rule: str = "", box_case: Any = box_case, index: int = index) -> Check:
            expected = torch.tensor(box_case[name], dtype=torch.float64)
            return case.compare(f"{index}.{name}", torch.as_tensor(actual).double(), expected, rule or name)

        xyxy = np.array(box_case["bbox_xyxy"], dtype=np.float32)[None]
        center, padded = crops.centers_and_scales(xyxy, stored["padding"])
        scale = crops.fix_aspect(padded, (width, height))
        matrix = crops.warp_matrix(center[0], scale[0], (width, height))
        rotated = crops.warp_matrix(center[0], scale[0], (width, height), case.settings["rotation_degrees"])
        yield check("center", center[0])
        yield check("scale_padded", padded[0])
        yield check("scale_fixed", scale[0])
        yield check("matrix", matrix)
        yield check("matrix_rot30", rotated)
        points = np.array(box_case["image_points"], dtype=np.float64)
        yield check("crop_points", points @ matrix[:, :2].T.astype(np.float64) + matrix[:, 2])
        _, region = crops.affine_crop(np.zeros((2, 2, 3), np.uint8), xyxy[0], (width, height))
        back = crops.to_image(np.array(box_case["crop_points"]), region, (width, height))
        yield check("crop_points_mapped_back_by_the_decoder_formula", back)


def _stretch(case: _Case) -> Iterator[Check]:
    io = TrackedTensors(case.folder / "io.safetensors")
    image = io["image_bgr"].numpy()[..., ::-1].copy()
    size = case.size()
    boxes = [None if box is None else np.array(box, np.float32) for box in case.settings["boxes_xyxy"]]
    cut = [crops.stretch_crop(image, box, size) for box in boxes]
    pixels = torch.stack([crops.pixel_values(crop) for crop, _ in cut])
    yield case.compare("crops", pixels, io["crops"], "crops")
    crop_info = torch.tensor(np.stack([np.concatenate([region.origin, region.scale]) for _, region in cut])).long()
    yield case.compare("crop_info", crop_info, io["crop_info"], "crop_info")
    points = io["keypoints_crop"].numpy()
    back = np.stack([crops.to_image(points, region, size) for _, region in cut])
    yield case.compare("keypoints_image", back, io["keypoints_image"], "keypoints_image")
    yield from io.fail_unread(case.name)


def _boxes(case: _Case) -> Iterator[Check]:
    expected = case.json("expected.json")
    persons_by_list = {
        "from_detection_file": read_detected_persons(case.json("detections.json")),
        "from_ground_truth": read_annotated_persons(case.json("annotations.json")),
    }
    yield exact(case.name, "lists", set(expected), set(persons_by_list))
    for name, persons in persons_by_list.items():
        rows = expected[name]
        yield exact(case.name, f"{name}.id", [person.id for person in persons], [row["id"] for row in rows])
        yield exact(
            case.name, f"{name}.image_id", [person.image_id for person in persons], [row["image_id"] for row in rows]
        )
        yield from _person_fields(case, name, persons, rows)


def _person_fields(case: _Case, name: str, persons: Sequence[Person], rows: Sequence[Any]) -> Iterator[Check]:
    xyxy = np.stack([person.xyxy for person in persons])
    center, padded = crops.centers_and_scales(xyxy, case.settings["padding"])
    fields: Mapping[str, NDArray[Any]] = {
        "bbox_xyxy": xyxy,
        "bbox_score": np.array([person.score for person in persons]),
        "center": center,
        "scale_padded": padded,
        "scale_fixed": crops.fix_aspect(padded, case.size()),
    }
    for field, values in fields.items():
        yield case.compare(f"{name}.{field}", values, torch.tensor([row[field] for row in rows]), field)


def _network(case: _Case) -> Iterator[Check]:
    io = TrackedTensors(case.folder / "io.safetensors")
    image = TrackedTensors(case.folder / "image.safetensors")["image_bgr"].numpy()
    size, settings = case.size(), case.settings
    backbone, model = open_published(case.folder / "checkpoint", size=size)
    engine = DirectEngine(backbone)
    yield exact(case.name, "num_keypoints", len(model.skeleton), settings["num_keypoints"])
    yield exact(case.name, "feature", model.features, (f"up_blocks.{settings['up_block']}",))
    yield exact(case.name, "latent_scale", model.latent_scale, settings["latent_scale"])
    yield exact(case.name, "timestep", torch.tensor([model.timestep]), io["timestep"])

    xyxy = io["bbox_xyxy"].numpy()
    center, padded = crops.centers_and_scales(xyxy, settings["padding"])
    scale = crops.fix_aspect(padded, size)
    yield case.compare("bbox_center", center, io["bbox_center"], "bbox_center")
    yield case.compare("bbox_scale_fixed", scale, io["bbox_scale_fixed"], "bbox_scale_fixed")
    matrices = np.stack([crops.warp_matrix(*box, size) for box in zip(center, scale, strict=True)])
    yield case.compare("warp_matrix", matrices, io["warp_matrix"], "warp_matrix")
    cut = [crops.affine_crop(image, corners, size) for corners in xyxy]
    stored = io["crops_bgr_cv49"].permute(0, 2, 3, 1).numpy()
    yield from _crop_checks(case, np.stack([crop for crop, _ in cut]), stored)
    regions = [region for _, region in cut]

    ids = torch.tensor(backbone.tokenize([""]))
    yield case.compare("text_ids", ids, io["text_ids"], "text_ids")
    context = complete(empty_context(engine))
    yield case.compare("text_embed", context[None], io["text_embed"], "text_embed")
    # Ours stand in the time embedding's bias; see `backbones.loading.variants`.
    labels = torch.tensor(POSE_CLASS).expand(len(xyxy), -1)
    yield case.compare("class_labels", labels, io["class_labels"], "class_labels")

    pixels = [crops.pixel_values(array[..., ::-1]) for array in stored]
    maps = {}
    for side, views in {"": pixels, "_flip": [image_pixels.flip(-1) for image_pixels in pixels]}.items():
        mean = torch.stack(complete(engine.encode(views)))
        yield case.compare(f"vae_mean{side}", mean, io[f"vae_mean{side}"], "vae_mean")
        with torch.no_grad():
            std = backbone.vae.encode(torch.stack(views)).latent_dist.std
        yield case.compare(f"vae_std{side}", std, io[f"vae_std{side}"], "vae_std")
        for mode, latents in {"mode": mean, "sample": mean + std * io[f"sample.noise{side}"]}.items():
            rows = pose_rows(model, list(latents), context)
            name = f"{mode}.latent{side}"
            yield case.compare(name, torch.stack([row.latents for row in rows]), io[name], "latent")
            captures = complete(engine.unet(rows))
            if (name := f"{mode}.feature{side}") in io:
                yield case.compare(name, stack_features(model, captures), io[name], "feature")
            maps[mode, side] = heatmaps(model, captures)
    for mode in ("mode", "sample"):
        merged = codec.merge_flipped(maps[mode, ""], maps[mode, "_flip"], model.skeleton.flip_indices)
        for name, own in (
            ("heatmaps", maps[mode, ""]), ("heatmaps_flip_raw", maps[mode, "_flip"]), ("heatmaps_merged", merged)
        ):  # fmt: skip
            if f"{mode}.{name}" in io:
                yield case.compare(f"{mode}.{name}", own, io[f"{mode}.{name}"], "heatmaps")
        yield from _points(case, io, mode, maps[mode, ""], regions)
        yield from _points(case, io, f"{mode}.flip", merged, regions)
    yield from _decode_stored(case, io, regions)
    yield from _end_to_end(case, engine, model, image, io)
    yield from io.fail_unread(case.name)


def _crop_checks(case: _Case, actual: NDArray[np.uint8], stored: NDArray[np.uint8]) -> Iterator[Check]:
    bound = case.tolerance["crops"]
    difference = np.abs(actual.astype(int) - stored.astype(int))
    for name, value in (
        ("max_abs", difference.max()), ("mean_abs", difference.mean()), ("share_over_2", (difference > 2).mean())
    ):  # fmt: skip
        yield Check(case.name, f"crops.{name}", float(value), bound[name], bool(value <= bound[name]), name)


def _in_image(points: NDArray[np.float64], regions: Sequence[CropRegion], size: tuple[int, int]) -> NDArray[np.float64]:
    return np.stack([crops.to_image(point, region, size) for point, region in zip(points, regions, strict=True)])


def _points(
    case: _Case, io: TrackedTensors, prefix: str, maps: Tensor, regions: Sequence[CropRegion], rule: str = ""
) -> Iterator[Check]:
    points, scores = codec.decode(maps, case.size(), case.settings["blur_kernel"])
    stable = io[f"{prefix}.stable"]
    mark = f" of stored {prefix}" if rule else ""
    yield case.compare(f"{prefix}.scores{mark}", scores, io[f"{prefix}.scores"], "scores")
    if (name := f"{prefix}.keypoints_crop") in io:
        yield case.compare(name + mark, points, io[name], rule or "keypoints_crop", stable)
    name = f"{prefix}.keypoints_image"
    yield case.compare(
        name + mark, _in_image(points, regions, case.size()), io[name], rule or "keypoints_image", stable
    )


def _decode_stored(case: _Case, io: TrackedTensors, regions: Sequence[CropRegion]) -> Iterator[Check]:
    rule = "decode_of_stored_heatmaps"
    for prefix, name in (("mode", "mode.heatmaps"), ("mode.flip", "mode.heatmaps_merged")):
        yield from _points(case, io, prefix, io[name], regions, rule)


def _end_to_end(
    case: _Case, engine: DirectEngine, model: PoseModel, image: NDArray[np.uint8], io: TrackedTensors
) -> Iterator[Check]:
    """The whole procedure from the image: its crops are this OpenCV's, so scores may differ by what crops may."""
    xyxy = io["bbox_xyxy"].double().numpy()
    boxes = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    for prefix, flip_test in (("mode", False), ("mode.flip", True)):
        poses = complete(estimate_poses(engine, model, image[..., ::-1].copy(), boxes, flip_test=flip_test))
        direct = complete(_from_crops(engine, model, image, xyxy.astype(np.float32), flip_test))
        quantity = f"estimate_poses.{prefix}"
        yield compare(case.name, f"{quantity}.scores", torch.tensor(poses.scores), direct[1], 0.0)
        yield compare(case.name, f"{quantity}.points", torch.tensor(poses.points), direct[0], 1e-9)


async def _from_crops(
    engine: DirectEngine, model: PoseModel, image: NDArray[np.uint8], xyxy: NDArray[np.float32], flip_test: bool
) -> tuple[Tensor, Tensor]:
    """Points and scores by the steps that were checked above, from this OpenCV's crops."""
    cut = [crops.affine_crop(image, corners, model.size) for corners in xyxy]
    pixels = [crops.pixel_values(crop[..., ::-1]) for crop, _ in cut]
    views = pixels + ([image_pixels.flip(-1) for image_pixels in pixels] if flip_test else [])
    latents = await engine.encode(views)
    maps = heatmaps(model, await engine.unet(pose_rows(model, latents, await empty_context(engine))))
    if flip_test:
        maps = codec.merge_flipped(maps[: len(cut)], maps[len(cut) :], model.skeleton.flip_indices)
    points, scores = codec.decode(maps, model.size)
    return torch.tensor(_in_image(points, [region for _, region in cut], model.size)), torch.tensor(scores)


def _codec(case: _Case) -> Iterator[Check]:
    io = TrackedTensors(case.folder / "codec.safetensors")
    settings, size = case.settings, case.size()
    blur = settings["blur_kernel"]
    maps = io["heatmaps"]
    values, places = maps.flatten(1).max(dim=1)
    width = maps.shape[2]
    peak = torch.stack([places % width, places // width], dim=1).float()
    yield case.compare("argmax_xy", torch.where(values[:, None] > 0, peak, -1.0), io["argmax_xy"], "argmax_xy")
    yield case.compare("argmax_value", values, io["argmax_value"], "argmax_value")
    points, scores = codec.decode(maps, size, blur)
    yield case.compare("scores", scores, io["scores"], "scores")
    positive = io["scores"] > 0
    yield case.compare("keypoints", points, io["keypoints"], "keypoints", positive)
    corner = -torch.tensor(size, dtype=torch.float64) / torch.tensor([width - 1, maps.shape[1] - 1])
    peakless = torch.tensor(points)[~positive]
    yield compare(case.name, "keypoints of maps without a peak", peakless, corner.expand(len(peakless), 2), 1e-9)

    heatmap_size = case.size("heatmap_wh")
    encoded, weights = codec.encode(
        io["encode.keypoints"], io["encode.visible"], size, heatmap_size, settings["encode_sigma"]
    )
    yield case.compare("encode.heatmaps", encoded, io["encode.heatmaps"], "encode_heatmaps")
    yield case.compare("encode.weights", weights, io["encode.weights"], "encode_weights")
    decoded, decoded_scores = codec.decode(io["encode.heatmaps"], size, blur)
    yield case.compare("encode.decoded_scores", decoded_scores, io["encode.decoded_scores"], "scores")
    drawn = io["encode.decoded_scores"] > 0
    yield case.compare("encode.decoded", decoded, io["encode.decoded"], "encode_decoded", drawn)

    for name, skeleton in (("body", skeletons.COCO_17), ("wholebody", skeletons.COCO_WHOLEBODY_133)):
        prefix = f"flip.{name}"
        yield case.compare(
            f"{prefix}.indices", torch.tensor(skeleton.flip_indices), io[f"{prefix}.indices"], "flip_indices"
        )
        merged = codec.merge_flipped(io[f"{prefix}.first"], io[f"{prefix}.second_raw"], skeleton.flip_indices)
        yield case.compare(f"{prefix}.merged", merged, io[f"{prefix}.merged"], "flip_merged")
        sigmas = torch.tensor(skeleton.sigmas)
        yield case.compare(f"oks.{name}.sigmas", sigmas, io[f"oks.{name}.sigmas"], "oks_sigmas")
    yield from _full_size(case, io)
    loss = settings["loss"]
    predicted, target, weight = io["loss.pred"], io["loss.target"], io["loss.weights"]
    yield case.compare("loss.value", heatmap_loss(predicted, target, weight)[None], io["loss.value"], "loss_value")
    share, mean = pck(predicted, target, weight, loss["pck_threshold"])
    yield case.compare("loss.pck005_per_keypoint", share, io["loss.pck005_per_keypoint"], "loss_pck")
    yield case.compare("loss.pck005_mean", torch.tensor([mean]), io["loss.pck005_mean"], "loss_pck")
    yield from io.fail_unread(case.name)


def _full_size(case: _Case, io: TrackedTensors) -> Iterator[Check]:
    full = case.settings["full"]
    width, height = full["heatmap_wh"]
    centre, amplitude = io["full.mu"], io["full.amplitude"]
    x = torch.arange(width, dtype=torch.float64) - centre[:, :1]
    y = torch.arange(height, dtype=torch.float64) - centre[:, 1:]
    squared = y[:, :, None] ** 2 + x[:, None, :] ** 2
    maps = (amplitude[:, None, None] * torch.exp(-squared / (2 * full["sigma"] ** 2))).float()
    points, scores = codec.decode(maps, tuple(full["input_wh"]), case.settings["blur_kernel"])
    yield case.compare("full.keypoints", points, io["full.keypoints"], "full_keypoints")
    yield case.compare("full.scores", scores, io["full.scores"], "full_scores")


def _predictions(case: _Case) -> list[metrics.Prediction]:
    return [
        metrics.Prediction(
            id=row["id"],
            image_id=row["image_id"],
            points=np.array(row["keypoints"]),
            scores=np.array(row["keypoint_scores"]),
            box_score=row["bbox_score"],
            area=float(np.prod(row["bbox_scale"])),
        )
        for row in case.json("predictions.json")
    ]


def _metric(case: _Case) -> Iterator[Check]:
    sigmas = np.array(case.settings["sigmas"])
    rows = metrics.result_rows(_predictions(case), sigmas)
    yield from _result_rows(case, rows)
    figures = metrics.coco_figures(case.json("gt.json"), rows, sigmas)
    expected = {name.removeprefix("coco/"): value for name, value in case.json("expected_ap.json").items()}
    yield from _figures(case, "", figures, expected)


def _metric_wholebody(case: _Case) -> Iterator[Check]:
    own = skeletons.COCO_WHOLEBODY_133
    yield exact(case.name, "sigmas", list(own.sigmas), case.settings["sigmas"])
    parts = {name: tuple(bounds) for name, bounds in case.settings["parts"].items()}
    yield exact(case.name, "parts", skeletons.WHOLEBODY_PARTS, parts)
    rows = metrics.result_rows(_predictions(case), own.sigma_array())
    yield from _result_rows(case, rows)
    figures = metrics.wholebody_figures(case.json("gt.json"), rows)
    expected = case.json("expected_ap.json")
    yield exact(case.name, "results", set(figures), set(expected))
    for part, of_part in figures.items():
        yield from _figures(case, f"{part}.", of_part, expected[part])


def _result_rows(case: _Case, rows: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    expected = case.json("expected_results.json")
    lists = [field for field in expected[0] if isinstance(expected[0][field], list)]
    yield exact(case.name, "rows", [row["image_id"] for row in rows], [row["image_id"] for row in expected])
    yield exact(case.name, "fields", set(rows[0]), set(expected[0]))
    for field in lists:
        theirs = torch.tensor([row[field] for row in expected], dtype=torch.float64)
        yield case.compare(field, torch.tensor([row[field] for row in rows], dtype=torch.float64), theirs, "keypoints")
    scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
    yield case.compare("score", scores, torch.tensor([row["score"] for row in expected], dtype=torch.float64), "score")


def _figures(case: _Case, prefix: str, figures: Mapping[str, float], expected: Mapping[str, float]) -> Iterator[Check]:
    yield exact(case.name, f"{prefix}figures", set(figures), set(expected))
    for name, value in expected.items():
        ours, theirs = (torch.tensor([number], dtype=torch.float64) for number in (figures[name], value))
        yield case.compare(f"{prefix}{name}", ours, theirs, "ap")


def _openpose(case: _Case) -> Iterator[Check]:
    io = TrackedTensors(case.folder / "draw.safetensors")
    threshold = case.settings["threshold"]
    stored = case.json("json.json")
    for name, points_name, scores_name in (
        ("body", "body.keypoints", "body.scores"), ("wholebody", "wholebody.keypoints_133", "wholebody.scores_133")
    ):  # fmt: skip
        height, width = case.settings[f"{name}_canvas_hw"]
        points, scores = io[points_name].numpy(), io[scores_name].numpy()
        keypoints = _one_person(points, scores)
        if name == "wholebody":
            mapped, mapped_scores = openpose.openpose_points(points, scores)
            yield case.compare("keypoints_134", mapped, io["wholebody.keypoints_134_openpose"], "keypoints_134")
            yield case.compare("scores_134", mapped_scores, io["wholebody.scores_134_openpose"], "scores_134")
        canvas = openpose.skeleton_picture(keypoints, height, width, threshold=threshold)
        theirs = io[f"{name}.canvas_rgb"].numpy()
        bound = case.tolerance["canvas"]["share_of_pixels_that_differ"]
        share = float((canvas != theirs).any(axis=2).mean()) if canvas.shape == theirs.shape else float("inf")
        yield Check(case.name, f"{name}.canvas", share, bound, share <= bound, "share of pixels that differ")
        yield exact(case.name, f"{name} draws", bool(canvas.any()), True)
        written = openpose.openpose_json(keypoints, height, width)
        expected = stored["node_body" if name == "body" else "node_wholebody_from_134"]
        if name == "wholebody":
            # Both nodes exchange the hands: ours are the person's own.
            expected = {**expected, "people": [_exchange_hands(person) for person in expected["people"]]}
        yield from _same_json(case, f"{name}.json", written, expected)
        editor = openpose.editor_json(keypoints, height, width, threshold)
        yield from _same_json(case, f"{name}.editor", editor, stored[f"node_editor_{name}"])
    yield from io.fail_unread(case.name)


def _one_person(points: NDArray[np.float64], scores: NDArray[np.float32]) -> Keypoints:
    skeleton = skeletons.COCO_17 if len(points) == 17 else skeletons.COCO_WHOLEBODY_133
    box, box_scores = np.array([[0.0, 0.0, 1.0, 1.0]]), np.ones(1)
    return Keypoints(points[None], scores[None], box, box_scores, "caller", skeleton.names, skeleton.links)


def _exchange_hands(person: Mapping[str, Any]) -> dict[str, Any]:
    left, right = "hand_left_keypoints_2d", "hand_right_keypoints_2d"
    return {**person, left: person[right], right: person[left]}


def _same_json(case: _Case, name: str, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Check]:
    yield exact(case.name, f"{name} keys", set(actual), set(expected))
    for key in ("canvas_width", "canvas_height", "width", "height"):
        yield exact(case.name, f"{name}.{key}", actual.get(key), expected.get(key))
    yield exact(case.name, f"{name}.people", len(actual["people"]), len(expected["people"]))
    for ours, theirs in zip(actual["people"], expected["people"], strict=True):
        yield exact(case.name, f"{name} parts", set(ours), set(theirs))
        for part, values in theirs.items():
            ours_part, theirs_part = (torch.tensor(numbers, dtype=torch.float64) for numbers in (ours[part], values))
            yield case.compare(f"{name}.{part}", ours_part, theirs_part, "json")


def _keys(case: _Case) -> Iterator[Check]:
    stored = case.json("keys.json")
    with torch.device("meta"):
        config = stored["unet_config"]
        networks: dict[str, torch.nn.Module] = {"unet": UNet2DConditionModel(**config)}  # type: ignore[no-untyped-call,dict-item]
        channels = config["block_out_channels"]
        networks["decoder_body"] = HeatmapHead(channels[0], 17)
        networks["decoder_wholebody"] = HeatmapHead(channels[1], 133)
    for name in case.settings["entries"]:
        ours = {key: list(tensor.shape) for key, tensor in networks[name].state_dict().items()}
        yield exact(case.name, f"{name} ({len(stored[name])} keys)", ours, stored[name])


_KINDS: dict[str, Callable[[_Case], Iterator[Check]]] = {
    "affine": _affine,
    "stretch_crop": _stretch,
    "person_boxes": _boxes,
    "network": _network,
    "codec": _codec,
    "coco_metric": _metric,
    "coco_wholebody_metric": _metric_wholebody,
    "openpose": _openpose,
    "key_manifest": _keys,
}
