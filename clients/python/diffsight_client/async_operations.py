"""A method an operation; they are awaited.

Written by `make openapi` from the OpenAPI document: change that, not this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from diffsight_client.calls import ANY, EVENTS, Answer, Call, nothing, text_of
from diffsight_client.images import Image
from diffsight_client.models import (
    ClassifierAnswer,
    ClassifiersAnswer,
    ClassifyAnswer,
    CocoPoses,
    ConceptAnswer,
    ConceptsAnswer,
    DepthAnswer,
    DuplicatesAnswer,
    FeaturesAnswer,
    FewShotAnswer,
    FittedAnswer,
    HeadRequest,
    JobDetails,
    JobsAnswer,
    LabelTreeAnswer,
    LiveAnswer,
    MatchAnswer,
    ModelDescription,
    ModelsAnswer,
    NormalsAnswer,
    OpenPosePeople,
    PathAnswer,
    PerceiveAnswer,
    PoseAnswer,
    ProgressAnswer,
    ReadyAnswer,
    ReferringAnswer,
    RelativeDepthAnswer,
    RoundsRequest,
    SegmentationAnswer,
    ZeroShotAnswer,
)

Progress = TypeVar("Progress", bound=BaseModel)
Final = TypeVar("Final", bound=BaseModel)


class AsyncOperations(ABC):
    """What a server does, a method an operation."""

    @abstractmethod
    async def _call(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _events(self, call: Call[Final], progress: type[Progress]) -> AsyncIterator[Progress | Final]: ...

    async def change_concept(
        self,
        concept: str,
        *,
        images: Image | Iterable[Image] | None = None,
        masks: Image | Iterable[Image] | None = None,
        deadline_seconds: float | None = None,
        model: str | None = None,
        name: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        remove_shots: Sequence[str] | None = None,
    ) -> ConceptAnswer:
        """Add shots to a concept, or leave some out.

        Only new images are encoded. 409 if somebody else changed it meanwhile.

        images: Images.
        masks: One mask for each image, in the same order and of its image's size: object white, the rest black. A
        pixel counts where its brightest channel is at least half of the mask's brightest.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        remove_shots: Ids of shots to leave out.
        """
        return await self._call(
            Call(
                "PATCH",
                f"/v1/concepts/{quote(concept, safe='')}",
                ConceptAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "name": name,
                    "priority": priority,
                    "remove_shots": remove_shots,
                },
                images={"images": images, "masks": masks},
            )
        )

    async def classify_fitted(
        self,
        images: Image | Iterable[Image],
        *,
        classifier: str,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        top: int | None = None,
    ) -> ClassifyAnswer:
        """Which of a fitted classifier's classes.

        images: Images.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        top: Classes named for each image, likeliest first. Default: 5.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/classify/{quote(classifier, safe='')}",
                ClassifyAnswer.model_validate_json,
                options={"deadline_seconds": deadline_seconds, "model": model, "priority": priority, "top": top},
                images={"images": images},
            )
        )

    async def delete_classifier(self, classifier: str) -> None:
        """Forget a classifier.

        Requests that have begun to use it are still answered.
        """
        return await self._call(Call("DELETE", f"/v1/classifiers/{quote(classifier, safe='')}", nothing))

    async def delete_concept(self, concept: str) -> None:
        """Forget a concept.

        Requests that have read it already are still answered with it.
        """
        return await self._call(Call("DELETE", f"/v1/concepts/{quote(concept, safe='')}", nothing))

    async def delete_job(self, job: str) -> None:
        """Stop a job and forget it.

        With its upload, and with the results that no other job shares.
        """
        return await self._call(Call("DELETE", f"/v1/jobs/{quote(job, safe='')}", nothing))

    async def depth(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        flip: bool | None = None,
        maps: bool | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "published"] | None = None,
        scene: str | None = None,
        windows: int | None = None,
    ) -> DepthAnswer:
        """Metric depth of an image.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        flip: Also run each window's mirror image, for `published`. Default: true.
        maps: Include the depth map in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `published` averages square windows and their mirror images; `fast` runs one pass. Default:
        "fast".
        scene: Scene class of the published network, by name such as `kitchen` or by row. Unset: the mean of all
        classes. Fitted heads have none.
        windows: Windows along the longer side, for `published`. Default: 2.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/depth",
                DepthAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "flip": flip,
                    "maps": maps,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                    "scene": scene,
                    "windows": windows,
                },
                images={"image": image},
            )
        )

    async def depth_file(
        self,
        image: Image,
        *,
        format: Literal["colour", "npy", "overlay", "png16"],
        deadline_seconds: float | None = None,
        flip: bool | None = None,
        maps: bool | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "published"] | None = None,
        scene: str | None = None,
        windows: int | None = None,
    ) -> bytes:
        """Metric depth of an image: the answer as a file.

        Metric depth of an image: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        flip: Also run each window's mirror image, for `published`. Default: true.
        maps: Include the depth map in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `published` averages square windows and their mirror images; `fast` runs one pass. Default:
        "fast".
        scene: Scene class of the published network, by name such as `kitchen` or by row. Unset: the mean of all
        classes. Fitted heads have none.
        windows: Windows along the longer side, for `published`. Default: 2.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/depth/{format}",
                bytes,
                options={
                    "deadline_seconds": deadline_seconds,
                    "flip": flip,
                    "maps": maps,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                    "scene": scene,
                    "windows": windows,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def depth_relative(
        self,
        image: Image,
        *,
        alignment: Literal["stable", "published"] | None = None,
        deadline_seconds: float | None = None,
        ensemble_size: int | None = None,
        maps: bool | None = None,
        metric_map: str | None = None,
        model: str | None = None,
        points: Sequence[Sequence[float]] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        reduction: Literal["median", "mean"] | None = None,
        resolution: int | None = None,
        seed: int | None = None,
        steps: int | None = None,
        uncertainty: bool | None = None,
    ) -> RelativeDepthAnswer:
        """Depth of an image up to scale and shift, and metres from known distances.

        image: The image.
        alignment: How predictions are aligned before: both minimise the published objective. `published` runs the
        code of diffusers, whose rounding can show in the map; `stable` does not depend on rounding, and is
        faster. Default: "stable".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        ensemble_size: Predictions from different noise that are combined; the published figures use 10. More are
        slower and steadier, and two or more give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        metric_map: Known distances as a map: base64 of a 16-bit grey PNG file of the image's size, in
        millimetres, 0 where nothing is known.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        points: Known distances, [x, y, metres] each, x and y in pixels: the answer is then also in metres, by the
        scale and shift that fit them best. Two at least, at different depths.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        reduction: How aligned predictions are combined. Default: "median".
        resolution: Longer side in pixels that the network sees, a multiple of 8; 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: With the image's content it decides the noise: the same request has the same answer. Default: 0.
        steps: Steps of denoising. Unset: the model's own, from 1 to 10 as published.
        uncertainty: Include the map of how much the predictions differ; takes an ensemble. Default: false.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/depth-relative",
                RelativeDepthAnswer.model_validate_json,
                options={
                    "alignment": alignment,
                    "deadline_seconds": deadline_seconds,
                    "ensemble_size": ensemble_size,
                    "maps": maps,
                    "metric_map": metric_map,
                    "model": model,
                    "points": points,
                    "priority": priority,
                    "reduction": reduction,
                    "resolution": resolution,
                    "seed": seed,
                    "steps": steps,
                    "uncertainty": uncertainty,
                },
                images={"image": image},
            )
        )

    async def depth_relative_file(
        self,
        image: Image,
        *,
        format: Literal["colour", "npy", "overlay", "png16", "uncertainty_png16"],
        alignment: Literal["stable", "published"] | None = None,
        deadline_seconds: float | None = None,
        ensemble_size: int | None = None,
        maps: bool | None = None,
        metric_map: str | None = None,
        model: str | None = None,
        points: Sequence[Sequence[float]] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        reduction: Literal["median", "mean"] | None = None,
        resolution: int | None = None,
        seed: int | None = None,
        steps: int | None = None,
        uncertainty: bool | None = None,
    ) -> bytes:
        """Depth of an image up to scale and shift, and metres from known distances: the answer as a file.

        Depth of an image up to scale and shift, and metres from known distances: Marigold (arXiv:2312.02145).

        image: The image.
        alignment: How predictions are aligned before: both minimise the published objective. `published` runs the
        code of diffusers, whose rounding can show in the map; `stable` does not depend on rounding, and is
        faster. Default: "stable".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        ensemble_size: Predictions from different noise that are combined; the published figures use 10. More are
        slower and steadier, and two or more give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        metric_map: Known distances as a map: base64 of a 16-bit grey PNG file of the image's size, in
        millimetres, 0 where nothing is known.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        points: Known distances, [x, y, metres] each, x and y in pixels: the answer is then also in metres, by the
        scale and shift that fit them best. Two at least, at different depths.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        reduction: How aligned predictions are combined. Default: "median".
        resolution: Longer side in pixels that the network sees, a multiple of 8; 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: With the image's content it decides the noise: the same request has the same answer. Default: 0.
        steps: Steps of denoising. Unset: the model's own, from 1 to 10 as published.
        uncertainty: Include the map of how much the predictions differ; takes an ensemble. Default: false.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/depth-relative/{format}",
                bytes,
                options={
                    "alignment": alignment,
                    "deadline_seconds": deadline_seconds,
                    "ensemble_size": ensemble_size,
                    "maps": maps,
                    "metric_map": metric_map,
                    "model": model,
                    "points": points,
                    "priority": priority,
                    "reduction": reduction,
                    "resolution": resolution,
                    "seed": seed,
                    "steps": steps,
                    "uncertainty": uncertainty,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def export_classifier(self, classifier: str, *, vectors: bool | None = None) -> bytes:
        """A classifier as one safetensors file.

        Its numbers as tensors, the rest as JSON in the file's header; `vectors=false` leaves out those it was
        fitted on.

        vectors: Default: true.
        """
        return await self._call(
            Call(
                "GET",
                f"/v1/classifiers/{quote(classifier, safe='')}/export",
                bytes,
                query={"vectors": vectors},
                accept=ANY,
            )
        )

    async def features(
        self,
        images: Image | Iterable[Image],
        *,
        blocks: Sequence[int | str] | None = None,
        deadline_seconds: float | None = None,
        fit: Literal["crop", "pad", "squash"] | None = None,
        model: str | None = None,
        noise_samples: int | None = None,
        normalise: bool | None = None,
        pool_size: int | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> FeaturesAnswer:
        """Feature vectors of images.

        images: Images.
        blocks: Numbers of the network's blocks from 1, or their diffusers names such as `mid_block`; unset takes
        the middle and one of the decoder.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        fit: How an image that is not square is fitted. Default: "crop".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        noise_samples: Noises to average over; 0 leaves the image clean. Default: 1.
        normalise: Scale each vector to length 1. Default: false.
        pool_size: Maps are averaged over a grid of so many cells a side. Default: 1.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        timesteps: Noise levels to look at. Each costs one row an image and noise. Default: [100].
        """
        return await self._call(
            Call(
                "POST",
                "/v1/features",
                FeaturesAnswer.model_validate_json,
                options={
                    "blocks": blocks,
                    "deadline_seconds": deadline_seconds,
                    "fit": fit,
                    "model": model,
                    "noise_samples": noise_samples,
                    "normalise": normalise,
                    "pool_size": pool_size,
                    "priority": priority,
                    "timesteps": timesteps,
                },
                images={"images": images},
            )
        )

    async def features_file(
        self,
        images: Image | Iterable[Image],
        *,
        format: Literal["npy"],
        blocks: Sequence[int | str] | None = None,
        deadline_seconds: float | None = None,
        fit: Literal["crop", "pad", "squash"] | None = None,
        model: str | None = None,
        noise_samples: int | None = None,
        normalise: bool | None = None,
        pool_size: int | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> bytes:
        """Feature vectors of images: the answer as a file.

        Feature vectors of images: Diffusion Models Beat GANs on Image Classification (arXiv:2307.08702).

        images: Images.
        blocks: Numbers of the network's blocks from 1, or their diffusers names such as `mid_block`; unset takes
        the middle and one of the decoder.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        fit: How an image that is not square is fitted. Default: "crop".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        noise_samples: Noises to average over; 0 leaves the image clean. Default: 1.
        normalise: Scale each vector to length 1. Default: false.
        pool_size: Maps are averaged over a grid of so many cells a side. Default: 1.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        timesteps: Noise levels to look at. Each costs one row an image and noise. Default: [100].
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/features/{format}",
                bytes,
                options={
                    "blocks": blocks,
                    "deadline_seconds": deadline_seconds,
                    "fit": fit,
                    "model": model,
                    "noise_samples": noise_samples,
                    "normalise": normalise,
                    "pool_size": pool_size,
                    "priority": priority,
                    "timesteps": timesteps,
                },
                images={"images": images},
                accept=ANY,
            )
        )

    async def few_shot_segmentation(
        self,
        image: Image,
        *,
        support_images: Image | Iterable[Image] | None = None,
        support_masks: Image | Iterable[Image] | None = None,
        concepts: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
        model: str | None = None,
        name: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        support_sampling: bool | None = None,
        threshold: Literal["relative", "absolute"] | None = None,
        threshold_value: float | None = None,
    ) -> FewShotAnswer:
        """Segment what other images show.

        image: The image.
        support_images: Images that show one thing.
        support_masks: One mask for each image, in the same order and of its image's size: object white, the rest
        black. A pixel counts where its brightest channel is at least half of the mask's brightest.
        concepts: Ids of concepts; several give a map of labels.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        name: What to call that which the supports show. Default: "object".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        support_sampling: Draw the tokens of a concept's supports down to those of one. Its cost no longer grows
        with its shots, and weights trained on one shot are reported to score better so. Default: false.
        threshold: `relative`, as published, cuts at a share of the strongest value: it always gives a mask, also
        where nothing is. `absolute` can leave the mask empty; use it to ask whether, or with several concepts.
        Default: "relative".
        threshold_value: Unset: 0.25 relative, as published; 0.15 absolute.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/few-shot",
                FewShotAnswer.model_validate_json,
                options={
                    "concepts": concepts,
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "name": name,
                    "priority": priority,
                    "support_sampling": support_sampling,
                    "threshold": threshold,
                    "threshold_value": threshold_value,
                },
                images={"image": image, "support_images": support_images, "support_masks": support_masks},
            )
        )

    async def few_shot_segmentation_file(
        self,
        image: Image,
        *,
        format: Literal["npy", "overlay", "png"],
        support_images: Image | Iterable[Image] | None = None,
        support_masks: Image | Iterable[Image] | None = None,
        concepts: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
        model: str | None = None,
        name: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        support_sampling: bool | None = None,
        threshold: Literal["relative", "absolute"] | None = None,
        threshold_value: float | None = None,
    ) -> bytes:
        """Segment what other images show: the answer as a file.

        Segment what other images show: DiffewS (arXiv:2410.02369).

        image: The image.
        support_images: Images that show one thing.
        support_masks: One mask for each image, in the same order and of its image's size: object white, the rest
        black. A pixel counts where its brightest channel is at least half of the mask's brightest.
        concepts: Ids of concepts; several give a map of labels.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        name: What to call that which the supports show. Default: "object".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        support_sampling: Draw the tokens of a concept's supports down to those of one. Its cost no longer grows
        with its shots, and weights trained on one shot are reported to score better so. Default: false.
        threshold: `relative`, as published, cuts at a share of the strongest value: it always gives a mask, also
        where nothing is. `absolute` can leave the mask empty; use it to ask whether, or with several concepts.
        Default: "relative".
        threshold_value: Unset: 0.25 relative, as published; 0.15 absolute.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/segmentation/few-shot/{format}",
                bytes,
                options={
                    "concepts": concepts,
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "name": name,
                    "priority": priority,
                    "support_sampling": support_sampling,
                    "threshold": threshold,
                    "threshold_value": threshold_value,
                },
                images={"image": image, "support_images": support_images, "support_masks": support_masks},
                accept=ANY,
            )
        )

    async def few_shot_segmentation_polygons(
        self,
        image: Image,
        *,
        support_images: Image | Iterable[Image] | None = None,
        support_masks: Image | Iterable[Image] | None = None,
        concepts: Sequence[str] | None = None,
        deadline_seconds: float | None = None,
        model: str | None = None,
        name: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        support_sampling: bool | None = None,
        threshold: Literal["relative", "absolute"] | None = None,
        threshold_value: float | None = None,
    ) -> FewShotAnswer:
        """Segment what other images show.

        The answer in another form: masks as outlines.

        image: The image.
        support_images: Images that show one thing.
        support_masks: One mask for each image, in the same order and of its image's size: object white, the rest
        black. A pixel counts where its brightest channel is at least half of the mask's brightest.
        concepts: Ids of concepts; several give a map of labels.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        name: What to call that which the supports show. Default: "object".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        support_sampling: Draw the tokens of a concept's supports down to those of one. Its cost no longer grows
        with its shots, and weights trained on one shot are reported to score better so. Default: false.
        threshold: `relative`, as published, cuts at a share of the strongest value: it always gives a mask, also
        where nothing is. `absolute` can leave the mask empty; use it to ask whether, or with several concepts.
        Default: "relative".
        threshold_value: Unset: 0.25 relative, as published; 0.15 absolute.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/few-shot/polygons",
                FewShotAnswer.model_validate_json,
                options={
                    "concepts": concepts,
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "name": name,
                    "priority": priority,
                    "support_sampling": support_sampling,
                    "threshold": threshold,
                    "threshold_value": threshold_value,
                },
                images={"image": image, "support_images": support_images, "support_masks": support_masks},
            )
        )

    async def fit_classifier(
        self,
        images: Image | Iterable[Image],
        *,
        blocks: Sequence[int | str] | None = None,
        deadline_seconds: float | None = None,
        fit: Literal["crop", "pad", "squash"] | None = None,
        head: Literal["logistic", "linear", "mlp", "attention", "fusion"] | None = None,
        head_options: HeadRequest | Mapping[str, Any] | None = None,
        job: str | None = None,
        labels: Sequence[str] | None = None,
        model: str | None = None,
        name: str | None = None,
        noise_samples: int | None = None,
        pool_size: int | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> FittedAnswer:
        """Fit a classifier to your own labelled images.

        Logistic regression on pooled features, its strength, temperature and threshold by cross-validation.

        images: Images.
        blocks: As for /v1/features; unset takes what suits most images.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        fit: How images are made square. Default: "crop".
        head: `logistic` suits a handful of images up to thousands. The others are the released heads, trained as
        published: plain gradient descent, for many images. `attention` reads one block at one timestep as
        `pool_size` x `pool_size` tokens, `fusion` several of either. Default: "logistic".
        head_options: Sizes of a released head.
        job: A finished job of the task `features`, whose vectors are taken: images are labelled by the folder
        that they are in, and read as the job did. Further images may go with it.
        labels: One label for each image that is sent on its own, in the same order. Images in a zip are labelled
        by the folder they are in: `cat/1.jpg` is a cat.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        name: For people; ids are the server's. Default: "".
        noise_samples: Noises to average over; 0 leaves images clean. Default: 1.
        pool_size: Maps are averaged over a grid of so many cells a side. Default: 1.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "bulk".
        timesteps: Noise levels. Each costs one row an image and noise. Default: [100].
        """
        return await self._call(
            Call(
                "POST",
                "/v1/classifiers",
                FittedAnswer.model_validate_json,
                options={
                    "blocks": blocks,
                    "deadline_seconds": deadline_seconds,
                    "fit": fit,
                    "head": head,
                    "head_options": head_options,
                    "job": job,
                    "labels": labels,
                    "model": model,
                    "name": name,
                    "noise_samples": noise_samples,
                    "pool_size": pool_size,
                    "priority": priority,
                    "timesteps": timesteps,
                },
                images={"images": images},
            )
        )

    async def get_classifier(self, classifier: str) -> ClassifierAnswer:
        """One classifier and its figures.

        As it was answered when it was fitted.
        """
        return await self._call(
            Call("GET", f"/v1/classifiers/{quote(classifier, safe='')}", ClassifierAnswer.model_validate_json)
        )

    async def get_concept(self, concept: str) -> ConceptAnswer:
        """One concept.

        Its name and its shots, without their images.
        """
        return await self._call(
            Call("GET", f"/v1/concepts/{quote(concept, safe='')}", ConceptAnswer.model_validate_json)
        )

    async def get_job(self, job: str) -> JobDetails:
        """One job.

        How far it is, and the first images that failed.
        """
        return await self._call(Call("GET", f"/v1/jobs/{quote(job, safe='')}", JobDetails.model_validate_json))

    async def grow_classifier(
        self,
        images: Image | Iterable[Image],
        *,
        classifier: str,
        deadline_seconds: float | None = None,
        labels: Sequence[str] | None = None,
        model: str | None = None,
        name: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        remove_classes: Sequence[str] | None = None,
    ) -> FittedAnswer:
        """Add images or classes to a classifier, or leave classes out.

        Only new images are looked at; the classifier is then fitted again to all of them, under the same id.

        images: Images.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        labels: One label for each image that is sent on its own, in the same order. Images in a zip are labelled
        by the folder they are in: `cat/1.jpg` is a cat.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        name: A new name.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "bulk".
        remove_classes: Classes to forget, with their images.
        """
        return await self._call(
            Call(
                "PATCH",
                f"/v1/classifiers/{quote(classifier, safe='')}",
                FittedAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "labels": labels,
                    "model": model,
                    "name": name,
                    "priority": priority,
                    "remove_classes": remove_classes,
                },
                images={"images": images},
            )
        )

    async def import_classifier(self, data: bytes) -> ClassifierAnswer:
        """Take in a classifier that was exported.

        It gets an id of its own. Only a server with the same backbone takes it.

        data: The file as it was exported.
        """
        return await self._call(Call("POST", "/v1/classifiers/import", ClassifierAnswer.model_validate_json, body=data))

    async def job_duplicates(
        self, job: str, *, similarity: float | None = None, index: Literal["auto", "exact", "hnsw"] | None = None
    ) -> DuplicatesAnswer:
        """Near-duplicates among a job's images.

        Of a job whose results hold vectors; made with `noise_samples` 0, or copies are not alike. 409 before its
        end.

        similarity: Cosine from which on two images are alike. Default: 0.998.
        index: Look at every pair, or at near ones alone. `auto`: every pair up to 30,000 images. Default: "auto".
        """
        return await self._call(
            Call(
                "GET",
                f"/v1/jobs/{quote(job, safe='')}/duplicates",
                DuplicatesAnswer.model_validate_json,
                query={"similarity": similarity, "index": index},
            )
        )

    async def label_tree(
        self,
        image: Image,
        *,
        tree: Mapping[str, Any] | Sequence[Any],
        budget: int | str | None = None,
        combine: Literal["mean", "best_prompt"] | None = None,
        confidence: float | None = None,
        deadline_seconds: float | None = None,
        loss: Literal["l2", "l1", "huber"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        temperature: float | None = None,
        templates: Sequence[str] | None = None,
    ) -> LabelTreeAnswer:
        """Classify an image by a tree of labels.

        image: The image.
        tree: Labels by what is below them: `{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry"]}}`. A list
        holds labels and such objects.
        budget: Of all levels together: a number of U-Net rows, or a time such as `250 ms`. Where it is spent the
        way ends, `complete` or not.
        combine: With several templates: race labels by the mean over their prompts, or prompts by themselves.
        Default: "mean".
        confidence: About the probability that the way is the one that evaluating all siblings on all timesteps
        leads. What may be wrong is shared out among the levels. Default: 0.95.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        loss: How the error of the predicted noise is measured. Default: "l2".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        temperature: What logits are divided by. Unset: the server's own.
        templates: Prompts with {} for the label. Unset: the server's own.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/classify/label-tree",
                LabelTreeAnswer.model_validate_json,
                options={
                    "tree": tree,
                    "budget": budget,
                    "combine": combine,
                    "confidence": confidence,
                    "deadline_seconds": deadline_seconds,
                    "loss": loss,
                    "model": model,
                    "priority": priority,
                    "temperature": temperature,
                    "templates": templates,
                },
                images={"image": image},
            )
        )

    def label_tree_stream(
        self,
        image: Image,
        *,
        tree: Mapping[str, Any] | Sequence[Any],
        budget: int | str | None = None,
        combine: Literal["mean", "best_prompt"] | None = None,
        confidence: float | None = None,
        deadline_seconds: float | None = None,
        loss: Literal["l2", "l1", "huber"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        temperature: float | None = None,
        templates: Sequence[str] | None = None,
    ) -> AsyncIterator[PathAnswer | LabelTreeAnswer]:
        """Classify an image by a tree of labels: the result each time it improves, then the answer.

        Classify an image by a tree of labels: Diffusion Classifier (arXiv:2303.16203).

        image: The image.
        tree: Labels by what is below them: `{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry"]}}`. A list
        holds labels and such objects.
        budget: Of all levels together: a number of U-Net rows, or a time such as `250 ms`. Where it is spent the
        way ends, `complete` or not.
        combine: With several templates: race labels by the mean over their prompts, or prompts by themselves.
        Default: "mean".
        confidence: About the probability that the way is the one that evaluating all siblings on all timesteps
        leads. What may be wrong is shared out among the levels. Default: 0.95.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        loss: How the error of the predicted noise is measured. Default: "l2".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        temperature: What logits are divided by. Unset: the server's own.
        templates: Prompts with {} for the label. Unset: the server's own.
        """
        return self._events(
            Call(
                "POST",
                "/v1/classify/label-tree/events",
                LabelTreeAnswer.model_validate_json,
                options={
                    "tree": tree,
                    "budget": budget,
                    "combine": combine,
                    "confidence": confidence,
                    "deadline_seconds": deadline_seconds,
                    "loss": loss,
                    "model": model,
                    "priority": priority,
                    "temperature": temperature,
                    "templates": templates,
                },
                images={"image": image},
                accept=EVENTS,
            ),
            PathAnswer,
        )

    async def list_classifiers(self) -> ClassifiersAnswer:
        """All classifiers.

        Without their numbers.
        """
        return await self._call(Call("GET", "/v1/classifiers", ClassifiersAnswer.model_validate_json))

    async def list_concepts(self) -> ConceptsAnswer:
        """All concepts.

        Without their images.
        """
        return await self._call(Call("GET", "/v1/concepts", ConceptsAnswer.model_validate_json))

    async def list_jobs(self, *, limit: int | None = None, before: float | None = None) -> JobsAnswer:
        """Jobs, newest first.

        Those of `diffsight annotate` on the same database are among them.

        limit: Default: 100.
        before: Only those made before; as the last answer has it.
        """
        return await self._call(
            Call("GET", "/v1/jobs", JobsAnswer.model_validate_json, query={"limit": limit, "before": before})
        )

    async def live(self) -> LiveAnswer:
        """Is the process alive?.

        200 while a restart would not help; 503 once the backbone could not be loaded or its worker died.
        """
        return await self._call(Call("GET", "/health/live", LiveAnswer.model_validate_json))

    async def load_model(self, model: str) -> ModelDescription:
        """Load a model now.

        Waits until it is READY; others that nobody uses leave for it where there is no room.
        """
        return await self._call(
            Call("POST", f"/v1/models/{quote(model, safe='')}/load", ModelDescription.model_validate_json)
        )

    async def make_concept(
        self,
        images: Image | Iterable[Image],
        *,
        masks: Image | Iterable[Image],
        name: str,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> ConceptAnswer:
        """Keep images with masks as a concept.

        Each image is encoded once, now: a request with the concept's id pays for its own image alone.

        images: Images.
        masks: One mask for each image, in the same order and of its image's size: object white, the rest black. A
        pixel counts where its brightest channel is at least half of the mask's brightest.
        name: What to call it; need not be unique.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/concepts",
                ConceptAnswer.model_validate_json,
                options={"name": name, "deadline_seconds": deadline_seconds, "model": model, "priority": priority},
                images={"images": images, "masks": masks},
            )
        )

    async def match_image_text(
        self,
        images: Image | Iterable[Image],
        *,
        captions: Sequence[str],
        deadline_seconds: float | None = None,
        interval: int | None = None,
        loss: Literal["l2", "l1", "huber"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> MatchAnswer:
        """Tell which caption fits which image.

        images: Images.
        captions: Sentences to compare.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        interval: Between the timesteps visited; 1 visits all 1,000, as published. Default: 20.
        loss: How the error of the predicted noise is measured. Default: "l2".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/match/image-text",
                MatchAnswer.model_validate_json,
                options={
                    "captions": captions,
                    "deadline_seconds": deadline_seconds,
                    "interval": interval,
                    "loss": loss,
                    "model": model,
                    "priority": priority,
                },
                images={"images": images},
            )
        )

    async def metrics(self) -> str:
        """Prometheus metrics.

        Counters and histograms in seconds, in the Prometheus text format.
        """
        return await self._call(Call("GET", "/metrics", text_of, accept=ANY))

    async def models(self) -> ModelsAnswer:
        """What is loaded, and how busy it is.

        The backbone, each task's defaults, and the engine's state.
        """
        return await self._call(Call("GET", "/v1/models", ModelsAnswer.model_validate_json))

    async def normals(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        ensemble_size: int | None = None,
        maps: bool | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        reduction: Literal["closest", "mean"] | None = None,
        resolution: int | None = None,
        seed: int | None = None,
        steps: int | None = None,
        uncertainty: bool | None = None,
    ) -> NormalsAnswer:
        """Surface normals of an image.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        ensemble_size: Predictions from different noise that are combined; the published figures use 10. More are
        slower and steadier, and two or more give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        reduction: How predictions are combined: the one that is closest to their mean at each pixel, or the mean.
        Default: "closest".
        resolution: Longer side in pixels that the network sees, a multiple of 8; 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: With the image's content it decides the noise: the same request has the same answer. Default: 0.
        steps: Steps of denoising. Unset: the model's own, from 1 to 10 as published.
        uncertainty: Include the map of how much the predictions differ; takes an ensemble. Default: false.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/normals",
                NormalsAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "ensemble_size": ensemble_size,
                    "maps": maps,
                    "model": model,
                    "priority": priority,
                    "reduction": reduction,
                    "resolution": resolution,
                    "seed": seed,
                    "steps": steps,
                    "uncertainty": uncertainty,
                },
                images={"image": image},
            )
        )

    async def normals_file(
        self,
        image: Image,
        *,
        format: Literal["npy", "overlay", "png", "uncertainty_png16"],
        deadline_seconds: float | None = None,
        ensemble_size: int | None = None,
        maps: bool | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        reduction: Literal["closest", "mean"] | None = None,
        resolution: int | None = None,
        seed: int | None = None,
        steps: int | None = None,
        uncertainty: bool | None = None,
    ) -> bytes:
        """Surface normals of an image: the answer as a file.

        Surface normals of an image: Marigold (arXiv:2505.09358).

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        ensemble_size: Predictions from different noise that are combined; the published figures use 10. More are
        slower and steadier, and two or more give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, some bytes a pixel; else its figures only. Default: true.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        reduction: How predictions are combined: the one that is closest to their mean at each pixel, or the mean.
        Default: "closest".
        resolution: Longer side in pixels that the network sees, a multiple of 8; 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: With the image's content it decides the noise: the same request has the same answer. Default: 0.
        steps: Steps of denoising. Unset: the model's own, from 1 to 10 as published.
        uncertainty: Include the map of how much the predictions differ; takes an ensemble. Default: false.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/normals/{format}",
                bytes,
                options={
                    "deadline_seconds": deadline_seconds,
                    "ensemble_size": ensemble_size,
                    "maps": maps,
                    "model": model,
                    "priority": priority,
                    "reduction": reduction,
                    "resolution": resolution,
                    "seed": seed,
                    "steps": steps,
                    "uncertainty": uncertainty,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def pause_job(self, job: str) -> JobDetails:
        """Let a job rest.

        What it has done is kept. 409 for one that has ended.
        """
        return await self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/pause", JobDetails.model_validate_json))

    async def perceive(
        self,
        image: Image,
        *,
        tasks: Mapping[str, Any] | Sequence[str],
        deadline_seconds: float | None = None,
        expressions: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        mask_format: Literal["rle", "polygons"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        scene: str | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> PerceiveAnswer:
        """Several tasks on one image.

        The image is decoded once; equal encodes and equal U-Net rows of the tasks are computed once.

        image: The image.
        tasks: Options by the task's name: `{"depth": {}, "referring": {"expressions": ["the cup"]}}`; `format`
        among them may be a form of the task that is JSON, such as `polygons`. Or a list of names, with options of
        four tasks beside it.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        expressions: With a list: of `referring`, what to find.
        labels: With a list: of `zero-shot`, texts to choose from.
        mask_format: With a list: how masks are written; `rle` unless it is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        scene: With a list: of `depth`, scene class of the published network.
        timesteps: With a list: of `features`, noise levels to look at.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/perceive",
                PerceiveAnswer.model_validate_json,
                options={
                    "tasks": tasks,
                    "deadline_seconds": deadline_seconds,
                    "expressions": expressions,
                    "labels": labels,
                    "mask_format": mask_format,
                    "model": model,
                    "priority": priority,
                    "scene": scene,
                    "timesteps": timesteps,
                },
                images={"image": image},
            )
        )

    async def pose(
        self,
        image: Image,
        *,
        box_scores: Sequence[float] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        coordinates: Literal["pixels", "normalised"] | None = None,
        crop: Literal["affine", "stretch"] | None = None,
        deadline_seconds: float | None = None,
        detector_threshold: float | None = None,
        flip_test: bool | None = None,
        keypoint_threshold: float | None = None,
        model: str | None = None,
        persons: Literal["auto", "detector", "whole_image"] | None = None,
        points: Literal["all", "body"] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> PoseAnswer:
        """Keypoints of the persons in an image.

        image: The image.
        box_scores: Scores of the boxes, one each, which come back and enter each person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach outside the image; one that lies outside, or has no width or height, fails alone.
        An empty list means no persons.
        coordinates: `normalised` divides x and y of `json` by the image's width and height. Default: "pixels".
        crop: `affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is
        what the published demo and the ComfyUI nodes do. Default: "affine".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        detector_threshold: Lowest score of a detected person. Unset: the server's own.
        flip_test: Also look at the mirrored person: a little more exact at twice the cost. Default: false.
        keypoint_threshold: Lowest score of a point that is drawn, or visible in COCO's form. Unset: the server's
        own.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        persons: Where boxes come from when none are sent: the server's detector, the whole image as one person,
        or the detector if there is one and else the whole image. Default: "auto".
        points: `body` answers the 17 of COCO alone, of a network with 133. Default: "all".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/pose",
                PoseAnswer.model_validate_json,
                options={
                    "box_scores": box_scores,
                    "boxes": boxes,
                    "coordinates": coordinates,
                    "crop": crop,
                    "deadline_seconds": deadline_seconds,
                    "detector_threshold": detector_threshold,
                    "flip_test": flip_test,
                    "keypoint_threshold": keypoint_threshold,
                    "model": model,
                    "persons": persons,
                    "points": points,
                    "priority": priority,
                },
                images={"image": image},
            )
        )

    async def pose_coco(
        self,
        image: Image,
        *,
        box_scores: Sequence[float] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        coordinates: Literal["pixels", "normalised"] | None = None,
        crop: Literal["affine", "stretch"] | None = None,
        deadline_seconds: float | None = None,
        detector_threshold: float | None = None,
        flip_test: bool | None = None,
        keypoint_threshold: float | None = None,
        model: str | None = None,
        persons: Literal["auto", "detector", "whole_image"] | None = None,
        points: Literal["all", "body"] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> CocoPoses:
        """Keypoints of the persons in an image.

        The answer in another form: COCO annotations.

        image: The image.
        box_scores: Scores of the boxes, one each, which come back and enter each person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach outside the image; one that lies outside, or has no width or height, fails alone.
        An empty list means no persons.
        coordinates: `normalised` divides x and y of `json` by the image's width and height. Default: "pixels".
        crop: `affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is
        what the published demo and the ComfyUI nodes do. Default: "affine".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        detector_threshold: Lowest score of a detected person. Unset: the server's own.
        flip_test: Also look at the mirrored person: a little more exact at twice the cost. Default: false.
        keypoint_threshold: Lowest score of a point that is drawn, or visible in COCO's form. Unset: the server's
        own.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        persons: Where boxes come from when none are sent: the server's detector, the whole image as one person,
        or the detector if there is one and else the whole image. Default: "auto".
        points: `body` answers the 17 of COCO alone, of a network with 133. Default: "all".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/pose/coco",
                CocoPoses.model_validate_json,
                options={
                    "box_scores": box_scores,
                    "boxes": boxes,
                    "coordinates": coordinates,
                    "crop": crop,
                    "deadline_seconds": deadline_seconds,
                    "detector_threshold": detector_threshold,
                    "flip_test": flip_test,
                    "keypoint_threshold": keypoint_threshold,
                    "model": model,
                    "persons": persons,
                    "points": points,
                    "priority": priority,
                },
                images={"image": image},
            )
        )

    async def pose_file(
        self,
        image: Image,
        *,
        format: Literal["openpose", "overlay"],
        box_scores: Sequence[float] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        coordinates: Literal["pixels", "normalised"] | None = None,
        crop: Literal["affine", "stretch"] | None = None,
        deadline_seconds: float | None = None,
        detector_threshold: float | None = None,
        flip_test: bool | None = None,
        keypoint_threshold: float | None = None,
        model: str | None = None,
        persons: Literal["auto", "detector", "whole_image"] | None = None,
        points: Literal["all", "body"] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> bytes:
        """Keypoints of the persons in an image: the answer as a file.

        Keypoints of the persons in an image: SDPose (arXiv:2509.24980).

        image: The image.
        box_scores: Scores of the boxes, one each, which come back and enter each person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach outside the image; one that lies outside, or has no width or height, fails alone.
        An empty list means no persons.
        coordinates: `normalised` divides x and y of `json` by the image's width and height. Default: "pixels".
        crop: `affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is
        what the published demo and the ComfyUI nodes do. Default: "affine".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        detector_threshold: Lowest score of a detected person. Unset: the server's own.
        flip_test: Also look at the mirrored person: a little more exact at twice the cost. Default: false.
        keypoint_threshold: Lowest score of a point that is drawn, or visible in COCO's form. Unset: the server's
        own.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        persons: Where boxes come from when none are sent: the server's detector, the whole image as one person,
        or the detector if there is one and else the whole image. Default: "auto".
        points: `body` answers the 17 of COCO alone, of a network with 133. Default: "all".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/pose/{format}",
                bytes,
                options={
                    "box_scores": box_scores,
                    "boxes": boxes,
                    "coordinates": coordinates,
                    "crop": crop,
                    "deadline_seconds": deadline_seconds,
                    "detector_threshold": detector_threshold,
                    "flip_test": flip_test,
                    "keypoint_threshold": keypoint_threshold,
                    "model": model,
                    "persons": persons,
                    "points": points,
                    "priority": priority,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def pose_openpose_json(
        self,
        image: Image,
        *,
        box_scores: Sequence[float] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        coordinates: Literal["pixels", "normalised"] | None = None,
        crop: Literal["affine", "stretch"] | None = None,
        deadline_seconds: float | None = None,
        detector_threshold: float | None = None,
        flip_test: bool | None = None,
        keypoint_threshold: float | None = None,
        model: str | None = None,
        persons: Literal["auto", "detector", "whole_image"] | None = None,
        points: Literal["all", "body"] | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> OpenPosePeople:
        """Keypoints of the persons in an image.

        The answer in another form: OpenPose's JSON.

        image: The image.
        box_scores: Scores of the boxes, one each, which come back and enter each person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach outside the image; one that lies outside, or has no width or height, fails alone.
        An empty list means no persons.
        coordinates: `normalised` divides x and y of `json` by the image's width and height. Default: "pixels".
        crop: `affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is
        what the published demo and the ComfyUI nodes do. Default: "affine".
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        detector_threshold: Lowest score of a detected person. Unset: the server's own.
        flip_test: Also look at the mirrored person: a little more exact at twice the cost. Default: false.
        keypoint_threshold: Lowest score of a point that is drawn, or visible in COCO's form. Unset: the server's
        own.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        persons: Where boxes come from when none are sent: the server's detector, the whole image as one person,
        or the detector if there is one and else the whole image. Default: "auto".
        points: `body` answers the 17 of COCO alone, of a network with 133. Default: "all".
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/pose/openpose_json",
                OpenPosePeople.model_validate_json,
                options={
                    "box_scores": box_scores,
                    "boxes": boxes,
                    "coordinates": coordinates,
                    "crop": crop,
                    "deadline_seconds": deadline_seconds,
                    "detector_threshold": detector_threshold,
                    "flip_test": flip_test,
                    "keypoint_threshold": keypoint_threshold,
                    "model": model,
                    "persons": persons,
                    "points": points,
                    "priority": priority,
                },
                images={"image": image},
            )
        )

    async def ready(self) -> ReadyAnswer:
        """Can it take requests?.

        200 once the backbone is loaded and warm, 503 before.
        """
        return await self._call(Call("GET", "/health/ready", ReadyAnswer.model_validate_json))

    async def referring(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        expression: str | None = None,
        expressions: Sequence[str] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        threshold: float | None = None,
    ) -> ReferringAnswer:
        """The mask that an expression names.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        expression: What to find; `expressions` takes several.
        expressions: What to find, a mask for each.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        threshold: Probability from which a pixel is in the mask. Default: 0.5.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/referring",
                ReferringAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "expression": expression,
                    "expressions": expressions,
                    "model": model,
                    "priority": priority,
                    "threshold": threshold,
                },
                images={"image": image},
            )
        )

    async def referring_file(
        self,
        image: Image,
        *,
        format: Literal["npy", "overlay", "png"],
        deadline_seconds: float | None = None,
        expression: str | None = None,
        expressions: Sequence[str] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        threshold: float | None = None,
    ) -> bytes:
        """The mask that an expression names: the answer as a file.

        The mask that an expression names: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        expression: What to find; `expressions` takes several.
        expressions: What to find, a mask for each.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        threshold: Probability from which a pixel is in the mask. Default: 0.5.
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/segmentation/referring/{format}",
                bytes,
                options={
                    "deadline_seconds": deadline_seconds,
                    "expression": expression,
                    "expressions": expressions,
                    "model": model,
                    "priority": priority,
                    "threshold": threshold,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def referring_polygons(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        expression: str | None = None,
        expressions: Sequence[str] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        threshold: float | None = None,
    ) -> ReferringAnswer:
        """The mask that an expression names.

        The answer in another form: masks as outlines.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        expression: What to find; `expressions` takes several.
        expressions: What to find, a mask for each.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        threshold: Probability from which a pixel is in the mask. Default: 0.5.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/referring/polygons",
                ReferringAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "expression": expression,
                    "expressions": expressions,
                    "model": model,
                    "priority": priority,
                    "threshold": threshold,
                },
                images={"image": image},
            )
        )

    async def referring_rle(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        expression: str | None = None,
        expressions: Sequence[str] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        threshold: float | None = None,
    ) -> ReferringAnswer:
        """The mask that an expression names.

        The answer in another form: masks as COCO RLE, as `json` has them.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        expression: What to find; `expressions` takes several.
        expressions: What to find, a mask for each.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        threshold: Probability from which a pixel is in the mask. Default: 0.5.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/referring/rle",
                ReferringAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "expression": expression,
                    "expressions": expressions,
                    "model": model,
                    "priority": priority,
                    "threshold": threshold,
                },
                images={"image": image},
            )
        )

    async def resume_job(self, job: str) -> JobDetails:
        """Let a paused job go on.

        It begins where it was. 409 for one that has ended.
        """
        return await self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/resume", JobDetails.model_validate_json))

    async def retry_job(self, job: str) -> JobDetails:
        """Try a job's failed images again.

        And all that has no result, of a job that failed as a whole. 409 for one that has not ended.
        """
        return await self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/retry", JobDetails.model_validate_json))

    async def segmentation(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """The class of every pixel.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `slide` and `multiscale` are the published ones: overlapping windows, and five scales of them
        with mirror images. `fast` runs one pass. Default: "fast".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation",
                SegmentationAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                },
                images={"image": image},
            )
        )

    async def segmentation_file(
        self,
        image: Image,
        *,
        format: Literal["npy", "overlay", "png"],
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> bytes:
        """The class of every pixel: the answer as a file.

        The class of every pixel: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `slide` and `multiscale` are the published ones: overlapping windows, and five scales of them
        with mirror images. `fast` runs one pass. Default: "fast".
        """
        return await self._call(
            Call(
                "POST",
                f"/v1/segmentation/{format}",
                bytes,
                options={
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                },
                images={"image": image},
                accept=ANY,
            )
        )

    async def segmentation_polygons(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """The class of every pixel.

        The answer in another form: masks as outlines.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `slide` and `multiscale` are the published ones: overlapping windows, and five scales of them
        with mirror images. `fast` runs one pass. Default: "fast".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/polygons",
                SegmentationAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                },
                images={"image": image},
            )
        )

    async def segmentation_rle(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """The class of every pixel.

        The answer in another form: masks as COCO RLE, as `json` has them.

        image: The image.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        protocol: `slide` and `multiscale` are the published ones: overlapping windows, and five scales of them
        with mirror images. `fast` runs one pass. Default: "fast".
        """
        return await self._call(
            Call(
                "POST",
                "/v1/segmentation/rle",
                SegmentationAnswer.model_validate_json,
                options={
                    "deadline_seconds": deadline_seconds,
                    "model": model,
                    "priority": priority,
                    "protocol": protocol,
                },
                images={"image": image},
            )
        )

    async def unload_model(self, model: str) -> ModelDescription:
        """Let go of a model.

        A backbone goes with all that runs on it, from host memory too. The next request for it reads it again.
        """
        return await self._call(
            Call("POST", f"/v1/models/{quote(model, safe='')}/unload", ModelDescription.model_validate_json)
        )

    async def zero_shot(
        self,
        image: Image,
        *,
        labels: Sequence[str],
        budget: int | str | None = None,
        combine: Literal["mean", "best_prompt"] | None = None,
        confidence: float | None = None,
        deadline_seconds: float | None = None,
        indifference: float | None = None,
        loss: Literal["l2", "l1", "huber"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        schedule: Literal["default", "published"] | RoundsRequest | Mapping[str, Any] | None = None,
        scheme: Literal["schedule", "race"] | None = None,
        temperature: float | None = None,
        templates: Sequence[str] | None = None,
        trials: int | None = None,
    ) -> ZeroShotAnswer:
        """Classify an image by labels of your own.

        image: The image.
        labels: Texts to choose from, each once. A single label has probability 1.
        budget: Race: where to stop before it is sure: a number of U-Net rows, or a time such as `250 ms` or `2
        s`. The answer then is the leader, with the confidence it has reached. With a time the answer depends on
        how busy the server is.
        combine: Race with several templates: `mean` races labels by the mean over their prompts; `best_prompt`
        races prompts, as the schedule does. Unset: `mean`.
        confidence: Race: about the probability that the answer is that of all labels on all timesteps. 0.95 where
        none is given; 1 evaluates them all.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        indifference: Race: a mean error by which the answer may be worse than the best one; labels that are
        closer count as tied.
        loss: How the error of the predicted noise is measured. Default: "l2".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        schedule: Schedule: `default` spends a tenth to two fifths of the rows of `published`, which is the
        paper's; or rounds of one's own. Unset: `default`.
        scheme: `schedule` drops labels in fixed rounds, as the paper does, and knows no confidence. `race` drops
        a label once a paired test says so, and spends more rows only while labels are close. Unset: `race` where
        `confidence`, `budget`, `indifference` or `combine` is given, else `schedule`.
        temperature: What the posterior's logits are divided by. Unset: the one fitted to labelled images where
        the server has one for this way of reaching the answer, else the server's own.
        templates: Prompts with {} for the label. Each label in each template is a hypothesis; the label of the
        best one wins. Unset: the server's own, `a photo of a {}.` unless it was changed.
        trials: Schedule: noises for each timestep. Default: 1.
        """
        return await self._call(
            Call(
                "POST",
                "/v1/classify/zero-shot",
                ZeroShotAnswer.model_validate_json,
                options={
                    "labels": labels,
                    "budget": budget,
                    "combine": combine,
                    "confidence": confidence,
                    "deadline_seconds": deadline_seconds,
                    "indifference": indifference,
                    "loss": loss,
                    "model": model,
                    "priority": priority,
                    "schedule": schedule,
                    "scheme": scheme,
                    "temperature": temperature,
                    "templates": templates,
                    "trials": trials,
                },
                images={"image": image},
            )
        )

    def zero_shot_stream(
        self,
        image: Image,
        *,
        labels: Sequence[str],
        budget: int | str | None = None,
        combine: Literal["mean", "best_prompt"] | None = None,
        confidence: float | None = None,
        deadline_seconds: float | None = None,
        indifference: float | None = None,
        loss: Literal["l2", "l1", "huber"] | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        schedule: Literal["default", "published"] | RoundsRequest | Mapping[str, Any] | None = None,
        scheme: Literal["schedule", "race"] | None = None,
        temperature: float | None = None,
        templates: Sequence[str] | None = None,
        trials: int | None = None,
    ) -> AsyncIterator[ProgressAnswer | ZeroShotAnswer]:
        """Classify an image by labels of your own: the result each time it improves, then the answer.

        Classify an image by labels of your own: Diffusion Classifier (arXiv:2303.16203).

        image: The image.
        labels: Texts to choose from, each once. A single label has probability 1.
        budget: Race: where to stop before it is sure: a number of U-Net rows, or a time such as `250 ms` or `2
        s`. The answer then is the leader, with the confidence it has reached. With a time the answer depends on
        how busy the server is.
        combine: Race with several templates: `mean` races labels by the mean over their prompts; `best_prompt`
        races prompts, as the schedule does. Unset: `mean`.
        confidence: Race: about the probability that the answer is that of all labels on all timesteps. 0.95 where
        none is given; 1 evaluates them all.
        deadline_seconds: Seconds after which the answer is 504 and waiting work is dropped; at most the server's
        limit, which holds where none is given.
        indifference: Race: a mean error by which the answer may be worse than the best one; labels that are
        closer count as tied.
        loss: How the error of the predicted noise is measured. Default: "l2".
        model: Id of the model to run on, as GET /v1/models lists them; the task's default where none is given.
        priority: Bulk work yields to interactive work, and still always moves on. Default: "interactive".
        schedule: Schedule: `default` spends a tenth to two fifths of the rows of `published`, which is the
        paper's; or rounds of one's own. Unset: `default`.
        scheme: `schedule` drops labels in fixed rounds, as the paper does, and knows no confidence. `race` drops
        a label once a paired test says so, and spends more rows only while labels are close. Unset: `race` where
        `confidence`, `budget`, `indifference` or `combine` is given, else `schedule`.
        temperature: What the posterior's logits are divided by. Unset: the one fitted to labelled images where
        the server has one for this way of reaching the answer, else the server's own.
        templates: Prompts with {} for the label. Each label in each template is a hypothesis; the label of the
        best one wins. Unset: the server's own, `a photo of a {}.` unless it was changed.
        trials: Schedule: noises for each timestep. Default: 1.
        """
        return self._events(
            Call(
                "POST",
                "/v1/classify/zero-shot/events",
                ZeroShotAnswer.model_validate_json,
                options={
                    "labels": labels,
                    "budget": budget,
                    "combine": combine,
                    "confidence": confidence,
                    "deadline_seconds": deadline_seconds,
                    "indifference": indifference,
                    "loss": loss,
                    "model": model,
                    "priority": priority,
                    "schedule": schedule,
                    "scheme": scheme,
                    "temperature": temperature,
                    "templates": templates,
                    "trials": trials,
                },
                images={"image": image},
                accept=EVENTS,
            ),
            ProgressAnswer,
        )
