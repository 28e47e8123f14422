"""Training of `pocket`, the embedded backbone: a Stable Diffusion of a few million parameters that fits in the package.

    python -m training.world runs/world/training --scenes 14000 --seed 1
    python -m training.pocket train

computes the encoder, learns the decoder, then text encoder and U-Net, and goes on where it stopped; `export` writes
what has been learnt so far to backbones/pocket; `evaluate` measures that folder on held-out scenes and digits, draws
the pictures of docs/pocket and writes the model card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.nn.attention import SDPBackend, sdpa_kernel

from backbones.files import write_file, write_json
from training.autoencoder import build_autoencoder, decoder_losses
from training.card import model_card
from training.curves import draw_losses
from training.datasets.captioned import CaptionSource
from training.datasets.digits import load_training_digits
from training.datasets.world import WorldImages
from training.denoiser import Learner, build_denoiser, build_scheduler, denoiser_losses
from training.evaluate import draw_pictures, evaluate, load_held_out
from training.examples import TrainingExamples, encode_examples, scaling_factor
from training.export import NetworkParts, read_folder, write_folder
from training.loop import TrainedStage, fit, load_average
from training.principal import Components, load_components, principal_components, save_components
from training.recipe import Recipe
from training.stock import AutoencoderKL
from training.tokenizer import load_tokenizer, train_merges, write_tokenizer

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Option(help="Folder of checkpoints, loss logs and the tokenizer.")]
Folder = Annotated[Path, typer.Option(help="The diffusers folder.")]
World = Annotated[Path, typer.Option(help="Folder of a rendered world: python -m training.world writes one.")]
Threads = Annotated[
    int,
    typer.Option(
        min=1,
        help="CPU threads. On a busy machine one thread is faster than many, which wait for each other. "
        "Another number may change the last digits.",
    ),
]


def train(
    sources: Sequence[CaptionSource], recipe: Recipe, run: Path, *, stop_after: int | None = None, save_every: int = 100
) -> None:
    """Trains every part on `sources`, from the files in `run`; the same images and recipe give the same weights.

    stop_after: stop the current stage at this step, as a kill would; for tests.
    Raises ValueError if `run` was begun with another recipe.
    """
    run.mkdir(parents=True, exist_ok=True)
    sentences = (
        text for source in sources for index in range(len(source.images)) for text in source.images.captions(index)
    )
    write_tokenizer(run / "tokenizer", train_merges(sentences), recipe.tokens)
    components = _components(sources, recipe, run)
    names = [source.images.name for source in sources]
    sitting: dict[str, Any] = {"seed": recipe.seed, "stop_after": stop_after, "save_every": save_every}

    autoencoder = _fresh_autoencoder(recipe, components)
    pace = recipe.autoencoder_pace
    fitted = fit(
        "autoencoder",
        autoencoder,
        decoder_losses(autoencoder, components, sources, batch=pace.batch, noise=recipe.latent_noise),
        run,
        pace=pace,
        recipe={"images": names, **_choose(recipe, "image_size", "latent_channels", "autoencoder_widths")},
        **sitting,
    )
    if fitted.steps < pace.steps:
        return

    learner, pace = _fresh_learner(recipe, run), recipe.denoiser_pace
    sets = _examples(components, sources, recipe, run)
    factor = scaling_factor(sets, recipe.early.shares)
    losses = denoiser_losses(
        learner,
        load_tokenizer(run / "tokenizer"),
        build_scheduler(),
        sets,
        batch=pace.batch,
        scaling_factor=factor,
        **_choose(recipe, "early", "late", "late_from", "empty_prompts", "contradiction_weight", "supervision", "half"),
    )
    shaping = ("tokens", "text_width", "text_layers", "unet_widths", "empty_prompts", "late_from")
    # Plain products: on CPUs, the backward pass of the fused attention is several times slower.
    with sdpa_kernel(SDPBackend.MATH):
        fit(
            "denoiser",
            learner,
            losses,
            run,
            pace=pace,
            recipe={
                "images": names,
                **{when: list(astuple(getattr(recipe, when))) for when in ("early", "late")},
                "scaling_factor": factor,
                **_choose(recipe, *shaping, "contradiction_weight", "supervision", "half"),
            },
            **sitting,
        )


def train_parts(
    sources: Sequence[CaptionSource], recipe: Recipe, run: Path
) -> tuple[NetworkParts, dict[str, TrainedStage]]:
    """The averaged weights of both stages in `run`, also while training continues, and their cost.

    Raises FileNotFoundError if a stage has not begun.
    """
    components = load_components(run / "components.safetensors")
    autoencoder, learner = _fresh_autoencoder(recipe, components), _fresh_learner(recipe, run)
    fitted = {
        "autoencoder": load_average(run / "autoencoder.pt", autoencoder),
        "denoiser": load_average(run / "denoiser.pt", learner),
    }
    factor = scaling_factor(_examples(components, sources, recipe, run), recipe.early.shares)
    autoencoder.register_to_config(scaling_factor=factor)
    return NetworkParts(autoencoder, learner.denoiser, load_tokenizer(run / "tokenizer"), build_scheduler()), fitted


@app.command("train")
def train_command(
    run: Run = Path("runs/pocket"),
    world: World = Path("runs/world/training"),
    autoencoder_steps: Annotated[int, typer.Option(min=1)] = Recipe().autoencoder_pace.steps,
    denoiser_steps: Annotated[int, typer.Option(min=1, help="May be raised later.")] = Recipe().denoiser_pace.steps,
    seed: Annotated[int, typer.Option(min=0)] = Recipe().seed,
    threads: Threads = 1,
) -> None:
    """Trains all parts on a rendered world and the training digits. A stopped run continues."""
    torch.set_num_threads(threads)
    train(_sources(world), _recipe(autoencoder_steps, denoiser_steps, seed), run)


@app.command("export")
def export_command(
    run: Run = Path("runs/pocket"),
    world: World = Path("runs/world/training"),
    folder: Folder = Path("backbones/pocket"),
) -> None:
    """Writes the averaged weights of a run, finished or not, as a diffusers folder in float16."""
    parts, fitted = train_parts(_sources(world), Recipe(), run)
    write_folder(parts, run / "tokenizer", folder)
    exported = {name: asdict(stage) for name, stage in fitted.items()}
    write_json(run / "exported.json", exported)


@app.command("evaluate")
def evaluate_command(
    run: Run = Path("runs/pocket"),
    folder: Folder = Path("backbones/pocket"),
    pictures: Annotated[Path, typer.Option(help="Folder for loss curves, samples and reconstructions.")] = Path(
        "docs/pocket"
    ),
    timesteps: Annotated[list[int] | None, typer.Option(help="For zero-shot; may be given several times.")] = None,
    threads: Threads = 1,
) -> None:
    """Measures an exported folder on held-out scenes and digits, draws pictures, and writes the folder's README.md."""
    torch.set_num_threads(threads)
    parts, data = read_folder(folder), load_held_out()
    draw_pictures(parts, data, pictures)
    draw_losses({"VAE": run / "autoencoder.csv", "text encoder and U-Net": run / "denoiser.csv"}, pictures / "loss.png")
    measured = evaluate(parts, folder, data, timesteps or [10])
    write_json(run / "evaluation.json", asdict(measured))
    exported = json.loads((run / "exported.json").read_text(encoding="utf-8"))
    fitted = {name: TrainedStage(**stage) for name, stage in exported.items()}
    write_file(folder / "README.md", model_card(measured, fitted, Recipe()).encode())
    typer.echo(json.dumps(asdict(measured), indent=2))


