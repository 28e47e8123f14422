"""What the server answers.

Written by `make openapi` from the OpenAPI document: change that, not this.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from diffsight_client.arrays import ConceptMasks, DepthArray, ExpressionMasks, FeatureVectors, MaskArray, SegmentMasks
from diffsight_client.keypoints import Persons


class Model(BaseModel):
    """The base of them all: fields that a newer server adds are kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())


class ClassAnswer(Model):
    """One class of a classifier, with its cross-validated recall."""

    images: int
    """Number of different images of this class that the classifier was fitted on."""
    label: str
    recall: float | None
    """Share of the class's held-out images that were classified correctly; null for a class with a single image."""


class HeadRequest(Model):
    """Sizes of a head other than `logistic`. The defaults are those of the published code."""

    attention_heads: int = 8
    depth: int = 2
    """Number of transformer blocks."""
    epochs: int = 28
    """Passes over the images. The learning rate falls to a tenth after each quarter of them."""
    hidden: list[int] = Field(default_factory=lambda: [2048])
    """Widths of the hidden layers of `mlp`."""
    width: int = 1024
    """Width of a token of `attention` and `fusion`."""


class ClassifierAnswer(Model):
    """A fitted classifier. Its figures come from cross-validation: each image is classified by a model that was not
    fitted on it.
    """

    accuracy: float | None
    """Cross-validated share of images that were classified correctly; null if no class has two images."""
    backbone: str
    balanced_accuracy: float | None
    """Mean of the recalls of all classes."""
    blocks: list[str]
    bytes: int
    calibrated: bool
    can_grow: bool
    """Whether images can be added. This needs the vectors that it was fitted on, which an export with
    `vectors=false` lacks.
    """
    changed: str
    classes: list[ClassAnswer]
    confusion: list[list[int]]
    """Counts of held-out images: rows are true classes, columns are predicted classes, both in the order of
    `classes`.
    """
    created: str
    fit: str
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None
    """Sizes of the head; null for `logistic`."""
    id: str
    log_loss: float | None
    """Cross-validated negative log-likelihood, all classes weighted equally."""
    name: str
    noise_samples: int
    pool_size: int
    revision: str
    strength: float | None
    """The inverse strength of the L2 penalty (C) that cross-validation chose; null for other heads."""
    temperature: float
    """Temperature that logits are divided by, fitted on held-out images."""
    threshold: float | None
    """Novelty above which an image counts as unknown, that is, in none of the classes. 5 % of held-out images have a
    larger novelty. null if there are too few images to estimate it.
    """
    timesteps: list[int]
    tried: list[dict[str, float]]
    """All strengths that were compared, on the same folds."""
    usable: bool
    """Whether this server has the backbone that the classifier was fitted on."""
    validated: int
    """Number of images that were held out once."""


class ClassifiersAnswer(Model):
    """All classifiers of the server, oldest first."""

    classifiers: list[ClassifierAnswer]


class BackboneAnswer(Model):
    """The backbone that computed the answer."""

    name: str
    revision: str
    """Digest of the weights. If it is unchanged, answers are unchanged."""


class ImageAnswer(Model):
    """Properties of the decoded image."""

    exif_orientation: int
    """EXIF orientation of the file, 1 to 8. The image was rotated by it before the task ran."""
    format: str
    height: int
    """In pixels, after the EXIF orientation is applied."""
    more_frames: bool
    """Whether the file holds more frames or pages. Only the first is read."""
    width: int
    """In pixels, after the EXIF orientation is applied."""


class Score(Model):
    """A class with its probability."""

    label: str
    probability: float


class ImageClass(Model):
    """The classes of one image."""

    image: ImageAnswer
    known: bool | None
    """false: the image is unlike the training images of every class. null: the classifier has no threshold to decide
    it.
    """
    label: str
    """The most likely class."""
    novelty: float | None
    """How much the image differs from the training images: about 1 for an image like them, larger for others."""
    probability: float
    """Probability of `label`, for equal prior probabilities of all classes."""
    scores: list[Score]


class TimingAnswer(Model):
    """Time spent in each stage of the request. A stage may share batches with other requests."""

    seconds: dict[str, float]
    """Wall-clock seconds of each stage: `decode` (read the image), `host`, `encode`, `embed`, `unet` and `run`. The
    time that a stage waits for the device is included.
    """


class ClassifyAnswer(Model):
    """One answer for each image, in the order of the request."""

    answers: list[ImageClass]
    backbone: BackboneAnswer
    calibrated: bool
    """Whether the probabilities are calibrated on held-out images."""
    classifier: str
    images: list[ImageAnswer]
    name: str
    names: list[str] = Field(default_factory=lambda: [])
    """Name of each image of a zip, in the order of the answers, which is by name. Empty if the request had no zip.
    The name is empty for an image that was sent outside of the zip.
    """
    rows: int
    """Number of U-Net rows computed."""
    threshold: float | None
    """Images with a larger novelty have `known` false."""
    timing: TimingAnswer


