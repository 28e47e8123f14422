"""The model card has the measured figures."""

from __future__ import annotations

from training.card import model_card
from training.evaluate import Evaluation, ZeroShot
from training.loop import TrainedStage
from training.recipe import Recipe


def test_the_model_card_has_the_measured_figures() -> None:
    run = ZeroShot(timesteps=50, rows_per_image=500, accuracy=0.95, images=360, milliseconds_per_image=12.0)
    measured = Evaluation(
        scenes=200,
        digits=360,
        psnr=28.24,
        digits_psnr=41.26,
        noise_error=0.1234,
        question=(run,),
        relations=0.875,
        related=40,
        digit_question=(run,),
        parameters={"vae": 1, "text_encoder": 2, "unet": 3},
        size_bytes=9_876_543,
        threads=2,
    )
    card = model_card(
        measured, {"autoencoder": TrainedStage(3000, 600.0), "denoiser": TrainedStage(6000, 1800.0)}, Recipe()
    )
    for figure in ("28.2 dB", "41.3 dB", "0.1234", "95.0 % (342 of 360)", "0.875 of 40", "9.9 MB", "6,000", "30 min"):
        assert figure in card
