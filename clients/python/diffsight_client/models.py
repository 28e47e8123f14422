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
    """One class and what cross-validation says of it."""

    images: int
    """Different images it was fitted on."""
    label: str
    recall: float | None
    """Share of its held-out images that were answered right; null with a single image."""


class HeadRequest(Model):
    """Sizes of a released head; unset, those of the release."""

    attention_heads: int = 8
    depth: int = 2
    """Transformer blocks."""
    epochs: int = 28
    """Passes over the images; the rate falls to a tenth after each quarter."""
    hidden: list[int] = Field(default_factory=lambda: [2048])
    """Of `mlp`: widths of its hidden layers."""
    width: int = 1024
    """Of `attention` and `fusion`: width of a token."""


class ClassifierAnswer(Model):
    """A classifier. Its figures are of images that were held out in turn from the model that answered them."""

    accuracy: float | None
    """Cross-validated; null where no class has two images."""
    backbone: str
    balanced_accuracy: float | None
    """Mean of the classes' recalls."""
    blocks: list[str]
    bytes: int
    calibrated: bool
    can_grow: bool
    """Whether images can be added: its file has the vectors it was fitted on."""
    changed: str
    classes: list[ClassAnswer]
    confusion: list[list[int]]
    """Rows are the truth, columns the answer, both in the order of `classes`."""
    created: str
    fit: str
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None
    """Of a released head; null for `logistic`."""
    id: str
    log_loss: float | None
    """Cross-validated, classes weighing alike."""
    name: str
    noise_samples: int
    pool_size: int
    revision: str
    strength: float | None
    """Chosen inverse strength of the L2 penalty (C); null for other heads."""
    temperature: float
    """What logits are divided by, fitted on held-out images."""
    threshold: float | None
    """An image of more novelty is of none of the classes: 5 % of held-out images are above it. null where too few
    images say how far apart those of one class may be.
    """
    timesteps: list[int]
    tried: list[dict[str, float]]
    """Every strength that was tried, on the same folds."""
    usable: bool
    """Whether this server has the backbone that it was fitted on."""
    validated: int
    """Images that were held out once."""


class ClassifiersAnswer(Model):
    """All classifiers of this server, oldest first."""

    classifiers: list[ClassifierAnswer]


class BackboneAnswer(Model):
    """Which network answered."""

    name: str
    revision: str
    """Digest of the weights: it changes when any answer could."""


class ImageAnswer(Model):
    """The image as it was read."""

    exif_orientation: int
    """The orientation that the file names, 1 to 8. It has been applied."""
    format: str
    height: int
    """Pixels, after orientation."""
    more_frames: bool
    """The file holds further frames or pages; only the first was read."""
    width: int
    """Pixels, after orientation."""


class Score(Model):
    """One class and its probability."""

    label: str
    probability: float


class ImageClass(Model):
    """What one image is."""

    image: ImageAnswer
    known: bool | None
    """false: the image is unlike those of every class. null: nothing is known of that."""
    label: str
    """The likeliest class."""
    novelty: float | None
    """How unlike them: about 1 for images like those fitted on."""
    probability: float
    """Classes count as equally likely beforehand."""
    scores: list[Score]


class TimingAnswer(Model):
    """Where the time went. Stages of one request may overlap with other requests' work in the same batches."""

    seconds: dict[str, float]
    """Wall seconds by stage: `decode` of the image, then `host`, `encode`, `embed`, `unet`, `run`, each with its
    wait for the device.
    """


class ClassifyAnswer(Model):
    """One answer an image, in the order sent."""

    answers: list[ImageClass]
    backbone: BackboneAnswer
    calibrated: bool
    """Whether probabilities were fitted to held-out images."""
    classifier: str
    images: list[ImageAnswer]
    name: str
    names: list[str] = Field(default_factory=lambda: [])
    """Path of each image in the zip that was sent, in the order of the answers: by name. Empty where none was sent;
    an empty name is that of an image beside the zip.
    """
    rows: int
    """U-Net rows spent."""
    threshold: float | None
    """Novelty above which an image is not known."""
    timing: TimingAnswer


