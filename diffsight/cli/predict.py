"""`diffsight predict ...`: ask a backbone in this process, without a server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from service.settings.loader import Settings, load_settings

if TYPE_CHECKING:
    from backbones.engine import DirectEngine
    from heads.results import Posterior
    from service.inputs.images import DecodedImage
    from service.library.calibration import Way

predict = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Ask a backbone here, without a server.",
    help="\b\ndiffsight predict zero-shot cat.jpg --labels cat,dog\n\nAsk a backbone here, without a server.",
)

Images = Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE", show_default=False)]


@predict.command("zero-shot", short_help="Which of your labels fits each image.")
def zero_shot(
    images: Images,
    labels: Annotated[str | None, typer.Option(help="Labels to choose from, with commas.", metavar="A,B,...")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="One label; repeat it. For labels that hold a comma.", metavar="TEXT")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the label; may be repeated.", metavar="TEXT")
    ] = None,
    scheme: Annotated[
        Literal["schedule", "race"] | None,
        typer.Option(help="Fixed rounds, or a race that stops when it is sure. Default: by the other options."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Race: how sure to be, up to 1. Default: 0.95.", min=0, max=1)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Race: U-Net rows or time an image: 500, '250 ms', '2 s'.", metavar="BUDGET")
    ] = None,
    indifference: Annotated[
        float | None,
        typer.Option(help="Race: a mean error by which the answer may be worse; closer labels tie.", min=0),
    ] = None,
    combine: Annotated[
        Literal["mean", "best_prompt"] | None,
        typer.Option(help="Race: how a label's templates are put together. Default: mean."),
    ] = None,
    schedule: Annotated[
        Literal["default", "published"] | None,
        typer.Option(help="Schedule: how much work. The paper's is up to ten times ours."),
    ] = None,
    loss: Annotated[Literal["l2", "l1", "huber"], typer.Option(help="How the noise error is measured.")] = "l2",
    temperature: Annotated[float | None, typer.Option(help="What the logits are divided by.", min=1e-6)] = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict zero-shot seven.png --labels zero,one,seven --template "a handwritten {}"
    diffsight predict zero-shot seven.png --labels one,seven --template "a handwritten {}" --confidence 0.99

    Which label fits each image. With --json one JSON object a line and image. An image that can not be read is told
    on standard error, the others are still answered, and the exit status is 2.
    """
    names = [*(part.strip() for part in (labels or "").split(",") if part.strip()), *(label or [])]
    if not names:
        raise InvalidInput("--labels", "no labels", hint="give them with commas: --labels cat,dog")
    plan, way = zero_shot_plan(
        len(names) * len(template or [""]),
        scheme,
        schedule,
        loss,
        confidence=confidence,
        budget=budget,
        indifference=indifference,
        combine=combine,
    )
    settings = load_settings(config, backbone=backbone, device=device, dtype=dtype)
    engine = open_engine(settings, classes=True)

    from backbones.engine import complete
    from service.library.calibration import choose_temperature, open_calibration
    from service.models.loading import default_templates

    calibration = open_calibration(settings, engine.backbone)
    chosen, calibrated = choose_temperature(settings, calibration, way, temperature)
    templates = template or default_templates(settings)
    failed = 0
    rows: list[tuple[str, Posterior]] = []
    for path in progress(images):
        started = time.perf_counter()
        try:
            picture = read_image(path, settings)
        except InvalidInput as error:
            typer.echo(f"diffsight: {path}: {error}", err=True)
            failed += 1
            continue
        posterior = complete(
            plan(
                engine,
                picture.array,
                names,
                templates=templates,
                temperature=chosen,
                calibrated=calibrated,
            )
        )
        if as_json:
            typer.echo(json.dumps(answer(path, posterior, time.perf_counter() - started), ensure_ascii=False))
        rows.append((str(path), posterior))
    if not as_json and rows:
        print_posteriors(rows)
    if failed:
        raise typer.Exit(2)