class CocoPoses(Model):
    """Persons of one image as COCO keypoint annotations: the answer for `format=coco`."""

    annotations: list[dict[str, Any]]
    """One annotation for each person. Annotations with 133 keypoints use the five lists of COCO-WholeBody."""
    categories: list[dict[str, Any]]
    images: list[dict[str, Any]]


class ShotAnswer(Model):
    """One support image of a concept, with its mask."""

    height: int
    id: str
    """Id of the shot. It depends on image and mask alone: the same pair always has the same id."""
    share: float
    """Share of the image that the mask covers, 0 to 1."""
    width: int


class ConceptAnswer(Model):
    """A concept, without its images."""

    bytes: int
    """Bytes in the server's data folder, without cached banks."""
    changed: str
    created: str
    """Time of creation, ISO 8601 in UTC."""
    id: str
    name: str
    notes: list[str] = Field(default_factory=lambda: [])
    """Remarks about the images of the request, such as masks that were adjusted."""
    shots: list[ShotAnswer]
    timing: TimingAnswer | None = None


class ConceptsAnswer(Model):
    """All concepts of the server, oldest first."""

    concepts: list[ConceptAnswer]


class DepthStatistics(Model):
    """Statistics of the depth map over all pixels, in metres."""

    maximum: float
    mean: float
    median: float
    minimum: float
    percentile_5: float
    percentile_95: float


class DepthAnswer(DepthArray, Model):
    """Depth of one image."""

    backbone: BackboneAnswer
    head: str
    image: ImageAnswer
    max_metres: float
    """Largest depth in metres that the network can predict."""
    metres_per_unit: float = 0.001
    """Metres for each unit of `png16`."""
    png16: str | None = None
    """The depth map, a 16-bit greyscale PNG in base64. A value times `metres_per_unit` is metres."""
    rows: int
    """Number of U-Net rows computed."""
    scene: str
    """Scene class that was used: `mean` is the mean of all classes; empty for a head without scene classes."""
    scene_given: bool
    """Whether the request set `scene`."""
    statistics: DepthStatistics
    timing: TimingAnswer
    unit: Literal["metre"] = "metre"


class CopyAnswer(Model):
    """One image of a group."""

    image: str
    similarity: float
    """Cosine similarity with the first image of the group."""


class DuplicatesAnswer(Model):
    """Groups of near-duplicates, the largest first. Two images of a group may be less alike than `similarity`, if
    other
    images link them.
    """

    groups: list[list[CopyAnswer]]
    images: int
    """Number of images that were compared."""
    similarity: float


class FeaturesAnswer(FeatureVectors, Model):
    """Feature vectors, with their layout."""

    backbone: BackboneAnswer
    blocks: list[str]
    dimension: int
    images: list[ImageAnswer]
    names: list[str] = Field(default_factory=lambda: [])
    """Name of each image of a zip, in the order of the answers, which is by name. Empty if the request had no zip.
    The name is empty for an image that was sent outside of the zip.
    """
    order: str = "One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row by row."
    """Layout of a vector."""
    pool_size: int
    rows: int
    """Number of U-Net rows computed."""
    timesteps: list[int]
    timing: TimingAnswer
    vectors: list[list[float]]
    """One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a
    timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row
    by row.
    """


class Rle(Model):
    """A mask in COCO's compressed run-length encoding (RLE), which pycocotools decodes."""

    counts: str
    size: list[int]
    """Height and width in pixels."""


class MaskAnswer(MaskArray, Model):
    """A mask in the pixels of the image that was sent."""

    area: int
    """Number of pixels in the mask."""
    bbox: list[int]
    """Smallest box around the mask: x, y, width, height in pixels. All 0 for an empty mask."""
    name: str
    polygons: list[list[float]] | None = None
    """Outlines along pixel edges, one for each connected part, as a flat list x, y, x, y, ... Holes are filled."""
    rle: Rle | None = None
    score: float
    """Mean probability inside the mask; 0 for an empty mask."""
    share: float
    """Share of the image's pixels that belong to the mask, 0 to 1."""


class ConceptResult(Model):
    """The result for one concept."""

    cut: float
    """The threshold: pixels with a greater strength belong to the mask."""
    id: str
    """Id of the concept; empty if the request itself brought the support images."""
    label: int
    """Number of the concept in label maps, from 1. 0 is the background."""
    mask: MaskAnswer
    """Mask of the concept. If several concepts claim a pixel, the concept with the greatest strength gets it."""
    presence: float
    """Greatest strength in the image, 0 to 1. A low value means that the concept is probably not in the image. It is
    not a calibrated probability.
    """
    shots: int