def _sources(world: Path) -> list[CaptionSource]:
    """The training data of `pocket`: unchanged scenes, and sixteen variations of each digit."""
    if not (world / "instances.json").exists():
        raise typer.BadParameter(f"{world} holds no world: python -m training.world {world} --scenes 14000 --seed 1")
    return [
        CaptionSource(WorldImages(world), share=0.85, views=1),
        CaptionSource(load_training_digits(), share=0.15, views=16),
    ]


def _recipe(autoencoder_steps: int, denoiser_steps: int, seed: int) -> Recipe:
    recipe = Recipe(seed=seed)
    return replace(
        recipe,
        autoencoder_pace=replace(recipe.autoencoder_pace, steps=autoencoder_steps),
        denoiser_pace=replace(recipe.denoiser_pace, steps=denoiser_steps),
    )


def _components(sources: Sequence[CaptionSource], recipe: Recipe, run: Path) -> Components:
    """Components of the run if they exist, else computed from images evenly spread over each data set."""
    path = run / "components.safetensors"
    if not path.exists():
        chosen = (
            source.images.image(index)
            for source, most in zip(sources, recipe.component_images, strict=True)
            for index in range(0, len(source.images), -(-len(source.images) // most))
        )
        save_components(principal_components(chosen, recipe.latent_channels), path)
    return load_components(path)


def _fresh_autoencoder(recipe: Recipe, components: Components) -> AutoencoderKL:
    torch.manual_seed(recipe.seed)
    autoencoder = build_autoencoder(recipe.autoencoder_widths, recipe.image_size, components)
    # Channels last: a tenth to a quarter faster on the CPUs of this training.
    return autoencoder.to(memory_format=torch.channels_last)


def _fresh_learner(recipe: Recipe, run: Path) -> Learner:
    torch.manual_seed(recipe.seed)
    denoiser = build_denoiser(
        load_tokenizer(run / "tokenizer"),
        text_width=recipe.text_width,
        text_layers=recipe.text_layers,
        widths=recipe.unet_widths,
        latent_size=recipe.image_size // 8,
        latent_channels=recipe.latent_channels,
    )
    denoiser.unet.to(memory_format=torch.channels_last)
    return Learner(denoiser)


def _examples(
    components: Components, sources: Sequence[CaptionSource], recipe: Recipe, run: Path
) -> list[TrainingExamples]:
    return [
        encode_examples(components, source, run / f"latents-{source.images.name}.pt", seed=recipe.seed)
        for source in sources
    ]


def _choose(recipe: Recipe, *names: str) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in names}


if __name__ == "__main__":
    app()