@predict.command(short_help="Write one feature vector an image to a .npy file.")
def features(
    images: Images,
    out: Annotated[Path, typer.Option(help="File to write, .npy, (images, D) float32.", metavar="FILE")],
    block: Annotated[
        list[str] | None,
        typer.Option(help="Number from 1 or diffusers name; may be repeated.", metavar="BLOCK"),
    ] = None,
    timestep: Annotated[list[int] | None, typer.Option(help="Noise level; may be repeated. Default: 100.")] = None,
    pool_size: Annotated[int, typer.Option(help="Cells a side that maps are averaged over.")] = 1,
    noise_samples: Annotated[int, typer.Option(help="Noises to average over; 0 for none.")] = 1,
    normalise: Annotated[bool, typer.Option("--normalise", help="Scale each vector to length 1.")] = False,
    fit: Annotated[Literal["crop", "pad", "squash"], typer.Option(help="How images are made square.")] = "crop",
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict features *.jpg --out features.npy

    One vector an image, in the order given.
    """
    settings = load_settings(config, backbone=backbone, device=device, dtype=dtype)
    if not out.parent.is_dir():
        raise InvalidInput("--out", f"there is no folder {out.parent}", hint="create it, or name another file")
    pictures = [read_image(path, settings) for path in images]
    engine = open_engine(settings)

    import numpy as np

    from backbones.engine import complete
    from heads.feature_pooling.features import pooled_features

    vectors = []
    for picture in progress(pictures):
        got = complete(
            pooled_features(
                engine,
                [picture.array],
                blocks=[int(one) if one.isdigit() else one for one in block] if block else None,
                timesteps=timestep or (100,),
                pool_size=pool_size,
                noise_samples=noise_samples,
                normalise=normalise,
                fit=fit,
            )
        )
        vectors.append(got.vectors)
    array = np.concatenate(vectors)
    try:
        with out.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise InvalidInput("--out", f"{out} can not be written: {error.strerror}", hint="name another file") from error
    summary = {
        "out": str(out),
        "shape": list(array.shape),
        "blocks": list(got.blocks),
        "timesteps": list(got.timesteps),
        "pool_size": got.pool_size,
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(f"wrote {out}: {array.shape[0]} x {array.shape[1]} float32, blocks {', '.join(got.blocks)}")


def zero_shot_plan(
    hypotheses: int,
    scheme: str | None,
    schedule: Literal["default", "published"] | None,
    loss: Literal["l2", "l1", "huber"],
    *,
    confidence: float | None = None,
    budget: str | None = None,
    indifference: float | None = None,
    combine: Literal["mean", "best_prompt"] | None = None,
) -> tuple[Callable[..., Coroutine[Any, Any, Posterior]], Way | None]:
    """How to classify, as a procedure and as temperatures are fitted for it, where they are. Imports torch.

    Raises InvalidInput for options of both schemes and for a budget that is none.
    """
    from heads.diffusion_classifier.anytime import parse_budget
    from heads.diffusion_classifier.classify import classify, classify_anytime
    from heads.diffusion_classifier.schedule import default_schedule, published_schedule
    from service.library.calibration import Way

    racing = {
        "--confidence": confidence is not None,
        "--budget": budget is not None,
        "--indifference": indifference is not None,
        "--combine": combine is not None,
    }
    if scheme == "race" or (scheme is None and any(racing.values())):
        if schedule is not None:
            raise InvalidInput("--schedule", "goes with --scheme schedule, not with a race", hint="leave out one")
        limit = None if budget is None else parse_budget(budget)
        sure = 0.95 if confidence is None else confidence
        together, near = combine or "mean", indifference or 0.0
        way = None if near else Way(scheme="race", loss=loss, confidence=sure, combine=together)
        plan = partial(classify_anytime, confidence=sure, budget=limit, loss=loss, indifference=near, combine=together)
        return plan, way
    for name, given in racing.items():
        if given:
            raise InvalidInput(name, "goes with --scheme race, not with a schedule", hint="leave out one")
    choose = published_schedule if schedule == "published" else default_schedule
    way = Way(scheme="schedule", loss=loss, schedule=schedule or "default")
    return partial(classify, schedule=choose(hypotheses), loss=loss), way


def open_engine(settings: Settings, *, classes: bool = False) -> DirectEngine:
    """The settings' backbone behind the engine that answers at once. Imports torch.

    classes: whether a network with classes instead of text will do. Raises InvalidInput for one that will not.
    """
    from backbones.engine import DirectEngine
    from service.models.loading import open_model, open_served

    model = open_served(settings) if classes else open_model(settings)
    return DirectEngine(model, max_rows=settings.engine.max_batch_rows)


def read_image(path: Path, settings: Settings) -> DecodedImage:
    """The picture in a file. Raises InvalidInput for one that can not be read or decoded."""
    from service.inputs.images import decode_image

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            str(path), f"can not be read: {error.strerror}", hint="check the path of the image"
        ) from error
    return decode_image(data, settings.limits, field=str(path))


def progress(items: Sequence[Any]) -> Iterable[Any]:
    """The items, behind a progress bar on standard error where a person watches more than one."""
    if len(items) < 2 or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, "images", console=Console(stderr=True), transient=True)


def answer(path: Path, posterior: Posterior, seconds: float) -> dict[str, Any]:
    """One image's answer as plain values, best label first."""
    from service.api.posteriors import PosteriorAnswer, posterior_fields

    told = PosteriorAnswer(**posterior_fields(posterior)).model_dump()
    return {"image": str(path), **told, "seconds": round(seconds, 3)}


def print_posteriors(rows: Sequence[tuple[str, Posterior]], most: int = 3) -> None:
    """A table with each image's best labels."""
    from rich.console import Console
    from rich.table import Table

    from service.api.posteriors import ranked

    table = Table(box=None, pad_edge=False)
    numbers = ("probability", "confidence", "rows")
    for name in ("image", "label", "probability", "next", "confidence", "rows"):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for path, posterior in rows:
        first, *others = ranked(posterior)
        runners_up = ", ".join(f"{one.label} {one.probability:.1%}" for one in others[: most - 1])
        sure = "-" if posterior.confidence is None else f"{posterior.confidence:.1%}"
        table.add_row(path, first.label, f"{first.probability:.1%}", runners_up, sure, str(posterior.rows))
    Console(highlight=False, markup=False).print(table)