class CocoPoses(Model):
    """The answer as `format=coco`: one image with its persons in COCO's keypoint layout."""

    annotations: list[dict[str, Any]]
    """Of 133 points in COCO-WholeBody's five lists."""
    categories: list[dict[str, Any]]
    images: list[dict[str, Any]]


class ShotAnswer(Model):
    """One support of a concept."""

    height: int
    id: str
    """Decided by picture and mask: the same pair always has the same."""
    share: float
    """Of the picture that its mask covers."""
    width: int


class ConceptAnswer(Model):
    """A concept, without its pictures."""

    bytes: int
    """Size in the server's data folder, its banks not counted."""
    changed: str
    created: str
    """ISO 8601, UTC."""
    id: str
    name: str
    notes: list[str] = Field(default_factory=lambda: [])
    """What to know of the images that were sent."""
    shots: list[ShotAnswer]
    timing: TimingAnswer | None = None


class ConceptsAnswer(Model):
    """All concepts, oldest first."""

    concepts: list[ConceptAnswer]


class DepthStatistics(Model):
    """Metres over all pixels."""

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
    """The largest depth that the network can give."""
    metres_per_unit: float = 0.001
    """Scale of `png16`."""
    png16: str | None = None
    """The depth map, a 16-bit grey PNG file in base64."""
    rows: int
    """U-Net rows spent."""
    scene: str
    """The scene class in use; `mean` for the mean of all, empty where the head has none."""
    scene_given: bool
    """Whether the request named the scene class."""
    statistics: DepthStatistics
    timing: TimingAnswer
    unit: Literal["metre"] = "metre"


class CopyAnswer(Model):
    """An image of a group."""

    image: str
    similarity: float
    """Cosine to the group's first image."""


class DuplicatesAnswer(Model):
    """Groups of images that are alike, the largest first. Within one, others may link two that are less alike."""

    groups: list[list[CopyAnswer]]
    images: int
    """Images that were compared."""
    similarity: float


class FeaturesAnswer(FeatureVectors, Model):
    """Vectors, and what stands where in them."""

    backbone: BackboneAnswer
    blocks: list[str]
    dimension: int
    images: list[ImageAnswer]
    names: list[str] = Field(default_factory=lambda: [])
    """Path of each image in the zip that was sent, in the order of the answers: by name. Empty where none was sent;
    an empty name is that of an image beside the zip.
    """
    order: str = "One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row by row."
    """How a vector is laid out."""
    pool_size: int
    rows: int
    """U-Net rows spent."""
    timesteps: list[int]
    timing: TimingAnswer
    vectors: list[list[float]]
    """One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a
    timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row
    by row.
    """


class Rle(Model):
    """A mask as COCO's compressed run-length encoding, which pycocotools decodes."""

    counts: str
    size: list[int]
    """Height and width."""


class MaskAnswer(MaskArray, Model):
    """One mask in the original image's pixels."""

    area: int
    """Pixels."""
    bbox: list[int]
    """x, y, width, height of the smallest box around it; zeros where it is empty."""
    name: str
    polygons: list[list[float]] | None = None
    """Outlines along pixel edges, x and y in turn, one a part; holes are filled."""
    rle: Rle | None = None
    score: float
    """Mean probability inside the mask; 0 where it is empty."""
    share: float
    """Of the image's pixels."""


class ConceptResult(Model):
    """One concept's part of the answer."""

    cut: float
    """What a pixel's strength had to be above."""
    id: str
    """Of the concept; empty for supports in the request."""
    label: int
    """Its number in label maps, from 1; 0 is none."""
    mask: MaskAnswer
    """Its pixels; one that several concepts want goes to the strongest."""
    presence: float
    """0 to 1, the strongest value of its map: low where it is likely not in the image. Not calibrated."""
    shots: int


class FewShotAnswer(ConceptMasks, Model):
    """The mask of each concept."""

    backbone: BackboneAnswer
    concepts: list[ConceptResult]
    image: ImageAnswer
    notes: list[str] = Field(default_factory=lambda: [])
    """What to know of the supports that were sent."""
    rows: int
    """U-Net rows spent."""
    timing: TimingAnswer


