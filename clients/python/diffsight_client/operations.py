"""A method an operation; they wait for the answer.

Written by `make openapi` from the OpenAPI document: change that, not this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Operations(ABC):
    """What a server does, a method an operation."""

    @abstractmethod
    def _call(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _events(self, call: Call[Final], progress: type[Progress]) -> Iterator[Progress | Final]: ...

    def change_concept(
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
        """Add shots to a concept, or remove shots.

        Encodes the new images only. Answers 409 if another request changed the concept in the meantime.

        images: Images.
        masks: One mask for each image, in the same order and of the same size: the object is white, all else
        black. A pixel belongs to the object if its brightest channel is at least half of the brightest value of
        the mask.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        remove_shots: Ids of shots to remove.
        """
        return self._call(
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

    def classify_fitted(
        self,
        images: Image | Iterable[Image],
        *,
        classifier: str,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        top: int | None = None,
    ) -> ClassifyAnswer:
        """Classify images by a fitted classifier.

        images: Images.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        top: Number of classes to return for each image, most likely first. Default: 5.
        """
        return self._call(
            Call(
                "POST",
                f"/v1/classify/{quote(classifier, safe='')}",
                ClassifyAnswer.model_validate_json,
                options={"deadline_seconds": deadline_seconds, "model": model, "priority": priority, "top": top},
                images={"images": images},
            )
        )

    def delete_classifier(self, classifier: str) -> None:
        """Delete a classifier.

        Requests that already run with the classifier are still answered.
        """
        return self._call(Call("DELETE", f"/v1/classifiers/{quote(classifier, safe='')}", nothing))

    def delete_concept(self, concept: str) -> None:
        """Delete a concept.

        Requests that already run with the concept are still answered.
        """
        return self._call(Call("DELETE", f"/v1/concepts/{quote(concept, safe='')}", nothing))

    def delete_job(self, job: str) -> None:
        """Delete a job.

        Deletes the job, its upload, and all results that no other job shares. A running job is stopped.
        """
        return self._call(Call("DELETE", f"/v1/jobs/{quote(job, safe='')}", nothing))

    def depth(
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
        """Estimate metric depth.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        flip: With `protocol` `published`: also predict the mirror image of each window, and average. Default:
        true.
        maps: Include the depth map in the JSON answer, which takes some bytes for each pixel. If false, the
        answer holds the statistics alone. Default: true.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `published` averages the predictions for square windows and their mirror images, as in the
        paper; `fast` predicts the whole image in one pass. Default: "fast".
        scene: Scene class of the published network: a name such as `kitchen`, or its index. Unset: the mean of
        all classes. Heads trained by `diffsight fit` have no scene classes.
        windows: With `protocol` `published`: minimum number of windows along the longer side. Default: 2.
        """
        return self._call(
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

    def depth_file(
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
        """Estimate metric depth: the answer as a file.

        Estimate metric depth: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        flip: With `protocol` `published`: also predict the mirror image of each window, and average. Default:
        true.
        maps: Include the depth map in the JSON answer, which takes some bytes for each pixel. If false, the
        answer holds the statistics alone. Default: true.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `published` averages the predictions for square windows and their mirror images, as in the
        paper; `fast` predicts the whole image in one pass. Default: "fast".
        scene: Scene class of the published network: a name such as `kitchen`, or its index. Unset: the mean of
        all classes. Heads trained by `diffsight fit` have no scene classes.
        windows: With `protocol` `published`: minimum number of windows along the longer side. Default: 2.
        """
        return self._call(
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

    def depth_relative(
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
        """Estimate depth up to scale and shift, or metres from known distances.

        image: The image.
        alignment: How the predictions of an ensemble are aligned before they are combined. Both ways minimise the
        published objective. `published` runs the code of diffusers, whose rounding can show in the map. `stable`
        does not depend on rounding, and is faster. Default: "stable".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        ensemble_size: Number of predictions from different noise that are combined; the published figures use 10.
        More predictions are slower and vary less. Two or more also give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, which takes some bytes for each pixel. If false, the answer
        holds figures alone. Default: true.
        metric_map: Known distances as a map: a 16-bit greyscale PNG in base64, of the image's size, in
        millimetres. 0 means unknown.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        points: Known distances, each [x, y, metres] with x and y in pixels. The answer is then in metres, by the
        scale and shift that fit them best. Send at least two, at different depths.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        reduction: How the aligned predictions of an ensemble are combined. Default: "median".
        resolution: Longer side in pixels at which the network runs, a multiple of 8. 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: Seed of the noise, together with the image's content. The same request always has the same answer.
        Default: 0.
        steps: Number of denoising steps. Unset: the model's own, which is 1 to 10 for the published models.
        uncertainty: Include a map of how much the predictions differ. Needs an `ensemble_size` of at least 2.
        Default: false.
        """
        return self._call(
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

    def depth_relative_file(
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
        """Estimate depth up to scale and shift, or metres from known distances: the answer as a file.

        Estimate depth up to scale and shift, or metres from known distances: Marigold (arXiv:2312.02145).

        image: The image.
        alignment: How the predictions of an ensemble are aligned before they are combined. Both ways minimise the
        published objective. `published` runs the code of diffusers, whose rounding can show in the map. `stable`
        does not depend on rounding, and is faster. Default: "stable".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        ensemble_size: Number of predictions from different noise that are combined; the published figures use 10.
        More predictions are slower and vary less. Two or more also give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, which takes some bytes for each pixel. If false, the answer
        holds figures alone. Default: true.
        metric_map: Known distances as a map: a 16-bit greyscale PNG in base64, of the image's size, in
        millimetres. 0 means unknown.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        points: Known distances, each [x, y, metres] with x and y in pixels. The answer is then in metres, by the
        scale and shift that fit them best. Send at least two, at different depths.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        reduction: How the aligned predictions of an ensemble are combined. Default: "median".
        resolution: Longer side in pixels at which the network runs, a multiple of 8. 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: Seed of the noise, together with the image's content. The same request always has the same answer.
        Default: 0.
        steps: Number of denoising steps. Unset: the model's own, which is 1 to 10 for the published models.
        uncertainty: Include a map of how much the predictions differ. Needs an `ensemble_size` of at least 2.
        Default: false.
        """
        return self._call(
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

    def export_classifier(self, classifier: str, *, vectors: bool | None = None) -> bytes:
        """Export a classifier as a safetensors file.

        The classifier's weights as tensors, and all else as JSON in the file's header.

        vectors: Default: true.
        """
        return self._call(
            Call(
                "GET",
                f"/v1/classifiers/{quote(classifier, safe='')}/export",
                bytes,
                query={"vectors": vectors},
                accept=ANY,
            )
        )

    def features(
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
        """Extract feature vectors of images.

        images: Images.
        blocks: Blocks of the network to read: numbers from 1, or diffusers names such as `mid_block`. Unset: the
        middle block and one block of the decoder.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        fit: How an image is made square: crop the longer side, pad the shorter side, or squash. Default: "crop".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        noise_samples: Number of noise samples to average over; 0 adds no noise. Default: 1.
        normalise: Scale each vector to length 1. Default: false.
        pool_size: Feature maps are averaged over a grid of `pool_size` x `pool_size` cells. Default: 1.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        timesteps: Timesteps of the noise schedule: how much noise is added. Each costs one U-Net row per image
        and noise sample. Default: [100].
        """
        return self._call(
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

    def features_file(
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
        """Extract feature vectors of images: the answer as a file.

        Extract feature vectors of images: Diffusion Models Beat GANs on Image Classification (arXiv:2307.08702).

        images: Images.
        blocks: Blocks of the network to read: numbers from 1, or diffusers names such as `mid_block`. Unset: the
        middle block and one block of the decoder.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        fit: How an image is made square: crop the longer side, pad the shorter side, or squash. Default: "crop".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        noise_samples: Number of noise samples to average over; 0 adds no noise. Default: 1.
        normalise: Scale each vector to length 1. Default: false.
        pool_size: Feature maps are averaged over a grid of `pool_size` x `pool_size` cells. Default: 1.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        timesteps: Timesteps of the noise schedule: how much noise is added. Each costs one U-Net row per image
        and noise sample. Default: [100].
        """
        return self._call(
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

    def few_shot_segmentation(
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
        """Segment what support images show.

        image: The image.
        support_images: Support images that all show the same thing, other than the image to search.
        support_masks: One mask for each image, in the same order and of the same size: the object is white, all
        else black. A pixel belongs to the object if its brightest channel is at least half of the brightest value
        of the mask.
        concepts: Ids of the concepts to find. With several, each pixel belongs to at most one concept.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        name: Name of what the support images show. Default: "object".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        support_sampling: Reduce the tokens of all supports of a concept to the number of one support, by random
        choice. The cost then does not grow with the number of shots. Weights that were trained on one shot are
        reported to be more accurate with it. Default: false.
        threshold: `relative`, as published, cuts at a share of the greatest strength, so there is always a mask,
        even if the image does not show the concept. `absolute` cuts at a fixed strength, and the mask may be
        empty. Use it to decide whether the concept is there, or with several concepts. Default: "relative".
        threshold_value: The share or the strength to cut at. Unset: 0.25 for `relative`, as published; 0.15 for
        `absolute`.
        """
        return self._call(
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

    def few_shot_segmentation_file(
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
        """Segment what support images show: the answer as a file.

        Segment what support images show: DiffewS (arXiv:2410.02369).

        image: The image.
        support_images: Support images that all show the same thing, other than the image to search.
        support_masks: One mask for each image, in the same order and of the same size: the object is white, all
        else black. A pixel belongs to the object if its brightest channel is at least half of the brightest value
        of the mask.
        concepts: Ids of the concepts to find. With several, each pixel belongs to at most one concept.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        name: Name of what the support images show. Default: "object".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        support_sampling: Reduce the tokens of all supports of a concept to the number of one support, by random
        choice. The cost then does not grow with the number of shots. Weights that were trained on one shot are
        reported to be more accurate with it. Default: false.
        threshold: `relative`, as published, cuts at a share of the greatest strength, so there is always a mask,
        even if the image does not show the concept. `absolute` cuts at a fixed strength, and the mask may be
        empty. Use it to decide whether the concept is there, or with several concepts. Default: "relative".
        threshold_value: The share or the strength to cut at. Unset: 0.25 for `relative`, as published; 0.15 for
        `absolute`.
        """
        return self._call(
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

    def few_shot_segmentation_polygons(
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
        """Segment what support images show.

        The answer in another form: masks as polygons.

        image: The image.
        support_images: Support images that all show the same thing, other than the image to search.
        support_masks: One mask for each image, in the same order and of the same size: the object is white, all
        else black. A pixel belongs to the object if its brightest channel is at least half of the brightest value
        of the mask.
        concepts: Ids of the concepts to find. With several, each pixel belongs to at most one concept.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        name: Name of what the support images show. Default: "object".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        support_sampling: Reduce the tokens of all supports of a concept to the number of one support, by random
        choice. The cost then does not grow with the number of shots. Weights that were trained on one shot are
        reported to be more accurate with it. Default: false.
        threshold: `relative`, as published, cuts at a share of the greatest strength, so there is always a mask,
        even if the image does not show the concept. `absolute` cuts at a fixed strength, and the mask may be
        empty. Use it to decide whether the concept is there, or with several concepts. Default: "relative".
        threshold_value: The share or the strength to cut at. Unset: 0.25 for `relative`, as published; 0.15 for
        `absolute`.
        """
        return self._call(
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

    def fit_classifier(
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

        Fits logistic regression on pooled features. Cross-validation chooses its strength, temperature and
        novelty threshold.

        images: Images.
        blocks: Blocks of the network to read: numbers from 1, or diffusers names such as `mid_block`. Unset: the
        middle block and one block of the decoder.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        fit: How an image is made square: crop the longer side, pad the shorter side, or squash. Default: "crop".
        head: Kind of classifier. `logistic` works from a handful of images up to thousands. The other heads are
        those of the published code, trained by plain gradient descent as published, and need many images.
        `attention` reads one block at one timestep as `pool_size` x `pool_size` tokens; `fusion` reads several
        blocks or timesteps. Default: "logistic".
        head_options: Sizes of a head other than `logistic`.
        job: Id of a finished job of the task `features`. The classifier is fitted on the job's vectors: each
        image has the label of the folder it is in. The request may add further images; they are read with the
        job's options.
        labels: One label for each image outside of a zip, in the same order. An image in a zip has the name of
        its folder as label: `cat/1.jpg` is a cat.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        name: A name for people to read. It need not be unique; the server chooses the id. Default: "".
        noise_samples: Number of noise samples to average over; 0 adds no noise. Default: 1.
        pool_size: Feature maps are averaged over a grid of `pool_size` x `pool_size` cells. Default: 1.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default: "bulk".
        timesteps: Timesteps of the noise schedule: how much noise is added. Each costs one U-Net row per image
        and noise sample. Default: [100].
        """
        return self._call(
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

    def get_classifier(self, classifier: str) -> ClassifierAnswer:
        """Get one classifier with its figures.

        The same answer as when it was fitted.
        """
        return self._call(
            Call("GET", f"/v1/classifiers/{quote(classifier, safe='')}", ClassifierAnswer.model_validate_json)
        )

    def get_concept(self, concept: str) -> ConceptAnswer:
        """Get one concept.

        The name and the shots, without images.
        """
        return self._call(Call("GET", f"/v1/concepts/{quote(concept, safe='')}", ConceptAnswer.model_validate_json))

    def get_job(self, job: str) -> JobDetails:
        """Get one job.

        The progress of the job, and the first images that failed.
        """
        return self._call(Call("GET", f"/v1/jobs/{quote(job, safe='')}", JobDetails.model_validate_json))

    def grow_classifier(
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
        """Add images or classes to a classifier, or remove classes.

        Computes vectors of the new images only, then fits the classifier again on all images. The id stays the
        same.

        images: Images.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        labels: One label for each image outside of a zip, in the same order. An image in a zip has the name of
        its folder as label: `cat/1.jpg` is a cat.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        name: The new name.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default: "bulk".
        remove_classes: Classes to remove, with their images.
        """
        return self._call(
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

    def import_classifier(self, data: bytes) -> ClassifierAnswer:
        """Import a classifier.

        The classifier gets a new id. The server must have the backbone that it was fitted on.

        data: The file as it was exported.
        """
        return self._call(Call("POST", "/v1/classifiers/import", ClassifierAnswer.model_validate_json, body=data))

    def job_duplicates(
        self, job: str, *, similarity: float | None = None, index: Literal["auto", "exact", "hnsw"] | None = None
    ) -> DuplicatesAnswer:
        """Find near-duplicates among a job's images.

        Groups the images of a finished job whose results are feature vectors. Run the job with `noise_samples` 0,
        or copies of an image get different vectors. Answers 409 before the job's end.

        similarity: Lowest cosine similarity of two images that count as near-duplicates. Default: 0.998.
        index: `exact` compares every pair. `hnsw` uses an approximate index, which is faster and may miss pairs.
        `auto` takes `exact` up to 30,000 images, else `hnsw`. Default: "auto".
        """
        return self._call(
            Call(
                "GET",
                f"/v1/jobs/{quote(job, safe='')}/duplicates",
                DuplicatesAnswer.model_validate_json,
                query={"similarity": similarity, "index": index},
            )
        )

    def label_tree(
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
        tree: The tree of labels, such as `{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry"]}}`. Keys and
        texts are labels. A list may hold texts and objects.
        budget: Budget for all levels together: a number of U-Net rows, or a time such as `250 ms`. When it is
        spent, the path ends, even above a leaf; see `complete`.
        combine: With several templates: `mean` compares labels by the mean error over their prompts,
        `best_prompt` compares single prompts. Default: "mean".
        confidence: Approximate probability that the answer is the path that evaluating all siblings at all
        timesteps would give. The levels share the error probability. Default: 0.95.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        loss: How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or Huber error
        (`huber`). Default: "l2".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        temperature: Temperature that logits are divided by. Unset: the server's temperature.
        templates: Prompt templates, in which {} stands for the label. Unset: the server's templates.
        """
        return self._call(
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
    ) -> Iterator[PathAnswer | LabelTreeAnswer]:
        """Classify an image by a tree of labels: the result each time it improves, then the answer.

        Classify an image by a tree of labels: Diffusion Classifier (arXiv:2303.16203).

        image: The image.
        tree: The tree of labels, such as `{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry"]}}`. Keys and
        texts are labels. A list may hold texts and objects.
        budget: Budget for all levels together: a number of U-Net rows, or a time such as `250 ms`. When it is
        spent, the path ends, even above a leaf; see `complete`.
        combine: With several templates: `mean` compares labels by the mean error over their prompts,
        `best_prompt` compares single prompts. Default: "mean".
        confidence: Approximate probability that the answer is the path that evaluating all siblings at all
        timesteps would give. The levels share the error probability. Default: 0.95.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        loss: How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or Huber error
        (`huber`). Default: "l2".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        temperature: Temperature that logits are divided by. Unset: the server's temperature.
        templates: Prompt templates, in which {} stands for the label. Unset: the server's templates.
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

    def list_classifiers(self) -> ClassifiersAnswer:
        """List classifiers.

        Metadata and figures of each classifier, without its weights.
        """
        return self._call(Call("GET", "/v1/classifiers", ClassifiersAnswer.model_validate_json))

    def list_concepts(self) -> ConceptsAnswer:
        """List concepts.

        Names and shots of each concept, without images.
        """
        return self._call(Call("GET", "/v1/concepts", ConceptsAnswer.model_validate_json))

    def list_jobs(self, *, limit: int | None = None, before: float | None = None) -> JobsAnswer:
        """List jobs, newest first.

        The list includes jobs of `diffsight annotate` in the same database.

        limit: Default: 100.
        before: Only jobs created before this time: the value `before` of the previous answer.
        """
        return self._call(
            Call("GET", "/v1/jobs", JobsAnswer.model_validate_json, query={"limit": limit, "before": before})
        )

    def live(self) -> LiveAnswer:
        """Is the process alive?.

        Answers 200 while the process works. Answers 503 if a restart may help: the backbone could not be loaded,
        or its worker died.
        """
        return self._call(Call("GET", "/health/live", LiveAnswer.model_validate_json))

    def load_model(self, model: str) -> ModelDescription:
        """Load a model now.

        Answers when the model is READY. If there is no room, models that are not in use are unloaded first.
        """
        return self._call(
            Call("POST", f"/v1/models/{quote(model, safe='')}/load", ModelDescription.model_validate_json)
        )

    def make_concept(
        self,
        images: Image | Iterable[Image],
        *,
        masks: Image | Iterable[Image],
        name: str,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
    ) -> ConceptAnswer:
        """Create a concept from images with masks.

        The support images are encoded once, by this request. Later requests with the concept's id encode only the
        image to search.

        images: Images.
        masks: One mask for each image, in the same order and of the same size: the object is white, all else
        black. A pixel belongs to the object if its brightest channel is at least half of the brightest value of
        the mask.
        name: Name of the concept. It need not be unique.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
            Call(
                "POST",
                "/v1/concepts",
                ConceptAnswer.model_validate_json,
                options={"name": name, "deadline_seconds": deadline_seconds, "model": model, "priority": priority},
                images={"images": images, "masks": masks},
            )
        )

    def match_image_text(
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
        """Match captions with images.

        images: Images.
        captions: Captions to compare with the images.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        interval: Step between the timesteps that are evaluated. 1 evaluates all 1,000, as published. Default: 20.
        loss: How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or Huber error
        (`huber`). Default: "l2".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
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

    def metrics(self) -> str:
        """Prometheus metrics.

        Counters and histograms in the Prometheus text format. Times are in seconds.
        """
        return self._call(Call("GET", "/metrics", text_of, accept=ANY))

    def models(self) -> ModelsAnswer:
        """List models and tasks, and the load of the device.

        The models of the server, the tasks with their defaults, and the load of the device.
        """
        return self._call(Call("GET", "/v1/models", ModelsAnswer.model_validate_json))

    def normals(
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
        """Estimate surface normals.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        ensemble_size: Number of predictions from different noise that are combined; the published figures use 10.
        More predictions are slower and vary less. Two or more also give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, which takes some bytes for each pixel. If false, the answer
        holds figures alone. Default: true.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        reduction: How the predictions of an ensemble are combined: at each pixel the prediction closest to their
        mean (`closest`), or the mean (`mean`). Default: "closest".
        resolution: Longer side in pixels at which the network runs, a multiple of 8. 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: Seed of the noise, together with the image's content. The same request always has the same answer.
        Default: 0.
        steps: Number of denoising steps. Unset: the model's own, which is 1 to 10 for the published models.
        uncertainty: Include a map of how much the predictions differ. Needs an `ensemble_size` of at least 2.
        Default: false.
        """
        return self._call(
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

    def normals_file(
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
        """Estimate surface normals: the answer as a file.

        Estimate surface normals: Marigold (arXiv:2505.09358).

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        ensemble_size: Number of predictions from different noise that are combined; the published figures use 10.
        More predictions are slower and vary less. Two or more also give an uncertainty. Default: 1.
        maps: Include the maps in the JSON answer, which takes some bytes for each pixel. If false, the answer
        holds figures alone. Default: true.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        reduction: How the predictions of an ensemble are combined: at each pixel the prediction closest to their
        mean (`closest`), or the mean (`mean`). Default: "closest".
        resolution: Longer side in pixels at which the network runs, a multiple of 8. 0 is the image's own size.
        Unset: the model's own, 768 as published.
        seed: Seed of the noise, together with the image's content. The same request always has the same answer.
        Default: 0.
        steps: Number of denoising steps. Unset: the model's own, which is 1 to 10 for the published models.
        uncertainty: Include a map of how much the predictions differ. Needs an `ensemble_size` of at least 2.
        Default: false.
        """
        return self._call(
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

    def pause_job(self, job: str) -> JobDetails:
        """Pause a job.

        Finished images keep their results. Answers 409 if the job has ended.
        """
        return self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/pause", JobDetails.model_validate_json))

    def perceive(
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
        """Run several tasks on one image.

        Runs several tasks on one image. The image is decoded and encoded once, and U-Net rows that several tasks
        need are computed once.

        image: The image.
        tasks: An object with the options of each task: `{"depth": {}, "referring": {"expressions": ["the
        cup"]}}`. The option `format` can be any JSON form of the task, such as `polygons`. Or a list of task
        names; then `scene`, `expressions`, `labels`, `timesteps` and `mask_format` hold the options.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        expressions: If `tasks` is a list: `expressions` of `referring`.
        labels: If `tasks` is a list: `labels` of `zero-shot`.
        mask_format: If `tasks` is a list: how masks are encoded. Unset: `rle`.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        scene: If `tasks` is a list: `scene` of `depth`.
        timesteps: If `tasks` is a list: `timesteps` of `features`.
        """
        return self._call(
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

    def pose(
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
        """Estimate keypoints of persons.

        image: The image.
        box_scores: Score of each box, 0 to 1. It is part of the person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach beyond the image. A box that lies outside the image, or has no width or height,
        gets a `problem`, and the others are still processed. An empty list means no persons.
        coordinates: `pixels`: keypoints of `json` are in pixels. `normalised`: x and y are divided by the image's
        width and height. Default: "pixels".
        crop: How a person is cut out. `affine` enlarges the box by a quarter and keeps its aspect ratio, as for
        the published figures. `stretch` stretches the box to the network's input, as the published demo and the
        ComfyUI nodes do. Default: "affine".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        detector_threshold: Lowest score of a detected person. Unset: the server's setting.
        flip_test: Also run the mirrored person, and average: a little more accurate at twice the cost. Default:
        false.
        keypoint_threshold: Lowest score of a keypoint that is drawn, or marked as visible in COCO's format.
        Unset: the server's setting.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        persons: Where boxes come from if the request has none. `detector`: the server's person detector.
        `whole_image`: the image is one person. `auto`: the detector if there is one, else the whole image.
        Default: "auto".
        points: `all`: all keypoints of the network. `body`: only COCO's 17, if the network has 133. Default:
        "all".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
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

    def pose_coco(
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
        """Estimate keypoints of persons.

        The answer in another form: COCO annotations.

        image: The image.
        box_scores: Score of each box, 0 to 1. It is part of the person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach beyond the image. A box that lies outside the image, or has no width or height,
        gets a `problem`, and the others are still processed. An empty list means no persons.
        coordinates: `pixels`: keypoints of `json` are in pixels. `normalised`: x and y are divided by the image's
        width and height. Default: "pixels".
        crop: How a person is cut out. `affine` enlarges the box by a quarter and keeps its aspect ratio, as for
        the published figures. `stretch` stretches the box to the network's input, as the published demo and the
        ComfyUI nodes do. Default: "affine".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        detector_threshold: Lowest score of a detected person. Unset: the server's setting.
        flip_test: Also run the mirrored person, and average: a little more accurate at twice the cost. Default:
        false.
        keypoint_threshold: Lowest score of a keypoint that is drawn, or marked as visible in COCO's format.
        Unset: the server's setting.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        persons: Where boxes come from if the request has none. `detector`: the server's person detector.
        `whole_image`: the image is one person. `auto`: the detector if there is one, else the whole image.
        Default: "auto".
        points: `all`: all keypoints of the network. `body`: only COCO's 17, if the network has 133. Default:
        "all".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
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

    def pose_file(
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
        """Estimate keypoints of persons: the answer as a file.

        Estimate keypoints of persons: SDPose (arXiv:2509.24980).

        image: The image.
        box_scores: Score of each box, 0 to 1. It is part of the person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach beyond the image. A box that lies outside the image, or has no width or height,
        gets a `problem`, and the others are still processed. An empty list means no persons.
        coordinates: `pixels`: keypoints of `json` are in pixels. `normalised`: x and y are divided by the image's
        width and height. Default: "pixels".
        crop: How a person is cut out. `affine` enlarges the box by a quarter and keeps its aspect ratio, as for
        the published figures. `stretch` stretches the box to the network's input, as the published demo and the
        ComfyUI nodes do. Default: "affine".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        detector_threshold: Lowest score of a detected person. Unset: the server's setting.
        flip_test: Also run the mirrored person, and average: a little more accurate at twice the cost. Default:
        false.
        keypoint_threshold: Lowest score of a keypoint that is drawn, or marked as visible in COCO's format.
        Unset: the server's setting.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        persons: Where boxes come from if the request has none. `detector`: the server's person detector.
        `whole_image`: the image is one person. `auto`: the detector if there is one, else the whole image.
        Default: "auto".
        points: `all`: all keypoints of the network. `body`: only COCO's 17, if the network has 133. Default:
        "all".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
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

    def pose_openpose_json(
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
        """Estimate keypoints of persons.

        The answer in another form: OpenPose's JSON.

        image: The image.
        box_scores: Score of each box, 0 to 1. It is part of the person's score.
        boxes: A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their
        order. A box may reach beyond the image. A box that lies outside the image, or has no width or height,
        gets a `problem`, and the others are still processed. An empty list means no persons.
        coordinates: `pixels`: keypoints of `json` are in pixels. `normalised`: x and y are divided by the image's
        width and height. Default: "pixels".
        crop: How a person is cut out. `affine` enlarges the box by a quarter and keeps its aspect ratio, as for
        the published figures. `stretch` stretches the box to the network's input, as the published demo and the
        ComfyUI nodes do. Default: "affine".
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        detector_threshold: Lowest score of a detected person. Unset: the server's setting.
        flip_test: Also run the mirrored person, and average: a little more accurate at twice the cost. Default:
        false.
        keypoint_threshold: Lowest score of a keypoint that is drawn, or marked as visible in COCO's format.
        Unset: the server's setting.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        persons: Where boxes come from if the request has none. `detector`: the server's person detector.
        `whole_image`: the image is one person. `auto`: the detector if there is one, else the whole image.
        Default: "auto".
        points: `all`: all keypoints of the network. `body`: only COCO's 17, if the network has 133. Default:
        "all".
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        """
        return self._call(
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

    def ready(self) -> ReadyAnswer:
        """Is the server ready for requests?.

        Answers 200 once the backbone is loaded and warmed up, 503 before.
        """
        return self._call(Call("GET", "/health/ready", ReadyAnswer.model_validate_json))

    def referring(
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
        """Segment what an expression names.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        expression: What to find, in words. Send several as `expressions`.
        expressions: What to find, in words. Each expression gets a mask.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        threshold: Lowest probability of a pixel that belongs to the mask. Default: 0.5.
        """
        return self._call(
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

    def referring_file(
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
        """Segment what an expression names: the answer as a file.

        Segment what an expression names: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        expression: What to find, in words. Send several as `expressions`.
        expressions: What to find, in words. Each expression gets a mask.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        threshold: Lowest probability of a pixel that belongs to the mask. Default: 0.5.
        """
        return self._call(
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

    def referring_polygons(
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
        """Segment what an expression names.

        The answer in another form: masks as polygons.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        expression: What to find, in words. Send several as `expressions`.
        expressions: What to find, in words. Each expression gets a mask.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        threshold: Lowest probability of a pixel that belongs to the mask. Default: 0.5.
        """
        return self._call(
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

    def referring_rle(
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
        """Segment what an expression names.

        The answer in another form: masks as COCO RLE, the same as `json`.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        expression: What to find, in words. Send several as `expressions`.
        expressions: What to find, in words. Each expression gets a mask.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        threshold: Lowest probability of a pixel that belongs to the mask. Default: 0.5.
        """
        return self._call(
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

    def resume_job(self, job: str) -> JobDetails:
        """Resume a paused job.

        The job continues where it stopped. Answers 409 if the job has ended.
        """
        return self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/resume", JobDetails.model_validate_json))

    def retry_job(self, job: str) -> JobDetails:
        """Retry a job's failed images.

        Processes failed images again. For a job that failed as a whole, processes all images without a result.
        Answers 409 if the job has not ended.
        """
        return self._call(Call("POST", f"/v1/jobs/{quote(job, safe='')}/retry", JobDetails.model_validate_json))

    def segmentation(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """Segment an image into classes.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `slide` and `multiscale` are the published protocols: `slide` averages overlapping windows,
        `multiscale` also five scales with mirror images. `fast` predicts the whole image in one pass. Default:
        "fast".
        """
        return self._call(
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

    def segmentation_file(
        self,
        image: Image,
        *,
        format: Literal["npy", "overlay", "png"],
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> bytes:
        """Segment an image into classes: the answer as a file.

        Segment an image into classes: VPD (arXiv:2303.02153).

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `slide` and `multiscale` are the published protocols: `slide` averages overlapping windows,
        `multiscale` also five scales with mirror images. `fast` predicts the whole image in one pass. Default:
        "fast".
        """
        return self._call(
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

    def segmentation_polygons(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """Segment an image into classes.

        The answer in another form: masks as polygons.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `slide` and `multiscale` are the published protocols: `slide` averages overlapping windows,
        `multiscale` also five scales with mirror images. `fast` predicts the whole image in one pass. Default:
        "fast".
        """
        return self._call(
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

    def segmentation_rle(
        self,
        image: Image,
        *,
        deadline_seconds: float | None = None,
        model: str | None = None,
        priority: Literal["interactive", "bulk"] | None = None,
        protocol: Literal["fast", "slide", "multiscale"] | None = None,
    ) -> SegmentationAnswer:
        """Segment an image into classes.

        The answer in another form: masks as COCO RLE, the same as `json`.

        image: The image.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        protocol: `slide` and `multiscale` are the published protocols: `slide` averages overlapping windows,
        `multiscale` also five scales with mirror images. `fast` predicts the whole image in one pass. Default:
        "fast".
        """
        return self._call(
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

    def unload_model(self, model: str) -> ModelDescription:
        """Unload a model.

        Frees device and host memory. Unloading a backbone also unloads all models that run on it. The next
        request for the model reads its files again.
        """
        return self._call(
            Call("POST", f"/v1/models/{quote(model, safe='')}/unload", ModelDescription.model_validate_json)
        )

    def zero_shot(
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
        labels: The labels to choose from, without repetition. A single label always has probability 1.
        budget: Race: stop when this is spent: a number of U-Net rows, or a time such as `250 ms` or `2 s`. The
        answer is then the leading label, with the confidence reached so far. With a time, the answer depends on
        how busy the server is.
        combine: Race with several templates: `mean` compares labels by the mean error over their prompts;
        `best_prompt` compares single prompts, as the schedule does. Unset: `mean`.
        confidence: Race: approximate probability that the answer is the one that evaluating all labels at all
        timesteps would give. Unset: 0.95. 1 evaluates them all.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        indifference: Race: difference of mean errors below which labels count as equally good (tied). The race
        ends when all labels left are tied.
        loss: How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or Huber error
        (`huber`). Default: "l2".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        schedule: Schedule: `published` is the paper's. `default` spends a tenth to two fifths of its rows. An
        object is a schedule of your own. Unset: `default`.
        scheme: `schedule` drops labels in fixed rounds, as the paper does, and gives no confidence. `race` drops
        a label as soon as a paired test shows that it is worse, and spends more rows only on close labels. Unset:
        `race` if `confidence`, `budget`, `indifference` or `combine` is set, else `schedule`.
        temperature: Temperature that the posterior's logits are divided by. Unset: the temperature that was
        fitted to labelled images with these options if the server has one, else the server's default temperature.
        templates: Prompt templates, in which {} stands for the label. Each label in each template is a
        hypothesis; the label of the best hypothesis wins. Unset: the server's templates, by default `a photo of a
        {}.`.
        trials: Schedule: number of noise samples for each timestep. Default: 1.
        """
        return self._call(
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
    ) -> Iterator[ProgressAnswer | ZeroShotAnswer]:
        """Classify an image by labels of your own: the result each time it improves, then the answer.

        Classify an image by labels of your own: Diffusion Classifier (arXiv:2303.16203).

        image: The image.
        labels: The labels to choose from, without repetition. A single label always has probability 1.
        budget: Race: stop when this is spent: a number of U-Net rows, or a time such as `250 ms` or `2 s`. The
        answer is then the leading label, with the confidence reached so far. With a time, the answer depends on
        how busy the server is.
        combine: Race with several templates: `mean` compares labels by the mean error over their prompts;
        `best_prompt` compares single prompts, as the schedule does. Unset: `mean`.
        confidence: Race: approximate probability that the answer is the one that evaluating all labels at all
        timesteps would give. Unset: 0.95. 1 evaluates them all.
        deadline_seconds: Time limit in seconds. After it the request fails with status 504 and its waiting work
        is dropped. The server's own limit is the maximum and the default.
        indifference: Race: difference of mean errors below which labels count as equally good (tied). The race
        ends when all labels left are tied.
        loss: How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or Huber error
        (`huber`). Default: "l2".
        model: Id of the model to use, from GET /v1/models. Unset: the default model of the task.
        priority: `bulk` work waits for `interactive` work, but always makes some progress. Default:
        "interactive".
        schedule: Schedule: `published` is the paper's. `default` spends a tenth to two fifths of its rows. An
        object is a schedule of your own. Unset: `default`.
        scheme: `schedule` drops labels in fixed rounds, as the paper does, and gives no confidence. `race` drops
        a label as soon as a paired test shows that it is worse, and spends more rows only on close labels. Unset:
        `race` if `confidence`, `budget`, `indifference` or `combine` is set, else `schedule`.
        temperature: Temperature that the posterior's logits are divided by. Unset: the temperature that was
        fitted to labelled images with these options if the server has one, else the server's default temperature.
        templates: Prompt templates, in which {} stands for the label. Each label in each template is a
        hypothesis; the label of the best hypothesis wins. Unset: the server's templates, by default `a photo of a
        {}.`.
        trials: Schedule: number of noise samples for each timestep. Default: 1.
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