class FewShotAnswer(ConceptMasks, Model):
    """A mask for each concept."""

    backbone: BackboneAnswer
    concepts: list[ConceptResult]
    image: ImageAnswer
    notes: list[str] = Field(default_factory=lambda: [])
    """Remarks about the support images of the request."""
    rows: int
    """Number of U-Net rows computed."""
    timing: TimingAnswer


class FittedAnswer(Model):
    """A classifier that this request fitted, with the work it took."""

    accuracy: float | None
    """Cross-validated share of images that were classified correctly; null if no class has two images."""
    backbone: str
    balanced_accuracy: float | None
    """Mean of the recalls of all classes."""
    blocks: list[str]
    bytes: int
    calibrated: bool
    can_grow: bool
    """Whether images can be added. This needs the vectors that it was fitted on, which an export with
    `vectors=false` lacks.
    """
    changed: str
    classes: list[ClassAnswer]
    confusion: list[list[int]]
    """Counts of held-out images: rows are true classes, columns are predicted classes, both in the order of
    `classes`.
    """
    created: str
    duplicates: int
    """Number of images in the request that the classifier already had under the same label."""
    fit: str
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None
    """Sizes of the head; null for `logistic`."""
    id: str
    log_loss: float | None
    """Cross-validated negative log-likelihood, all classes weighted equally."""
    name: str
    noise_samples: int
    pool_size: int
    revision: str
    rows: int
    """Number of U-Net rows computed. Images whose vectors are still cached cost none."""
    strength: float | None
    """The inverse strength of the L2 penalty (C) that cross-validation chose; null for other heads."""
    temperature: float
    """Temperature that logits are divided by, fitted on held-out images."""
    threshold: float | None
    """Novelty above which an image counts as unknown, that is, in none of the classes. 5 % of held-out images have a
    larger novelty. null if there are too few images to estimate it.
    """
    timesteps: list[int]
    timing: TimingAnswer
    tried: list[dict[str, float]]
    """All strengths that were compared, on the same folds."""
    usable: bool
    """Whether this server has the backbone that the classifier was fitted on."""
    validated: int
    """Number of images that were held out once."""


class JobSource(Model):
    """Where a job's images come from."""

    address: str
    """Path or URL of the source; empty for an upload."""
    images: str
    kind: Literal["folder", "glob", "zip", "coco", "urls", "video"]
    stride: int
    uploaded: bool
    """Whether the images were uploaded with the request."""


class JobAnswer(Model):
    """The current state of a job."""

    created: str
    """Time of creation, ISO 8601 in UTC."""
    done: int
    error: str
    """Why the job failed as a whole; empty otherwise."""
    failed: int
    """Number of images without a result. GET /v1/jobs/{job}/results?status=failed lists them with the reasons."""
    formats: list[str]
    """Formats in which the results can be exported."""
    id: str
    images_per_second: float
    """Images finished per second, in the current or the last run."""
    local: bool
    """Whether the command `diffsight annotate` runs the job, not a server."""
    model: str
    """Id of the model that the job uses from its first run to its end. Empty before the first run, and for jobs of
    older versions.
    """
    parameters: dict[str, Any]
    """All options of the task, with defaults filled in."""
    reused: int
    """How many of the `done` images already had a result from an earlier job."""
    revision: str
    """Digest of the job's weights, concepts and classifiers; empty before the first run. If one of them changes, the
    job cannot continue: it becomes `failed`, and `error` says why.
    """
    seconds_left: float | None
    """Estimated seconds until the end; null if there is no estimate."""
    source: JobSource
    status: Literal["queued", "running", "paused", "done", "failed"]
    """`done` means that all images were processed, some perhaps without success. `failed` means that the job as a
    whole cannot run; see `error`.
    """
    task: str
    total: int | None
    """Number of images; null until the source is listed."""
    updated: str


class FailedImage(Model):
    """An image without a result, and why."""

    error: str
    image_name: str


class JobDetails(Model):
    """The current state of a job, with its first failures."""

    created: str
    """Time of creation, ISO 8601 in UTC."""
    done: int
    error: str
    """Why the job failed as a whole; empty otherwise."""
    failed: int
    """Number of images without a result. GET /v1/jobs/{job}/results?status=failed lists them with the reasons."""
    failures: list[FailedImage]
    """The first five images that failed."""
    formats: list[str]
    """Formats in which the results can be exported."""
    id: str
    images_per_second: float
    """Images finished per second, in the current or the last run."""
    local: bool
    """Whether the command `diffsight annotate` runs the job, not a server."""
    model: str
    """Id of the model that the job uses from its first run to its end. Empty before the first run, and for jobs of
    older versions.
    """
    model_replaced: bool | None = None
    """Whether the job's model has other weights on this server by now, or is no longer served; null while the model
    is not loaded, before the first run, and for tasks of concepts and classifiers.
    """
    parameters: dict[str, Any]
    """All options of the task, with defaults filled in."""
    reused: int
    """How many of the `done` images already had a result from an earlier job."""
    revision: str
    """Digest of the job's weights, concepts and classifiers; empty before the first run. If one of them changes, the
    job cannot continue: it becomes `failed`, and `error` says why.
    """
    seconds_left: float | None
    """Estimated seconds until the end; null if there is no estimate."""
    source: JobSource
    status: Literal["queued", "running", "paused", "done", "failed"]
    """`done` means that all images were processed, some perhaps without success. `failed` means that the job as a
    whole cannot run; see `error`.
    """
    task: str
    total: int | None
    """Number of images; null until the source is listed."""
    updated: str