class FittedAnswer(Model):
    """A classifier that was fitted just now, and what that took."""

    accuracy: float | None
    """Cross-validated; null where no class has two images."""
    backbone: str
    balanced_accuracy: float | None
    """Mean of the classes' recalls."""
    blocks: list[str]
    bytes: int
    calibrated: bool
    can_grow: bool
    """Whether images can be added: its file has the vectors it was fitted on."""
    changed: str
    classes: list[ClassAnswer]
    confusion: list[list[int]]
    """Rows are the truth, columns the answer, both in the order of `classes`."""
    created: str
    duplicates: int
    """Images sent that were there already under the same label."""
    fit: str
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None
    """Of a released head; null for `logistic`."""
    id: str
    log_loss: float | None
    """Cross-validated, classes weighing alike."""
    name: str
    noise_samples: int
    pool_size: int
    revision: str
    rows: int
    """U-Net rows spent; images that were seen lately cost none."""
    strength: float | None
    """Chosen inverse strength of the L2 penalty (C); null for other heads."""
    temperature: float
    """What logits are divided by, fitted on held-out images."""
    threshold: float | None
    """An image of more novelty is of none of the classes: 5 % of held-out images are above it. null where too few
    images say how far apart those of one class may be.
    """
    timesteps: list[int]
    timing: TimingAnswer
    tried: list[dict[str, float]]
    """Every strength that was tried, on the same folds."""
    usable: bool
    """Whether this server has the backbone that it was fitted on."""
    validated: int
    """Images that were held out once."""


class JobSource(Model):
    """Where a job's images come from."""

    address: str
    """Of what was not uploaded."""
    images: str
    kind: Literal["folder", "glob", "zip", "coco", "urls", "video"]
    stride: int
    uploaded: bool
    """Whether they came with the request."""


class JobAnswer(Model):
    """A job as it stands."""

    created: str
    """ISO 8601, UTC."""
    done: int
    error: str
    """What is wrong with the job as a whole."""
    failed: int
    """Images that gave no result; GET .../results?status=failed tells why."""
    formats: list[str]
    """Forms that its results can be had in."""
    id: str
    images_per_second: float
    """In the present run, or the last one."""
    local: bool
    """Whether `diffsight annotate` runs it, and no server."""
    model: str
    """Id of the model that the job began on and stays with; empty before the first run, and in jobs of older
    versions.
    """
    parameters: dict[str, Any]
    """All of them, with the defaults that were filled in."""
    reused: int
    """Of those done: whose result was there already."""
    revision: str
    """Of its weights, concepts and classifiers; empty before the first run. A job that goes on after one of them was
    replaced is `failed`, and `error` says so.
    """
    seconds_left: float | None
    """Estimated; null where nothing tells."""
    source: JobSource
    status: Literal["queued", "running", "paused", "done", "failed"]
    """`done` is also a job with failed images; `failed` is one that is wrong as a whole, see `error`."""
    task: str
    total: int | None
    """Images; null until they are listed."""
    updated: str


class FailedImage(Model):
    """An image without a result."""

    error: str
    image_name: str


class JobDetails(Model):
    """A job as it stands, with its first failures."""

    created: str
    """ISO 8601, UTC."""
    done: int
    error: str
    """What is wrong with the job as a whole."""
    failed: int
    """Images that gave no result; GET .../results?status=failed tells why."""
    failures: list[FailedImage]
    """The first five images that failed."""
    formats: list[str]
    """Forms that its results can be had in."""
    id: str
    images_per_second: float
    """In the present run, or the last one."""
    local: bool
    """Whether `diffsight annotate` runs it, and no server."""
    model: str
    """Id of the model that the job began on and stays with; empty before the first run, and in jobs of older
    versions.
    """
    model_replaced: bool | None
    """Whether the job's model has other weights on this server by now, or is no longer served; null while the model
    is not loaded, before the first run, and for tasks of concepts and classifiers.
    """
    parameters: dict[str, Any]
    """All of them, with the defaults that were filled in."""
    reused: int
    """Of those done: whose result was there already."""
    revision: str
    """Of its weights, concepts and classifiers; empty before the first run. A job that goes on after one of them was
    replaced is `failed`, and `error` says so.
    """
    seconds_left: float | None
    """Estimated; null where nothing tells."""
    source: JobSource
    status: Literal["queued", "running", "paused", "done", "failed"]
    """`done` is also a job with failed images; `failed` is one that is wrong as a whole, see `error`."""
    task: str
    total: int | None
    """Images; null until they are listed."""
    updated: str


