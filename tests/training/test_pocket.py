"""Training of pocket in tiny sizes: it runs to its end, resumes with the same result, and writes a stock folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.autoencoder import mean_latents
from training.curves import draw_losses, read_losses
from training.datasets.captioned import CaptionSource, Image
from training.datasets.digits import CLASS_PROMPTS, load_held_out_digits
from training.evaluate import QUESTION_PROMPTS, load_held_out, reconstruction_psnr, zero_shot
from training.export import NetworkParts, folder_bytes, read_folder, write_folder
from training.loop import StageSettings
from training.pocket import train, train_parts
from training.recipe import Emphasis, Recipe
from training.samples import sample_images
from training.stock import AutoencoderKL, CLIPTextModel, CLIPTokenizer, DDIMScheduler, UNet2DConditionModel

POCKET = Path(__file__).parents[2] / "backbones" / "pocket"
TINY = Recipe(
    image_size=32,
    latent_channels=4,
    component_images=(2000,),
    autoencoder_widths=(16, 32, 16, 16),
    autoencoder_pace=StageSettings(steps=4, batch=2, learning_rate=1e-3, warm_up=2, average_decay=0.9),
    early=Emphasis(shares=(1.0,), contradicted=0.25, relation_weight=1),
    late=Emphasis(shares=(1.0,), contradicted=0.5, relation_weight=1),
    late_from=3,
    tokens=8,
    text_width=8,
    text_layers=1,
    unet_widths=(8, 8, 8, 8),
    half=False,  # one channel a norm group on one pixel: bfloat16 has no digits for that
    denoiser_pace=StageSettings(steps=6, batch=4, learning_rate=1e-3, warm_up=2, average_decay=0.9),
)


class Squares:
    """A data set of another kind than the digits: coloured squares. Training must not tell the difference."""

    name = "squares"
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255))

    def __len__(self) -> int:
        return len(self.colours)

    def image(self, index: int) -> Image:
        canvas = np.full((32, 32, 3), 255, dtype=np.uint8)
        canvas[8:24, 8:24] = self.colours[index]
        return canvas

    def augment(self, index: int, generator: np.random.Generator) -> Image:
        return np.roll(self.image(index), int(generator.integers(-4, 5)), axis=1)

    def captions(self, index: int) -> tuple[str, ...]:
        return (("a red square", "a green square", "a blue square")[index],)


SOURCES = [CaptionSource(Squares(), share=1.0, views=2)]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training without interruption."""
    run = tmp_path_factory.mktemp("uninterrupted")
    train(SOURCES, TINY, run)
    return run


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_training_ends_with_the_very_same_weights(tiny_run: Path, tmp_path: Path, stop: int) -> None:
    train(SOURCES, TINY, tmp_path, stop_after=stop)  # interrupted in the VAE
    train(SOURCES, replace(TINY, denoiser_pace=replace(TINY.denoiser_pace, steps=stop)), tmp_path)  # in the U-Net
    train(SOURCES, TINY, tmp_path)
    whole, resumed = (train_parts(SOURCES, TINY, run)[0] for run in (tiny_run, tmp_path))
    assert _same_weights(whole.autoencoder, resumed.autoencoder)
    assert _same_weights(whole.denoiser, resumed.denoiser)
    assert _same_losses(tiny_run, tmp_path)