class JobsAnswer(Model):
    """Jobs, newest first."""

    before: float | None
    """Send this value as `before` to get older jobs; null if there are no older jobs."""
    jobs: list[JobAnswer]


class DroppedAnswer(Model):
    """A label that the race dropped."""

    by: str
    """The label that led when this label was dropped."""
    label: str
    rows: int
    """Number of U-Net rows computed for all labels up to this point."""
    units: int
    """Number of timesteps at which the label was evaluated."""


class LabelAnswer(Model):
    """One label with its probability."""

    label: str
    mean_error: float
    """Mean error of the predicted noise over the rows computed for this label. Compare it only between labels that
    were dropped in the same round.
    """
    probability: float
    rounds_survived: int


class LevelAnswer(Model):
    """The race among the labels of one level."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images with these options. False if the budget ended the race,
    and in progress events.
    """
    confidence: float | None
    """Approximate probability that evaluating all timesteps would give the same label; null with `scheme`
    `schedule`, which does not estimate it.
    """
    dropped: list[DroppedAnswer]
    """Labels in the order in which they were dropped."""
    label: str
    """The most likely label."""
    posterior: list[LabelAnswer]
    rows: int
    """Number of U-Net rows computed."""
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended. `schedule`: all rounds were run. `decided`: one label was left. `indifferent`: the labels
    left differ by less than `indifference`. `budget`: the budget was spent. `complete`: all timesteps were
    evaluated.
    """
    temperature: float
    """Temperature that the logits were divided by."""
    tied: list[str]
    """Labels that count as equally good as `label`, by `indifference`."""
    under: list[str]
    """The path of labels above this level."""


class LabelTreeAnswer(Model):
    """The path through the tree, and how it was determined."""

    backbone: BackboneAnswer
    complete: bool
    """Whether the path ends at a leaf. False if the budget was spent before."""
    confidence: float
    """Approximate probability that evaluating all siblings at all timesteps would give the same path."""
    image: ImageAnswer
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The race of each level, from the top downwards. A label without siblings needs no race."""
    path: list[str]
    """Labels from the top of the tree downwards."""
    probability: float
    """Product of the probabilities of the labels on the path. It is not calibrated."""
    rows: int
    """Number of U-Net rows computed."""
    stopped: Literal["decided", "budget"]
    templates: list[str]
    timing: TimingAnswer


class LiveAnswer(Model):
    """The process is alive."""

    status: Literal["live"] = "live"


class WinogroundAnswer(Model):
    """The three Winoground scores. They assume that the first caption describes the first image, and the second the
    second. A tie counts as wrong.
    """

    group: bool
    image: bool
    """Image score: each caption scores higher with its own image, by `scores`."""
    text: bool
    """Text score: each image scores higher with its own caption."""


class MatchAnswer(Model):
    """Scores of each caption (outer list) with each image (inner list). Higher means a better match."""

    backbone: BackboneAnswer
    best_caption: list[int]
    """For each image, the index of the caption with the highest score."""
    best_image: list[int]
    """For each caption, the index of the image with the highest corrected score."""
    corrected_scores: list[list[float]]
    """Scores minus those of the empty prompt. They can be compared between images too."""
    images: list[ImageAnswer]
    names: list[str] = Field(default_factory=lambda: [])
    """Name of each image of a zip, in the order of the answers, which is by name. Empty if the request had no zip.
    The name is empty for an image that was sent outside of the zip.
    """
    rows: int
    """Number of U-Net rows computed."""
    scores: list[list[float]]
    """Minus the mean error of the predicted noise. Compare scores only within one image."""
    timesteps: int
    timing: TimingAnswer
    winoground: WinogroundAnswer | None
    """Winoground scores, for exactly two captions and two images; else null."""


class ModelDescription(Model):
    """One model of the catalogue."""

    backbone: str
    """Id of the backbone that the model runs on. For a backbone, its own id."""
    bytes: int
    """Device memory in bytes that the model takes, or will take when it is loaded."""
    dtype: str
    """Number type of the weights, such as `float16`; empty until the model is loaded."""
    host_bytes: int
    """Bytes of host memory that keep the weights while they are not on the device."""
    id: str
    """The value that requests send as `model`."""
    load_seconds: float
    """Duration of the last load in seconds; 0 before the first."""
    loads: int
    """Number of times the model was loaded since the server started."""
    loads_from_host: int
    """How many of these loads copied the weights from host memory instead of reading files."""
    pinned: bool
    """Whether the model is never unloaded to make room for other models."""
    reason: str
    """Why the model is not READY; empty for a READY model."""
    revision: str
    """Digest of a backbone's weights; empty until it is loaded, and for models that are no backbones."""
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    """READY: loaded. LOADING: being loaded. UNAVAILABLE: not loaded. A request for an UNAVAILABLE model loads it,
    unless `reason` says why it cannot be loaded.
    """
    task: str
    """The task that the model was trained for; empty for a backbone."""
    users: int
    """Number of requests and jobs that use the model now. A model in use is not unloaded to make room."""