class JobsAnswer(Model):
    """Jobs, newest first."""

    before: float | None
    """Ask with `before` set to this for older ones; null where there are none."""
    jobs: list[JobAnswer]


class DroppedAnswer(Model):
    """A label that left."""

    by: str
    """The label that led then."""
    label: str
    rows: int
    """U-Net rows that all labels had taken until then."""
    units: int
    """Timesteps that it was tried on."""


class LabelAnswer(Model):
    """One label's part of the posterior."""

    label: str
    mean_error: float
    """Mean error of the predicted noise over the rows it got before it was dropped; comparable only between labels
    that were dropped in the same round.
    """
    probability: float
    rounds_survived: int


class LevelAnswer(Model):
    """One race on the way down."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images, for answers of this kind. False where a budget cut the
    race, and while a race goes on.
    """
    confidence: float | None
    """About 1 minus the probability that all timesteps would have given another answer; null with a schedule, which
    does not know it.
    """
    dropped: list[DroppedAnswer]
    """The labels that were dropped, in that order."""
    label: str
    """The answer: the label that outlived all others, or leads them."""
    posterior: list[LabelAnswer]
    rows: int
    """U-Net rows spent."""
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended: the schedule's end, one label left, those left close enough, the budget spent, or every
    timestep visited.
    """
    temperature: float
    """What the logits were divided by."""
    tied: list[str]
    """Labels that count as equal to the answer."""
    under: list[str]
    """The labels chosen before it."""


class LabelTreeAnswer(Model):
    """The way down, and how it was reached."""

    backbone: BackboneAnswer
    complete: bool
    """Whether the path ends in a leaf; false where the budget was spent before."""
    confidence: float
    """About 1 minus the probability that all siblings on all timesteps would have led elsewhere."""
    image: ImageAnswer
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The races, from the top down. A label without siblings is none."""
    path: list[str]
    """Labels from the top of the tree down."""
    probability: float
    """Product of the probabilities of the labels on the path; not calibrated."""
    rows: int
    """U-Net rows spent."""
    stopped: Literal["decided", "budget"]
    templates: list[str]
    timing: TimingAnswer


class LiveAnswer(Model):
    """The process answers."""

    status: Literal["live"] = "live"


class WinogroundAnswer(Model):
    """The three scores of one example, the first caption belonging to the first image. A tie is wrong."""

    group: bool
    image: bool
    """Each caption prefers its own image, by the plain scores of the protocol."""
    text: bool
    """Each image prefers its own caption."""


class MatchAnswer(Model):
    """Scores of captions (outer lists) with images (inner ones); higher fits better."""

    backbone: BackboneAnswer
    best_caption: list[int]
    """For each image, the caption with the highest score."""
    best_image: list[int]
    """For each caption, the image with the highest corrected score."""
    corrected_scores: list[list[float]]
    """Less the empty prompt's; comparable between images too."""
    images: list[ImageAnswer]
    names: list[str] = Field(default_factory=lambda: [])
    """Path of each image in the zip that was sent, in the order of the answers: by name. Empty where none was sent;
    an empty name is that of an image beside the zip.
    """
    rows: int
    """U-Net rows spent."""
    scores: list[list[float]]
    """Minus the mean error; comparable within an image only."""
    timesteps: int
    timing: TimingAnswer
    winoground: WinogroundAnswer | None
    """With two captions and two images; else null."""


class ModelDescription(Model):
    """One model of the catalogue."""

    backbone: str
    """Id of the backbone that it runs on; its own for a backbone."""
    bytes: int
    """Device memory that it takes, or will take."""
    dtype: str
    """Number type of its weights; empty until it was loaded."""
    host_bytes: int
    """Host memory that keeps its weights while they are not on the device."""
    id: str
    """What requests send as `model`."""
    load_seconds: float
    """How long its last load took; 0 before the first."""
    loads: int
    """How often it was loaded since the start."""
    loads_from_host: int
    """How many of these copied it from host memory, and read no file."""
    pinned: bool
    """Whether it never leaves for others."""
    reason: str
    """Why it is not READY; empty where it is."""
    revision: str
    """Digest of a backbone's weights; empty until it was loaded, and for others."""
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    """A request for a model that is UNAVAILABLE loads it, unless `reason` says why it cannot be."""
    task: str
    """The task that it was trained for; empty for a backbone."""
    users: int
    """Requests and jobs that use it now. It does not leave while there are any."""


