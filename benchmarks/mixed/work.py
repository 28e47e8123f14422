"""Four tasks as batch functions on plain diffusers parts, for the simple servers of `benchmarks.mixed_load`.

Networks, preparation and answers are the product's own, so that servers differ only in how they serve. `prepare` and
`answer` take one image and run on host threads; `run` takes a batch: one encode, one U-Net pass, one head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from backbones.engine import DirectEngine
from backbones.noise_schedule import content_key, draw_noise, noise_from_velocity
from backbones.rows import Captures
from backbones.stable_diffusion import StableDiffusion
from benchmarks.mixed.load import LABELS
from heads.diffusion_classifier import preprocess as square_images
from heads.diffusion_classifier import zero_shot
from heads.diffusion_classifier.hypotheses import Hypotheses, make_hypotheses
from heads.diffusion_classifier.losses import noise_error
from heads.diffusion_classifier.posterior import Scale, compute_schedule_posterior
from heads.diffusion_classifier.race import Round
from heads.diffusion_classifier.schedule import new_timesteps
from heads.feature_pooling import features
from heads.feature_pooling.blocks import default_blocks
from heads.feature_pooling.pooling import pool
from heads.feature_pooling.preprocess import fit_image, pixel_values
from heads.images import pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.results import DepthMap, Embeddings, Keypoints
from heads.sdpose import codec, crops, pose
from heads.sdpose.estimation import cut_crops, heatmaps
from heads.sdpose.poses import PoseOptions, Poses
from heads.vpd import depth
from heads.vpd.features import TIMESTEP
from heads.vpd.preprocess import shorter_side
from service.inputs.images import decode_image
from service.models.loading import OpenHeads, open_model
from service.settings.loader import load_settings
from service.tasks import TASKS

FEATURE_TIMESTEP = 100
ROWS = 32
"""U-Net rows of the largest batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A prepared image: pixels (3, H, W), its height and width, and further inputs of the task."""

    pixels: Tensor
    size: tuple[int, int]
    more: Any = None


class _Captured(Exception):
    """Ends a pass after the last feature map that is needed."""


class Work:
    """The backbone, its heads, and constants of all requests."""

    def __init__(self, threads: int) -> None:
        settings = load_settings(backbone="pocket", device="cpu", engine={"torch_threads": threads})
        self.limits = settings.limits
        model = open_model(settings)
        assert isinstance(model, StableDiffusion)
        self.model = model
        heads = OpenHeads(settings, model, TASKS)
        self.depth_head = heads.require(depth.TASK)
        self.pose_head = heads.require(pose.TASK)
        self.zero_shot_model = heads.require(zero_shot.TASK)
        for variant in model.variants.values():
            variant.unet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as diffusers loads it
        self.description = model.description
        self.alphas = self.description.alphas_cumprod.float()
        self.scene, self.scene_name = depth.choose_context(self.depth_head, None)
        (self.empty,) = model.embed([""])
        self.start_and_end = self.empty[: len(model.tokenize([""])[0])]
        self.blocks = default_blocks(self.description.sub_blocks)
        self.hypotheses: Hypotheses = make_hypotheses(DirectEngine(model), LABELS, self.zero_shot_model.templates)
        self.contexts = torch.stack(model.embed([str(prompt) for prompt in self.hypotheses.prompts]))
        side = self.description.image_size // self.description.downscale
        self.latent_shape = (self.description.latent_channels, side, side)

    @torch.inference_mode()
    def encode(self, pixels: Sequence[Tensor]) -> Tensor:
        """Unscaled latents (B, C, h, w) of images (3, H, W) of one size."""
        latents: Tensor = self.model.vae.encode(torch.stack(tuple(pixels))).latent_dist.mode()
        return latents

    def prepare(self, task: str, data: bytes, samples: int = 4) -> Prepared:
        """The prepared image of a file. samples: timesteps of each label, for zero-shot."""
        array = decode_image(data, self.limits).array
        size = (array.shape[0], array.shape[1])
        if task == "depth":
            return Prepared(to_pixel_values(resize(array, shorter_side(array.shape, self.depth_head.size))), size)
        if task == "pose":
            box = np.array([[0.0, 0.0, size[1], size[0]]])
            cut, regions = cut_crops(array, crops.corners(box), self.pose_head.model.size, "affine")
            return Prepared(crops.pixel_values(cut[0]), size, (box, regions[0]))
        if task == "features":
            pixels = pixel_values(fit_image(array, self.description.image_size, "crop"))
            return Prepared(pixels, size, draw_noise(content_key(pixels), 0, self.latent_shape))
        square = square_images.square(Image.fromarray(array), self.description.image_size)
        pixels = square_images.pixel_values(square)
        key = content_key(pixels)
        options = zero_shot.ZeroShotOptions(labels=list(LABELS), schedule=_rounds(samples))
        (timesteps,) = new_timesteps(zero_shot.choose_schedule(options, self.zero_shot_model), len(self.alphas))
        noise = torch.stack([draw_noise(key, unit, self.latent_shape) for unit in range(len(timesteps))])
        return Prepared(pixels, size, (options, timesteps, noise))

    def run(self, task: str, batch: Sequence[Prepared]) -> list[Any]:
        """Typed results of a batch, in order."""
        results = list(self.run_in_steps(task, batch))[-1]
        assert results is not None
        return results

    def run_in_steps(self, task: str, batch: Sequence[Prepared]) -> Iterator[list[Any] | None]:
        """None after each U-Net batch of zero-shot rows, and at the end the results of the whole batch."""
        if task == "zero_shot":
            yield from self._zero_shot(batch)
            return
        run: Mapping[str, Callable[[Sequence[Prepared]], list[Any]]] = {
            "depth": self._depth,
            "pose": self._pose,
            "features": self._features,
        }
        yield run[task](batch)

    def answer(self, task: str, prepared: Prepared, result: Any) -> bytes:
        """The JSON text of a result, by the product's own models."""
        if task == "depth":
            return _json(depth.answer_depth(result, self.depth_head, depth.DepthOptions()))
        if task == "pose":
            poses = Poses(result, ("",), prepared.size[::-1])
            return _json(pose.answer_pose(poses, self.pose_head, PoseOptions(persons="whole_image")))
        if task == "features":
            head = features.open_features(self.model)
            return _json(features.answer_features(result, head, features.FeaturesOptions()))
        return _json(zero_shot.answer_zero_shot(result, self.zero_shot_model, prepared.more[0]))

    @torch.inference_mode()
    def _depth(self, batch: Sequence[Prepared]) -> list[DepthMap]:
        head = self.depth_head
        pixels = torch.stack([prepared.pixels for prepared in batch])
        latents = self.encode(list(pad_to_multiple(pixels, head.layers.stride)))
        maps = _capture(self.model.variants[head.variant].unet, latents, TIMESTEP, self.scene, head.layers.features)
        size = (pixels.shape[-2], pixels.shape[-1])
        metres = head.network([maps[name].float() for name in head.layers.features], size, head.max_metres)
        return [
            DepthMap(resize_maps(own[None], prepared.size)[0].numpy(), head.max_metres, self.scene_name, False)
            for prepared, own in zip(batch, metres, strict=True)
        ]

    @torch.inference_mode()
    def _pose(self, batch: Sequence[Prepared]) -> list[Keypoints]:
        model = self.pose_head.model
        latents = self.encode([prepared.pixels for prepared in batch]) * model.latent_scale
        unet = self.model.variants[model.variant].unet
        feature_maps = _capture(unet, latents, model.timestep, self.start_and_end, model.features)
        rows = [
            Captures(features={name: maps[place] for name, maps in feature_maps.items()}) for place in range(len(batch))
        ]
        points, scores = codec.decode(heatmaps(model, rows), model.size)
        return [
            Keypoints(
                crops.to_image(own, prepared.more[1], model.size)[None], score[None], prepared.more[0], np.ones(1),
                "whole_image", model.skeleton.names, model.skeleton.links,
            )
            for prepared, own, score in zip(batch, points, scores, strict=True)
        ]  # fmt: skip

    @torch.inference_mode()
    def _features(self, batch: Sequence[Prepared]) -> list[Embeddings]:
        latents = self.encode([prepared.pixels for prepared in batch]) * self.description.scaling_factor
        noised = self._add_noise(
            latents, torch.stack([prepared.more for prepared in batch]), torch.tensor(FEATURE_TIMESTEP)
        )
        maps = _capture(self.model.variants[""].unet, noised, FEATURE_TIMESTEP, self.empty, self.blocks)
        vectors = torch.cat([pool(maps[name], 1) for name in self.blocks], dim=1).numpy()
        return [Embeddings(own[None], tuple(self.blocks), (FEATURE_TIMESTEP,), 1) for own in vectors]

    @torch.inference_mode()
    def _zero_shot(self, batch: Sequence[Prepared]) -> Iterator[list[Any] | None]:
        latents = self.encode([prepared.pixels for prepared in batch]) * self.description.scaling_factor
        labels = range(len(self.contexts))
        plan = [
            (index, label, unit, timestep)
            for index, prepared in enumerate(batch)
            for label in labels
            for unit, timestep in enumerate(prepared.more[1])
        ]
        errors: list[Tensor] = []
        for at in range(0, len(plan), ROWS):
            part = plan[at : at + ROWS]
            timesteps = torch.tensor([timestep for *_, timestep in part])
            noise = torch.stack([batch[index].more[2][unit] for index, _, unit, _ in part])
            noised = self._add_noise(latents[[index for index, *_ in part]], noise, timesteps.view(-1, 1, 1, 1))
            contexts = self.contexts[[label for _, label, _, _ in part]]
            predicted = self.model.variants[""].unet(noised, timesteps, contexts, return_dict=False)[0]
            if self.description.prediction_type == "v_prediction":
                predicted = noise_from_velocity(predicted, noised, self.alphas, timesteps)
            errors.append(noise_error(predicted, noise))
            yield None
        remaining, scale = torch.cat(errors), Scale(latents[0].numel(), 1.0, False)
        results = []
        for prepared in batch:
            count = len(labels) * len(prepared.more[1])
            matrix, remaining = remaining[:count].view(len(labels), -1), remaining[count:]
            means = matrix.mean(dim=1)
            last = Round(tuple(labels), tuple(prepared.more[1]), matrix, means, (int(means.argmin()),))
            results.append(compute_schedule_posterior([last], self.hypotheses, LABELS, scale))
        yield results

    def _add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        alphas = self.alphas[timesteps]
        return latents * alphas.sqrt() + noise * (1 - alphas).sqrt()


def _rounds(samples: int) -> zero_shot.RoundsRequest:
    return zero_shot.RoundsRequest(n_samples=[samples], to_keep=[1])


def _json(answer: Any) -> bytes:
    text: str = answer.model_dump_json()
    return text.encode()


def _capture(
    unet: nn.Module, latents: Tensor, timestep: int, context: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Feature maps (B, C, h, w) by module name, of a pass that ends after the last of them. context: (T, D)."""
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        maps[name] = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        if len(maps) == len(names):
            raise _Captured

    handles = [
        unet.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name in names
    ]
    try:
        unet(latents, timestep, context.expand(len(latents), -1, -1), return_dict=False)
    except _Captured:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return maps