def test_a_kill_between_checkpoints_costs_only_the_steps_since_the_last(tiny_run: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class KilledAtStepThree(Squares):
        draws = 0

        def augment(self, index: int, generator: np.random.Generator) -> Image:
            self.draws += 1
            if self.draws > 3 * TINY.autoencoder_pace.batch:
                raise Killed
            return super().augment(index, generator)

    with pytest.raises(Killed):
        train([CaptionSource(KilledAtStepThree(), share=1.0, views=2)], TINY, tmp_path, save_every=2)
    assert torch.load(tmp_path / "autoencoder.pt", weights_only=True)["step"] == 2
    train(SOURCES, TINY, tmp_path)
    assert _same_losses(tiny_run, tmp_path)


def test_a_finished_training_is_not_trained_again(tiny_run: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiny_run.glob("*.pt")}
    train(SOURCES, TINY, tiny_run)
    assert {path.name: path.read_bytes() for path in tiny_run.glob("*.pt")} == before


def test_another_recipe_is_refused_with_what_differs(tiny_run: Path) -> None:
    with pytest.raises(ValueError, match=r"another recipe \(seed 0 -> 1\).*another run folder"):
        train(SOURCES, replace(TINY, seed=1), tiny_run)


def test_loss_logs_and_curves_are_written(tiny_run: Path, tmp_path: Path) -> None:
    steps, losses = read_losses(tiny_run / "denoiser.csv")
    assert steps.tolist() == list(range(6))
    assert np.isfinite(losses).all()
    draw_losses({"VAE": tiny_run / "autoencoder.csv", "U-Net": tiny_run / "denoiser.csv"}, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_an_exported_folder_loads_by_the_stock_classes_and_computes_the_same(tiny_run: Path, tmp_path: Path) -> None:
    parts, _ = train_parts(SOURCES, TINY, tiny_run)
    write_folder(parts, tiny_run / "tokenizer", tmp_path)
    loaded = read_folder(tmp_path)
    assert {weight.dtype for weight in loaded.denoiser.parameters()} == {torch.float32}
    images = [Squares().image(index) for index in range(3)]
    latents = mean_latents(loaded.autoencoder, images)
    assert latents.shape == (3, 4, 4, 4)
    torch.testing.assert_close(latents, mean_latents(parts.autoencoder, images), atol=2e-2, rtol=2e-2)
    texts = ["a red square", ""]
    with torch.no_grad():
        contexts = loaded.denoiser.contexts(loaded.tokenizer, texts)
        torch.testing.assert_close(contexts, parts.denoiser.contexts(parts.tokenizer, texts), atol=1e-2, rtol=1e-2)
    drawn = sample_images(
        loaded.autoencoder, loaded.denoiser, loaded.scheduler, contexts, contexts[1:], guidance=2.0, steps=3, seed=0
    )
    assert drawn.shape == (2, 32, 32, 3)


def test_the_committed_pocket_names_stock_classes_and_its_parts_load_by_them() -> None:
    index = json.loads((POCKET / "model_index.json").read_text(encoding="utf-8"))
    named = {name: value for name, value in index.items() if isinstance(value, list) and value[0]}
    assert index["_class_name"] == "StableDiffusionPipeline"
    parts = read_folder(POCKET)
    loaded = {
        "vae": (parts.autoencoder, AutoencoderKL),
        "text_encoder": (parts.denoiser.text_encoder, CLIPTextModel),
        "tokenizer": (parts.tokenizer, CLIPTokenizer),
        "unet": (parts.denoiser.unet, UNet2DConditionModel),
        "scheduler": (parts.scheduler, DDIMScheduler),
    }
    assert set(named) == set(loaded)
    for name, (part, stock_class) in loaded.items():
        assert type(part) is stock_class
        assert named[name][1] == stock_class.__name__
    assert parts.denoiser.unet.get_submodule("up_blocks.1.attentions.1") is not None
    assert parts.denoiser.unet.config.cross_attention_dim == parts.denoiser.text_encoder.config.hidden_size


def test_the_committed_pocket_is_small_and_half_precision_safetensors() -> None:
    assert folder_bytes(POCKET) < 14_000_000
    assert not [path for path in POCKET.rglob("*") if path.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]
    assert json.loads((POCKET / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"] == 16


@pytest.fixture(scope="module")
def committed_parts() -> NetworkParts:
    return read_folder(POCKET)


def test_the_committed_pocket_rebuilds_held_out_scenes(committed_parts: NetworkParts) -> None:
    scenes = load_held_out().scenes
    assert reconstruction_psnr(committed_parts, [scenes.image(index) for index in range(20)]) > 26


def test_the_committed_pocket_recognises_held_out_digits(committed_parts: NetworkParts) -> None:
    """A small check that the weights in the package are the trained ones; the card has the full measurement."""
    digits = load_held_out_digits()
    images = [digits.image(index) for index in range(20)]
    (run,) = zero_shot(committed_parts, images, digits.labels[:20], CLASS_PROMPTS, [10])
    assert run.accuracy >= 0.8


@pytest.mark.slow
def test_the_committed_pocket_recognises_things_in_held_out_scenes(committed_parts: NetworkParts) -> None:
    scenes = load_held_out().scenes
    indices, kinds = (array[:20] for array in scenes.questions())
    (run,) = zero_shot(committed_parts, [scenes.image(index) for index in indices], kinds, QUESTION_PROMPTS, [10])
    assert run.accuracy >= 0.7


def _same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(mine, other) for mine, other in pairs)


def _same_losses(first: Path, second: Path) -> bool:
    return all(
        (first / f"{stage}.csv").read_text() == (second / f"{stage}.csv").read_text()
        for stage in ("autoencoder", "denoiser")
    )