class BackboneDescription(Model):
    """The default Stable Diffusion, or class-conditional transformer: the first of `models` that was loaded."""

    class_names: list[str]
    """What its classes are called, by number; empty without classes."""
    device: str
    dtype: str
    image_size: int
    """Native height and width in pixels."""
    latent_channels: int
    latent_size: int
    """Height and width of its latents."""
    max_tokens: int
    """Longest prompt in tokens, start and end included; 0 without text."""
    name: str
    num_class_labels: int
    """Size of its class embedding, 0 without one."""
    prediction_type: str
    revision: str
    """Digest of the weights: it changes when any answer could."""
    source: str
    """What opened it: a name, a path or a hub id."""
    tf32: bool
    """Whether factors of float32 products are rounded to 10 bits, on CUDA only."""
    training_steps: int
    """Timesteps are 0 to one less."""
    variants: list[str]
    """Fine-tuned U-Nets beside its own."""


class EngineState(Model):
    """How busy the device is now."""

    max_batch_rows: int
    """Items of the largest batch by setting; 0 leaves it to memory and time."""
    max_waiting_rows: int
    open_requests: int
    queue_fraction: float
    """Waiting rows over the bound past which requests are refused."""
    running_rows: int
    waiting_rows: int


class TaskDescription(Model):
    """One task and what it does where a request leaves it open."""

    defaults: dict[str, Any]
    exports: list[str]
    """Forms of a job's results, beside `jsonl`."""
    formats: list[str]
    """Forms of the route's answer."""
    inputs: str
    """`image`, `images`, `image_supports` or `image_texts`."""
    model: str
    """Id of the model that answers where a request names none."""
    models: list[str]
    """Ids of all models that serve it."""
    revision: str
    """Digest of all weights that decide its answers; empty until they are loaded."""
    route: str
    source: str
    """The system that it reproduces."""
    summary: str
    task: str
    """Its one name, in routes, jobs, metrics and commands."""


class ModelsAnswer(Model):
    """What this server serves."""

    backbone: BackboneDescription
    engine: EngineState
    host_memory_bytes: int
    """What those of models that left it may take of the host's memory."""
    memory_bytes: int
    """What the weights of all loaded models together may take on the device."""
    models: list[ModelDescription]
    not_served: dict[str, str]
    """Tasks that no model here serves, each with what brings one."""
    tasks: list[TaskDescription]


class NormalsAnswer(Model):
    """Surface normals of one image."""

    backbone: BackboneAnswer
    ensemble_size: int
    head: str
    image: ImageAnswer
    mean: list[float]
    """Mean vector over all pixels: x right, y up, z to the viewer."""
    mean_uncertainty: float | None = None
    """Of an ensemble: mean angle to their mean, 1 is a half turn."""
    png: str | None = None
    """The normals, an 8-bit RGB PNG in base64: 2 * value / 255 - 1."""
    rows: int
    """U-Net rows spent."""
    steps: int
    timing: TimingAnswer
    uncertainty_png16: str | None = None
    """The same at each pixel, a 16-bit grey PNG in base64; 65535 is 1."""


class OpenPosePeople(Model):
    """The answer as `format=openpose_json`."""

    canvas_height: int
    canvas_width: int
    people: list[dict[str, list[float]]]
    """x, y and score of each point, a flat list a part."""


