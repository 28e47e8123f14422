"""The model card of `pocket`, written from measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.evaluate import Evaluation
from training.loop import TrainedStage
from training.recipe import Recipe

_TEMPLATE = Path(__file__).with_name("pocket_card.md")


def model_card(measured: Evaluation, fitted: Mapping[str, TrainedStage], recipe: Recipe) -> str:
    """The card as Markdown. Every figure comes from the arguments; `fitted` has the stages "autoencoder" and
    "denoiser".
    """
    vae, denoiser = fitted["autoencoder"], fitted["denoiser"]
    runs = [("which of ten things", run) for run in measured.question]
    runs += [("which digit", run) for run in measured.digit_question]
    accuracies = "\n".join(
        f"| {name} | {run.timesteps} | {100 * run.accuracy:.1f} % ({round(run.accuracy * run.images)} of {run.images})"
        f" | {run.rows_per_image:,} | {run.milliseconds_per_image:.0f} ms |"
        for name, run in runs
    )
    return _TEMPLATE.read_text(encoding="utf-8").format(
        recipe=recipe,
        size=recipe.image_size,
        latent_size=recipe.image_size // 8,
        vae_widths="/".join(map(str, recipe.autoencoder_widths)),
        unet_widths="/".join(map(str, recipe.unet_widths)),
        parameters=measured.parameters,
        millions=sum(measured.parameters.values()) / 1e6,
        megabytes=measured.size_bytes / 1e6,
        scenes=measured.scenes,
        digits=measured.digits,
        empty_percent=100 * recipe.empty_prompts,
        vae_steps=vae.steps,
        vae_batch=recipe.autoencoder_pace.batch,
        vae_minutes=vae.seconds / 60,
        unet_steps=denoiser.steps,
        unet_batch=recipe.denoiser_pace.batch,
        unet_minutes=denoiser.seconds / 60,
        psnr=measured.psnr,
        digits_psnr=measured.digits_psnr,
        noise_error=measured.noise_error,
        relations=measured.relations,
        related=measured.related,
        threads=measured.threads,
        accuracies=accuracies,
    )