class BackboneDescription(Model):
    """The backbone that requests run on by default: the first backbone in `models` that is loaded."""

    class_names: list[str]
    """Names of its classes, in the order of their indices; empty for a network without classes."""
    device: str
    dtype: str
    image_size: int
    """Height and width in pixels of the square images that the network was trained on."""
    latent_channels: int
    latent_size: int
    """Height and width of the latents."""
    max_tokens: int
    """Maximum length of a prompt in tokens, start and end tokens included; 0 for a network without a text encoder."""
    name: str
    num_class_labels: int
    """Number of classes of its class embedding; 0 for a network without one."""
    prediction_type: str
    revision: str
    """Digest of the weights. If it is unchanged, answers are unchanged."""
    source: str
    """Where the weights were loaded from: a name, a path or a hub id."""
    tf32: bool
    """Whether float32 matrix products use TF32, which rounds factors to 10 bits of mantissa. Only on CUDA."""
    training_steps: int
    """Number of timesteps of the noise schedule. Valid timesteps are 0 to this number minus 1."""
    variants: list[str]
    """Names of fine-tuned U-Nets that are loaded beside the backbone's own."""


class EngineState(Model):
    """How busy the device is at the moment."""

    max_batch_rows: int
    """Largest batch that the settings allow, in rows; 0 means that memory and time decide."""
    max_waiting_rows: int
    open_requests: int
    queue_fraction: float
    """Waiting rows divided by `max_waiting_rows`. At 1, new requests are refused."""
    running_rows: int
    waiting_rows: int


class TaskDescription(Model):
    """One task, the models that serve it, and the defaults of its options."""

    defaults: dict[str, Any]
    exports: list[str]
    """Formats in which a job's results can be exported, besides `jsonl`."""
    formats: list[str]
    """Values of `format` that the route accepts."""
    inputs: str
    """What a request contains: `image`, `images`, `image_supports` (with support images and masks) or `image_texts`
    (with labels or expressions).
    """
    model: str
    """Id of the model that is used if a request names no model."""
    models: list[str]
    """Ids of all models that serve the task."""
    revision: str
    """Digest of all weights that its answers depend on; empty until they are loaded."""
    route: str
    source: str
    """The published system that the task reproduces."""
    summary: str
    task: str
    """Name of the task, the same in routes, jobs, metrics and commands."""


class ModelsAnswer(Model):
    """The models and tasks of this server."""

    backbone: BackboneDescription
    engine: EngineState
    host_memory_bytes: int
    """Host memory in bytes that the weights of unloaded models may take together."""
    memory_bytes: int
    """Device memory in bytes that the weights of all loaded models may take together."""
    models: list[ModelDescription]
    not_served: dict[str, str]
    """Tasks that no model of this server serves, each with how to add one."""
    tasks: list[TaskDescription]


class NormalsAnswer(Model):
    """Surface normals of one image."""

    backbone: BackboneAnswer
    ensemble_size: int
    head: str
    image: ImageAnswer
    mean: list[float]
    """Mean normal over all pixels: x points right, y up, z to the viewer."""
    mean_uncertainty: float | None = None
    """With an ensemble: mean angle between the predictions and their mean, as a fraction of 180 degrees."""
    png: str | None = None
    """The normals as an 8-bit RGB PNG in base64. A component is 2 * value / 255 - 1."""
    rows: int
    """Number of U-Net rows computed."""
    steps: int
    timing: TimingAnswer
    uncertainty_png16: str | None = None
    """The uncertainty of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1."""


class OpenPosePeople(Model):
    """The answer for `format=openpose_json`."""

    canvas_height: int
    canvas_width: int
    people: list[dict[str, list[float]]]
    """Each person's parts, each a flat list x, y, score, x, y, score, ..."""


