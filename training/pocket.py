"""Training of `pocket`, the embedded backbone: a Stable Diffusion of a few million parameters that fits in the package.

`python -m training.pocket train` learns tokenizer, VAE, then text encoder and U-Net, and goes on where it stopped;
`export` writes what has been learnt so far to backbones/pocket; `evaluate` measures that folder, draws the pictures of
docs/pocket and writes the model card.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from training.autoencoder import autoencoder_losses, build_autoencoder
from training.card import model_card
from training.curves import draw_losses
from training.datasets.captioned import CaptionedImages
from training.datasets.digits import held_out_digits, training_digits
from training.denoiser import Denoiser, build_denoiser, build_scheduler, denoiser_losses
from training.evaluate import draw_pictures, evaluate
from training.export import Parts, read_folder, write_folder
from training.latents import LatentViews, encoded_views
from training.loop import Fitted, fit, load_average
from training.recipe import Recipe
from training.stock import AutoencoderKL
from training.tokenizer import load_tokenizer, train_merges, write_tokenizer

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Option(help="Folder of checkpoints, loss logs and the tokenizer.")]
Folder = Annotated[Path, typer.Option(help="The diffusers folder.")]
Threads = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processor threads. Beside other work one is faster than many: they wait for each other. "
        "Another number may change the last digits.",
    ),
]


def train(
    images: CaptionedImages, recipe: Recipe, run: Path, *, stop_after: int | None = None, save_every: int = 200
) -> None:
    """Trains every part on `images`, from what `run` already holds; the same images and recipe give the same weights.

    stop_after: stop the stage at hand at this step, as a kill would; for tests.
    Raises ValueError when `run` was begun with another recipe.
    """
    run.mkdir(parents=True, exist_ok=True)
    merges = train_merges(caption for index in range(len(images)) for caption in images.captions(index))
    write_tokenizer(run / "tokenizer", merges, recipe.tokens)

    autoencoder = _fresh_autoencoder(recipe)
    pace = recipe.autoencoder_pace
    fitted = fit(
        "autoencoder",
        autoencoder,
        autoencoder_losses(autoencoder, images, batch=pace.batch, divergence_weight=recipe.divergence_weight),
        run,
        pace=pace,
        seed=recipe.seed,
        recipe={"images": images.name, **_chosen(recipe, "image_size", "autoencoder_widths", "divergence_weight")},
        stop_after=stop_after,
        save_every=save_every,
    )
    if fitted.steps < pace.steps:
        return

    latents = _latent_views(autoencoder, fitted.steps, images, recipe, run)
    denoiser = _fresh_denoiser(recipe, run)
    pace = recipe.denoiser_pace
    losses = denoiser_losses(
        denoiser,
        load_tokenizer(run / "tokenizer"),
        build_scheduler(),
        images,
        latents,
        batch=pace.batch,
        scaling_factor=latents.scaling_factor(),
        empty_prompts=recipe.empty_prompts,
    )
    fit(
        "denoiser",
        denoiser,
        losses,
        run,
        pace=pace,
        seed=recipe.seed,
        recipe={
            "images": images.name,
            "autoencoder_steps": fitted.steps,
            **_chosen(recipe, "tokens", "text_width", "text_layers", "unet_widths", "views", "empty_prompts"),
        },
        stop_after=stop_after,
        save_every=save_every,
    )


def trained_parts(images: CaptionedImages, recipe: Recipe, run: Path) -> tuple[Parts, dict[str, Fitted]]:
    """The averaged weights of both stages as they stand in `run`, also while training goes on, and what they cost.

    Raises FileNotFoundError when a stage has not begun.
    """
    autoencoder, denoiser = _fresh_autoencoder(recipe), _fresh_denoiser(recipe, run)
    fitted = {
        "autoencoder": load_average(run / "autoencoder.pt", autoencoder),
        "denoiser": load_average(run / "denoiser.pt", denoiser),
    }
    latents = _latent_views(autoencoder, fitted["autoencoder"].steps, images, recipe, run)
    autoencoder.register_to_config(scaling_factor=latents.scaling_factor())
    return Parts(autoencoder, denoiser, load_tokenizer(run / "tokenizer"), build_scheduler()), fitted


@app.command("train")
def train_command(
    run: Run = Path("runs/pocket"),
    autoencoder_steps: Annotated[int, typer.Option(min=1)] = Recipe().autoencoder_pace.steps,
    denoiser_steps: Annotated[int, typer.Option(min=1, help="May be raised later.")] = Recipe().denoiser_pace.steps,
    seed: Annotated[int, typer.Option(min=0)] = Recipe().seed,
    threads: Threads = 1,
) -> None:
    """Learns all parts on the training digits. Stopped at any time, the same command goes on where it was."""
    torch.set_num_threads(threads)
    train(training_digits(), _recipe(autoencoder_steps, denoiser_steps, seed), run)


@app.command("export")
def export_command(run: Run = Path("runs/pocket"), folder: Folder = Path("backbones/pocket")) -> None:
    """Writes the averaged weights of a run, finished or not, as a diffusers folder in float16."""
    parts, fitted = trained_parts(training_digits(), Recipe(), run)
    write_folder(parts, run / "tokenizer", folder)
    exported = {name: asdict(stage) for name, stage in fitted.items()}
    (run / "exported.json").write_text(json.dumps(exported, indent=2) + "\n", encoding="utf-8")


@app.command("evaluate")
def evaluate_command(
    run: Run = Path("runs/pocket"),
    folder: Folder = Path("backbones/pocket"),
    pictures: Annotated[Path, typer.Option(help="Where loss curve, samples and reconstructions go.")] = Path(
        "docs/pocket"
    ),
    timesteps: Annotated[list[int] | None, typer.Option(help="For zero-shot; may be given several times.")] = None,
    threads: Threads = 1,
) -> None:
    """Measures an exported folder on the held-out digits, draws pictures, and writes the folder's README.md."""
    torch.set_num_threads(threads)
    digits, parts = held_out_digits(), read_folder(folder)
    draw_pictures(parts, digits, pictures)
    draw_losses({"VAE": run / "autoencoder.csv", "text encoder and U-Net": run / "denoiser.csv"}, pictures / "loss.png")
    measured = evaluate(parts, folder, digits, timesteps or [10, 20, 50, 100])
    (run / "evaluation.json").write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
    exported = json.loads((run / "exported.json").read_text(encoding="utf-8"))
    fitted = {name: Fitted(**stage) for name, stage in exported.items()}
    card = model_card(measured, fitted, Recipe(), training_images=len(training_digits()))
    (folder / "README.md").write_text(card, encoding="utf-8")
    typer.echo(json.dumps(asdict(measured), indent=2))