class PathAnswer(Model):
    """The way so far."""

    complete: bool
    """Whether the path ends in a leaf; false where the budget was spent before."""
    confidence: float
    """About 1 minus the probability that all siblings on all timesteps would have led elsewhere."""
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The races, from the top down. A label without siblings is none."""
    path: list[str]
    """Labels from the top of the tree down."""
    probability: float
    """Product of the probabilities of the labels on the path; not calibrated."""
    rows: int
    """U-Net rows spent."""


class ClassifyResult(Model):
    """One answer an image, in the order sent."""

    answers: list[ImageClass]
    calibrated: bool
    """Whether probabilities were fitted to held-out images."""
    classifier: str
    name: str
    threshold: float | None
    """Novelty above which an image is not known."""


class DepthResult(DepthArray, Model):
    """Depth of one image."""

    head: str
    max_metres: float
    """The largest depth that the network can give."""
    metres_per_unit: float = 0.001
    """Scale of `png16`."""
    png16: str | None = None
    """The depth map, a 16-bit grey PNG file in base64."""
    scene: str
    """The scene class in use; `mean` for the mean of all, empty where the head has none."""
    scene_given: bool
    """Whether the request named the scene class."""
    statistics: DepthStatistics
    unit: Literal["metre"] = "metre"


class FeaturesResult(FeatureVectors, Model):
    """Vectors, and what stands where in them."""

    blocks: list[str]
    dimension: int
    order: str = "One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row by row."
    """How a vector is laid out."""
    pool_size: int
    timesteps: list[int]
    vectors: list[list[float]]
    """One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a
    timestep the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row
    by row.
    """


class FewShotResult(ConceptMasks, Model):
    """The mask of each concept."""

    concepts: list[ConceptResult]
    notes: list[str] = Field(default_factory=lambda: [])
    """What to know of the supports that were sent."""


class LabelTreeResult(Model):
    """The way down, and how it was reached."""

    complete: bool
    """Whether the path ends in a leaf; false where the budget was spent before."""
    confidence: float
    """About 1 minus the probability that all siblings on all timesteps would have led elsewhere."""
    label: str
    """The last label of the path."""
    levels: list[LevelAnswer]
    """The races, from the top down. A label without siblings is none."""
    path: list[str]
    """Labels from the top of the tree down."""
    probability: float
    """Product of the probabilities of the labels on the path; not calibrated."""
    rows: int
    """U-Net rows spent."""
    stopped: Literal["decided", "budget"]
    templates: list[str]


class MatchResult(Model):
    """Scores of captions (outer lists) with images (inner ones); higher fits better."""

    best_caption: list[int]
    """For each image, the caption with the highest score."""
    best_image: list[int]
    """For each caption, the image with the highest corrected score."""
    corrected_scores: list[list[float]]
    """Less the empty prompt's; comparable between images too."""
    scores: list[list[float]]
    """Minus the mean error; comparable within an image only."""
    timesteps: int
    winoground: WinogroundAnswer | None
    """With two captions and two images; else null."""


class NormalsResult(Model):
    """Surface normals of one image."""

    ensemble_size: int
    head: str
    mean: list[float]
    """Mean vector over all pixels: x right, y up, z to the viewer."""
    mean_uncertainty: float | None = None
    """Of an ensemble: mean angle to their mean, 1 is a half turn."""
    png: str | None = None
    """The normals, an 8-bit RGB PNG in base64: 2 * value / 255 - 1."""
    steps: int
    uncertainty_png16: str | None = None
    """The same at each pixel, a 16-bit grey PNG in base64; 65535 is 1."""


class PersonAnswer(Model):
    """One person."""

    bbox: list[float]
    """x, y, width, height in pixels."""
    bbox_score: float
    """1 for boxes without a score."""
    keypoint_scores: list[float]
    """Maxima of heat maps: about 0 to 1, but they may pass 1 or be negative."""
    keypoints: list[list[float]]
    """x and y of each point, unclipped, in the order of `names`."""
    problem: str = ""
    """Why this box was not looked at; its lists are empty then."""
    score: float
    """The box's score times the mean of the point scores above 0.2."""


class PoseResult(Persons, Model):
    """The persons, in the order of their boxes, and what their points are."""

    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str
    """Name of the detector that found them; empty where none did."""
    links: list[list[int]]
    """Pairs of points, counted from 0, that a drawing joins."""
    names: list[str]
    """One a point; left and right are the person's own."""
    network: str
    network_revision: str
    """Changes when any answer could."""
    persons: list[PersonAnswer]


class ExpressionAnswer(MaskArray, Model):
    """The mask of one expression."""

    area: int
    """Pixels."""
    bbox: list[int]
    """x, y, width, height of the smallest box around it; zeros where it is empty."""
    cut: bool
    """Whether the expression was too long and its end was left out."""
    name: str
    polygons: list[list[float]] | None = None
    """Outlines along pixel edges, x and y in turn, one a part; holes are filled."""
    read: str
    """The words that the network read."""
    rle: Rle | None = None
    score: float
    """Mean probability inside the mask; 0 where it is empty."""
    share: float
    """Of the image's pixels."""