class PathAnswer(Model):
    """The path so far."""

    complete: bool
    """Whether the path ends at a leaf. False if the budget was spent before."""
    confidence: float
    """Approximate probability that evaluating all siblings at all timesteps would give the same path."""
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The race of each level, from the top downwards. A label without siblings needs no race."""
    path: list[str]
    """Labels from the top of the tree downwards."""
    probability: float
    """Product of the probabilities of the labels on the path. It is not calibrated."""
    rows: int
    """Number of U-Net rows computed."""


class ClassifyResult(Model):
    """One answer for each image, in the order of the request."""

    answers: list[ImageClass]
    calibrated: bool
    """Whether the probabilities are calibrated on held-out images."""
    classifier: str
    name: str
    threshold: float | None
    """Images with a larger novelty have `known` false."""


class DepthResult(DepthArray, Model):
    """Depth of one image."""

    head: str
    max_metres: float
    """Largest depth in metres that the network can predict."""
    metres_per_unit: float = 0.001
    """Metres for each unit of `png16`."""
    png16: str | None = None
    """The depth map, a 16-bit greyscale PNG in base64. A value times `metres_per_unit` is metres."""
    scene: str
    """Scene class that was used: `mean` is the mean of all classes; empty for a head without scene classes."""
    scene_given: bool
    """Whether the request set `scene`."""
    statistics: DepthStatistics
    unit: Literal["metre"] = "metre"


class FeaturesResult(FeatureVectors, Model):
    """Feature vectors, with their layout."""

    blocks: list[str]
    dimension: int
    order: str = "One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row by row."
    """Layout of a vector."""
    pool_size: int
    timesteps: list[int]
    vectors: list[list[float]]
    """One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a
    timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row
    by row.
    """


class FewShotResult(ConceptMasks, Model):
    """A mask for each concept."""

    concepts: list[ConceptResult]
    notes: list[str] = Field(default_factory=lambda: [])
    """Remarks about the support images of the request."""


class LabelTreeResult(Model):
    """The path through the tree, and how it was determined."""

    complete: bool
    """Whether the path ends at a leaf. False if the budget was spent before."""
    confidence: float
    """Approximate probability that evaluating all siblings at all timesteps would give the same path."""
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The race of each level, from the top downwards. A label without siblings needs no race."""
    path: list[str]
    """Labels from the top of the tree downwards."""
    probability: float
    """Product of the probabilities of the labels on the path. It is not calibrated."""
    rows: int
    """Number of U-Net rows computed."""
    stopped: Literal["decided", "budget"]
    templates: list[str]


class MatchResult(Model):
    """Scores of each caption (outer list) with each image (inner list). Higher means a better match."""

    best_caption: list[int]
    """For each image, the index of the caption with the highest score."""
    best_image: list[int]
    """For each caption, the index of the image with the highest corrected score."""
    corrected_scores: list[list[float]]
    """Scores minus those of the empty prompt. They can be compared between images too."""
    scores: list[list[float]]
    """Minus the mean error of the predicted noise. Compare scores only within one image."""
    timesteps: int
    winoground: WinogroundAnswer | None
    """Winoground scores, for exactly two captions and two images; else null."""


class NormalsResult(Model):
    """Surface normals of one image."""

    ensemble_size: int
    head: str
    mean: list[float]
    """Mean normal over all pixels: x points right, y up, z to the viewer."""
    mean_uncertainty: float | None = None
    """With an ensemble: mean angle between the predictions and their mean, as a fraction of 180 degrees."""
    png: str | None = None
    """The normals as an 8-bit RGB PNG in base64. A component is 2 * value / 255 - 1."""
    steps: int
    uncertainty_png16: str | None = None
    """The uncertainty of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1."""


class PersonAnswer(Model):
    """One person."""

    bbox: list[float]
    """Box of the person: x, y, width, height in pixels."""
    bbox_score: float
    """Score of the box, 0 to 1. It is 1 for a box that was sent without a score."""
    keypoint_scores: list[float]
    """Score of each point: the maximum of its heat map. Mostly 0 to 1, but it can be negative or above 1."""
    keypoints: list[list[float]]
    """x and y of each point, in the order of `names`. Points may lie outside the image."""
    problem: str = ""
    """Why the box could not be used. The lists are then empty."""
    score: float
    """Score of the person: `bbox_score` times the mean of the keypoint scores above 0.2."""


class PoseResult(Persons, Model):
    """The persons in the order of their boxes, and the names of their keypoints."""

    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str
    """Name of the detector that found the persons; empty if no detector ran."""
    links: list[list[int]]
    """Lines of the skeleton: pairs of indices of keypoints, counted from 0."""
    names: list[str]
    """Name of each keypoint. Left and right are seen from the person."""
    network: str
    network_revision: str
    """Digest of the network's weights. If it is unchanged, answers are unchanged."""
    persons: list[PersonAnswer]


class ExpressionAnswer(MaskArray, Model):
    """The mask of one expression."""

    area: int
    """Number of pixels in the mask."""
    bbox: list[int]
    """Smallest box around the mask: x, y, width, height in pixels. All 0 for an empty mask."""
    cut: bool
    """Whether the expression was too long for the network, so that its end was cut off."""
    name: str
    polygons: list[list[float]] | None = None
    """Outlines along pixel edges, one for each connected part, as a flat list x, y, x, y, ... Holes are filled."""
    read: str
    """The part of the expression that the network read."""
    rle: Rle | None = None
    score: float
    """Mean probability inside the mask; 0 for an empty mask."""
    share: float
    """Share of the image's pixels that belong to the mask, 0 to 1."""