def _recipe(autoencoder_steps: int, denoiser_steps: int, seed: int) -> Recipe:
    recipe = Recipe(seed=seed)
    return replace(
        recipe,
        autoencoder_pace=replace(recipe.autoencoder_pace, steps=autoencoder_steps),
        denoiser_pace=replace(recipe.denoiser_pace, steps=denoiser_steps),
    )


def _fresh_autoencoder(recipe: Recipe) -> AutoencoderKL:
    torch.manual_seed(recipe.seed)
    # Channels last: a quarter faster on the processors this was trained on.
    return build_autoencoder(recipe.autoencoder_widths, recipe.image_size).to(memory_format=torch.channels_last)


def _fresh_denoiser(recipe: Recipe, run: Path) -> Denoiser:
    torch.manual_seed(recipe.seed)
    return build_denoiser(
        load_tokenizer(run / "tokenizer"),
        text_width=recipe.text_width,
        text_layers=recipe.text_layers,
        widths=recipe.unet_widths,
        latent_size=recipe.image_size // 8,
    )


def _latent_views(
    autoencoder: AutoencoderKL, autoencoder_steps: int, images: CaptionedImages, recipe: Recipe, run: Path
) -> LatentViews:
    # Named by what they come from: a VAE that was trained on has its latents computed anew.
    path = run / f"latents-{autoencoder_steps}-{recipe.views}.safetensors"
    return encoded_views(autoencoder, images, path, views=recipe.views, seed=recipe.seed)


def _chosen(recipe: Recipe, *names: str) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in names}


if __name__ == "__main__":
    app()