class ReferringResult(ExpressionMasks, Model):
    """Masks in the order of the expressions."""

    head: str
    masks: list[ExpressionAnswer]


class DepthFigures(Model):
    """Depth over all pixels, 0 near to 1 far, or metres where they are known."""

    maximum: float
    mean: float
    median: float
    minimum: float
    percentile_5: float
    percentile_95: float


class MetricFit(Model):
    """How metres come from relative depth: scale * depth + shift."""

    count: int
    """Known distances."""
    residual: float
    """Root mean square error in metres at the known distances."""
    scale: float
    shift: float


class RelativeDepthResult(Model):
    """Relative depth of one image."""

    ensemble_size: int
    fit: MetricFit | None = None
    """Where distances are known."""
    head: str
    mean_uncertainty: float | None = None
    """Of an ensemble: mean spread of its predictions, in relative depth."""
    per_unit: float
    """What one step of `png16` stands for."""
    png16: str | None = None
    """The map, a 16-bit grey PNG in base64."""
    statistics: DepthFigures
    steps: int
    uncertainty_png16: str | None = None
    """Spread at each pixel, a 16-bit grey PNG in base64; 65535 is 1."""
    unit: Literal["relative", "metre"]
    """Of statistics and `png16`. Relative: 0 near, 1 far."""


class SegmentationResult(SegmentMasks, Model):
    """The classes of one image."""

    classes: list[str]
    """All classes of the head, in the order of indices."""
    head: str
    palette: list[list[int]]
    """Red, green and blue of each class."""
    segments: list[MaskAnswer]
    """Classes that the image has, largest first."""


class ScheduleAnswer(Model):
    """The rounds that were run."""

    n_samples: list[int]
    to_keep: list[int]


class ZeroShotResult(Model):
    """The posterior over the labels, best first, and how it was reached."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images, for answers of this kind. False where a budget cut the
    race, and while a race goes on.
    """
    confidence: float | None
    """About 1 minus the probability that all timesteps would have given another answer; null with a schedule, which
    does not know it.
    """
    dropped: list[DroppedAnswer]
    """The labels that were dropped, in that order."""
    label: str
    """The answer: the label that outlived all others, or leads them."""
    notes: list[str] = Field(default_factory=lambda: [])
    """What to know of the labels that were sent."""
    posterior: list[LabelAnswer]
    rows: int
    """U-Net rows spent."""
    schedule: ScheduleAnswer | None
    """The rounds; null with a race."""
    scheme: Literal["schedule", "race"]
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended: the schedule's end, one label left, those left close enough, the budget spent, or every
    timestep visited.
    """
    temperature: float
    """What the logits were divided by."""
    templates: list[str]
    tied: list[str]
    """Labels that count as equal to the answer."""


class PerceiveAnswer(Model):
    """The result of each task, under its name."""

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
    """U-Net rows spent, all tasks together."""
    segmentation: SegmentationResult | None = None
    timing: TimingAnswer
    zero_shot: ZeroShotResult | None = Field(default=None, alias="zero-shot")


class PoseAnswer(Persons, Model):
    """The persons, in the order of their boxes, and what their points are."""

    backbone: BackboneAnswer
    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str
    """Name of the detector that found them; empty where none did."""
    image: ImageAnswer
    links: list[list[int]]
    """Pairs of points, counted from 0, that a drawing joins."""
    names: list[str]
    """One a point; left and right are the person's own."""
    network: str
    network_revision: str
    """Changes when any answer could."""
    persons: list[PersonAnswer]
    rows: int
    """U-Net rows spent."""
    timing: TimingAnswer


class FieldError(Model):
    """One value that can not be used."""

    loc: list[str | int]
    """Where it stands: the field, then the place inside it."""
    msg: str
    type: str