class ReferringResult(ExpressionMasks, Model):
    """One mask for each expression, in the same order."""

    head: str
    masks: list[ExpressionAnswer]


class DepthFigures(Model):
    """Statistics of the depth map over all pixels: relative depth from 0 (near) to 1 (far), or metres if distances
    are known.
    """

    maximum: float
    mean: float
    median: float
    minimum: float
    percentile_5: float
    percentile_95: float


class MetricFit(Model):
    """Conversion from relative depth to metres: scale * depth + shift."""

    count: int
    """Number of known distances."""
    residual: float
    """Root mean square error in metres at the known distances."""
    scale: float
    shift: float


class RelativeDepthResult(Model):
    """Relative depth of one image."""

    ensemble_size: int
    fit: MetricFit | None = None
    """How metres are computed, if the request has known distances."""
    head: str
    mean_uncertainty: float | None = None
    """With an ensemble: mean spread of the predictions, in relative depth."""
    per_unit: float
    """Depth for each unit of `png16`, in `unit`."""
    png16: str | None = None
    """The depth map as a 16-bit greyscale PNG in base64."""
    statistics: DepthFigures
    steps: int
    uncertainty_png16: str | None = None
    """The spread of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1."""
    unit: Literal["relative", "metre"]
    """Unit of `statistics` and `png16`. `relative`: 0 is near, 1 is far. `metre` if distances are known."""


class SegmentationResult(SegmentMasks, Model):
    """The classes of one image."""

    classes: list[str]
    """Names of all classes of the head, in the order of their indices."""
    head: str
    palette: list[list[int]]
    """Colour of each class: red, green and blue, 0 to 255."""
    segments: list[MaskAnswer]
    """Masks of the classes in the image, largest first."""


class ScheduleAnswer(Model):
    """The rounds of a schedule."""

    n_samples: list[int]
    to_keep: list[int]


class ZeroShotResult(Model):
    """The posterior over the labels, most likely first, and how it was computed."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images with these options. False if the budget ended the race,
    and in progress events.
    """
    confidence: float | None
    """Approximate probability that evaluating all timesteps would give the same label; null with `scheme`
    `schedule`, which does not estimate it.
    """
    dropped: list[DroppedAnswer]
    """Labels in the order in which they were dropped."""
    label: str
    """The most likely label."""
    notes: list[str] = Field(default_factory=lambda: [])
    """Remarks about the labels of the request."""
    posterior: list[LabelAnswer]
    rows: int
    """Number of U-Net rows computed."""
    schedule: ScheduleAnswer | None
    """The rounds of the schedule; null with a race."""
    scheme: Literal["schedule", "race"]
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended. `schedule`: all rounds were run. `decided`: one label was left. `indifferent`: the labels
    left differ by less than `indifference`. `budget`: the budget was spent. `complete`: all timesteps were
    evaluated.
    """
    temperature: float
    """Temperature that the logits were divided by."""
    templates: list[str]
    tied: list[str]
    """Labels that count as equally good as `label`, by `indifference`."""


class PerceiveAnswer(Model):
    """The result of each task, under the task's name."""

    backbone: BackboneAnswer
    classifier: ClassifyResult | None = None
    depth: DepthResult | None = None
    depth_relative: RelativeDepthResult | None = Field(default=None, alias="depth-relative")
    features: FeaturesResult | None = None
    few_shot: FewShotResult | None = Field(default=None, alias="few-shot")
    image: ImageAnswer
    image_text: MatchResult | None = Field(default=None, alias="image-text")
    label_tree: LabelTreeResult | None = Field(default=None, alias="label-tree")
    normals: NormalsResult | None = None
    pose: PoseResult | None = None
    referring: ReferringResult | None = None
    rows: int
    """Number of U-Net rows computed for all tasks together."""
    segmentation: SegmentationResult | None = None
    timing: TimingAnswer
    zero_shot: ZeroShotResult | None = Field(default=None, alias="zero-shot")


class PoseAnswer(Persons, Model):
    """The persons in the order of their boxes, and the names of their keypoints."""

    backbone: BackboneAnswer
    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str
    """Name of the detector that found the persons; empty if no detector ran."""
    image: ImageAnswer
    links: list[list[int]]
    """Lines of the skeleton: pairs of indices of keypoints, counted from 0."""
    names: list[str]
    """Name of each keypoint. Left and right are seen from the person."""
    network: str
    network_revision: str
    """Digest of the network's weights. If it is unchanged, answers are unchanged."""
    persons: list[PersonAnswer]
    rows: int
    """Number of U-Net rows computed."""
    timing: TimingAnswer