class Problem(Model):
    """RFC 9457 problem details."""

    detail: str
    """What happened this time."""
    errors: list[FieldError] = Field(default_factory=lambda: [])
    """The values at fault, the first 20 of them."""
    field: str = ""
    """The first field at fault, dotted; empty where none is."""
    hint: str = ""
    """What to do or send instead."""
    instance: str = ""
    """The path that was asked."""
    request_id: str = ""
    """As in the header X-Request-ID and in the server's log."""
    status: int
    title: str
    """The kind in a few words, always the same for one `type`."""
    type: str
    """Which kind of problem; docs/errors.md lists them."""


class ProgressAnswer(Model):
    """The posterior over the labels, best first, as it stands."""

    calibrated: bool
    """Whether the temperature was fitted to labelled images, for answers of this kind. False where a budget cut the
    race, and while a race goes on.
    """
    confidence: float | None
    """About 1 minus the probability that all timesteps would have given another answer; null with a schedule, which
    does not know it.
    """
    dropped: list[DroppedAnswer]
    """The labels that were dropped, in that order."""
    label: str
    """The answer: the label that outlived all others, or leads them."""
    posterior: list[LabelAnswer]
    rows: int
    """U-Net rows spent."""
    temperature: float
    """What the logits were divided by."""
    tied: list[str]
    """Labels that count as equal to the answer."""


class ReadyAnswer(Model):
    """The backbone is loaded and warm."""

    status: Literal["ready"] = "ready"


class ReferringAnswer(ExpressionMasks, Model):
    """Masks in the order of the expressions."""

    backbone: BackboneAnswer
    head: str
    image: ImageAnswer
    masks: list[ExpressionAnswer]
    rows: int
    """U-Net rows spent."""
    timing: TimingAnswer


class RelativeDepthAnswer(Model):
    """Relative depth of one image."""

    backbone: BackboneAnswer
    ensemble_size: int
    fit: MetricFit | None = None
    """Where distances are known."""
    head: str
    image: ImageAnswer
    mean_uncertainty: float | None = None
    """Of an ensemble: mean spread of its predictions, in relative depth."""
    per_unit: float
    """What one step of `png16` stands for."""
    png16: str | None = None
    """The map, a 16-bit grey PNG in base64."""
    rows: int
    """U-Net rows spent."""
    statistics: DepthFigures
    steps: int
    timing: TimingAnswer
    uncertainty_png16: str | None = None
    """Spread at each pixel, a 16-bit grey PNG in base64; 65535 is 1."""
    unit: Literal["relative", "metre"]
    """Of statistics and `png16`. Relative: 0 near, 1 far."""


class RoundsRequest(Model):
    """A schedule of one's own: after each round only the best hypotheses go on."""

    n_samples: list[int]
    """Timesteps each round visits."""
    to_keep: list[int]
    """Hypotheses that each round keeps; it falls, and ends in 1."""


class SegmentationAnswer(SegmentMasks, Model):
    """The classes of one image."""

    backbone: BackboneAnswer
    classes: list[str]
    """All classes of the head, in the order of indices."""
    head: str
    image: ImageAnswer
    palette: list[list[int]]
    """Red, green and blue of each class."""
    rows: int
    """U-Net rows spent."""
    segments: list[MaskAnswer]
    """Classes that the image has, largest first."""
    timing: TimingAnswer


class ZeroShotAnswer(Model):
    """The posterior over the labels, best first, and how it was reached."""

    backbone: BackboneAnswer
    calibrated: bool
    """Whether the temperature was fitted to labelled images, for answers of this kind. False where a budget cut the
    race, and while a race goes on.
    """
    confidence: float | None
    """About 1 minus the probability that all timesteps would have given another answer; null with a schedule, which
    does not know it.
    """
    dropped: list[DroppedAnswer]
    """The labels that were dropped, in that order."""
    image: ImageAnswer
    label: str
    """The answer: the label that outlived all others, or leads them."""
    notes: list[str] = Field(default_factory=lambda: [])
    """What to know of the labels that were sent."""
    posterior: list[LabelAnswer]
    rows: int
    """U-Net rows spent."""
    schedule: ScheduleAnswer | None
    """The rounds; null with a race."""
    scheme: Literal["schedule", "race"]
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"]
    """Why the work ended: the schedule's end, one label left, those left close enough, the budget spent, or every
    timestep visited.
    """
    temperature: float
    """What the logits were divided by."""
    templates: list[str]
    tied: list[str]
    """Labels that count as equal to the answer."""
    timing: TimingAnswer