class FieldError(Model):
    """A value that was refused."""

    loc: list[str | int]
    """Path of the value: the field, then the keys or indices inside it."""
    msg: str
    type: str


class Problem(Model):
    """An error, as RFC 9457 problem details."""

    detail: str
    """What was wrong with this request."""
    errors: list[FieldError] = Field(default_factory=lambda: [])
    """The values at fault, the first 20 of them."""
    field: str = ""
    """Path of the first field that was refused, with dots; empty if the error concerns no field."""
    hint: str = ""
    """What to do, or what to send instead."""
    instance: str = ""
    """Path of the request."""
    request_id: str = ""
    """Id of the request, the same as in the header X-Request-ID and in the server's log."""
    status: int
    title: str
    """The type in words, the same for all problems of one `type`."""
    type: str
    """Type of the problem; docs/errors.md lists them all."""


class ProgressAnswer(Model):
    """The posterior over the labels so far, most likely first."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images with these options. False if the budget ended the race,
    and in progress events.
    """
    confidence: float | None
    """Approximate probability that evaluating all timesteps would give the same label; null with `scheme`
    `schedule`, which does not estimate it.
    """
    dropped: list[DroppedAnswer]
    """Labels in the order in which they were dropped."""
    label: str
    """The most likely label."""
    posterior: list[LabelAnswer]
    rows: int
    """Number of U-Net rows computed."""
    temperature: float
    """Temperature that the logits were divided by."""
    tied: list[str]
    """Labels that count as equally good as `label`, by `indifference`."""


class ReadyAnswer(Model):
    """The server is ready for requests."""

    status: Literal["ready"] = "ready"


class ReferringAnswer(ExpressionMasks, Model):
    """One mask for each expression, in the same order."""

    backbone: BackboneAnswer
    head: str
    image: ImageAnswer
    masks: list[ExpressionAnswer]
    rows: int
    """Number of U-Net rows computed."""
    timing: TimingAnswer


class RelativeDepthAnswer(Model):
    """Relative depth of one image."""

    backbone: BackboneAnswer
    ensemble_size: int
    fit: MetricFit | None = None
    """How metres are computed, if the request has known distances."""
    head: str
    image: ImageAnswer
    mean_uncertainty: float | None = None
    """With an ensemble: mean spread of the predictions, in relative depth."""
    per_unit: float
    """Depth for each unit of `png16`, in `unit`."""
    png16: str | None = None
    """The depth map as a 16-bit greyscale PNG in base64."""
    rows: int
    """Number of U-Net rows computed."""
    statistics: DepthFigures
    steps: int
    timing: TimingAnswer
    uncertainty_png16: str | None = None
    """The spread of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1."""
    unit: Literal["relative", "metre"]
    """Unit of `statistics` and `png16`. `relative`: 0 is near, 1 is far. `metre` if distances are known."""


class RoundsRequest(Model):
    """A schedule of your own. After each round, only the best hypotheses are kept."""

    n_samples: list[int]
    """Number of timesteps that each round evaluates."""
    to_keep: list[int]
    """Number of hypotheses kept after each round. The numbers decrease, and the last is 1."""


class SegmentationAnswer(SegmentMasks, Model):
    """The classes of one image."""

    backbone: BackboneAnswer
    classes: list[str]
    """Names of all classes of the head, in the order of their indices."""
    head: str
    image: ImageAnswer
    palette: list[list[int]]
    """Colour of each class: red, green and blue, 0 to 255."""
    rows: int
    """Number of U-Net rows computed."""
    segments: list[MaskAnswer]
    """Masks of the classes in the image, largest first."""
    timing: TimingAnswer


class ZeroShotAnswer(Model):
    """The posterior over the labels, most likely first, and how it was computed."""

    backbone: BackboneAnswer
    calibrated: bool
    """Whether the temperature was fitted to labelled images with these options. False if the budget ended the race,
    and in progress events.
    """
    confidence: float | None
    """Approximate probability that evaluating all timesteps would give the same label; null with `scheme`
    `schedule`, which does not estimate it.
    """
    dropped: list[DroppedAnswer]
    """Labels in the order in which they were dropped."""
    image: ImageAnswer
    label: str
    """The most likely label."""
    notes: list[str] = Field(default_factory=lambda: [])
    """Remarks about the labels of the request."""
    posterior: list[LabelAnswer]
    rows: int
    """Number of U-Net rows computed."""
    schedule: ScheduleAnswer | None
    """The rounds of the schedule; null with a race."""
    scheme: Literal["schedule", "race"]
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended. `schedule`: all rounds were run. `decided`: one label was left. `indifferent`: the labels
    left differ by less than `indifference`. `budget`: the budget was spent. `complete`: all timesteps were
    evaluated.
    """
    temperature: float
    """Temperature that the logits were divided by."""
    templates: list[str]
    tied: list[str]
    """Labels that count as equally good as `label`, by `indifference`."""
    timing: TimingAnswer
