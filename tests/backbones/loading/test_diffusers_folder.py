"""A diffusers folder loads, or the error names what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import Capture, UNetRow
from tests.backbones.small_models import WEIGHTS

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS / "sd1", tmp_path / "model"))


def answer(folder: Path, **options: str) -> torch.Tensor:
    model = load_diffusers_folder(folder, **options)  # type: ignore[arg-type]
    latents = torch.linspace(-1, 1, 256).reshape(4, 8, 8)
    output = model.forward([UNetRow(latents, 9, model.embed(["a cat"])[0], Capture(output=True))])[0].output
    assert output is not None
    return output


def test_loading_prints_no_progress_bars(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.is_progress_bar_enabled()
    load_diffusers_folder(folder)
    assert "Loading" not in capfd.readouterr().err
    assert transformers_logging.is_progress_bar_enabled() == before


def test_bin_files_load_as_safetensors_do(folder: Path) -> None:
    expected = answer(folder)
    for part, stem in (("unet", None), ("vae", None), ("text_encoder", "pytorch_model")):
        (file,) = (folder / part).glob("*.safetensors")
        torch.save(load_file(file), file.with_name(f"{stem or file.stem}.bin"))
        file.unlink()
    torch.testing.assert_close(answer(folder), expected, rtol=0, atol=1e-5)


def test_the_key_names_of_the_published_folders_load(folder: Path) -> None:
    """As SD 1.5 was published: a wrapper's name and the positions in the text encoder, the VAE's older attention."""
    model = load_diffusers_folder(folder)
    text, vae = folder / "text_encoder/model.safetensors", folder / "vae/diffusion_pytorch_model.safetensors"
    tensors = {f"text_model.{key}": tensor for key, tensor in load_file(text).items()}
    save_file(tensors | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, text, {"format": "pt"})
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(vae)
    for new, old in older.items():
        tensors = {key.replace(new, old): tensor for key, tensor in tensors.items()}
    save_file(tensors, vae, {"format": "pt"})

    again = load_diffusers_folder(folder)
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(3, 64, 64)
    torch.testing.assert_close(again.encode([pixels])[0], model.encode([pixels])[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(again.embed(["a cat"])[0], model.embed(["a cat"])[0], rtol=0, atol=1e-5)


def test_a_file_variant_is_read_on_request(folder: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        halves = {key: tensor.half() for key, tensor in load_file(file).items()}
        save_file(halves, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
    full, half = answer(folder), answer(folder, file_variant="fp16")
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0, atol=0.05)


@pytest.mark.field
@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_a_folder_of_half_precision_alone_is_read(folder: Path, ending: str) -> None:
    expected = answer(folder)
    for file in list(folder.glob("*/*.safetensors")):
        halves = {key: tensor.half() for key, tensor in load_file(file).items()}
        file.unlink()
        if ending == ".safetensors":
            save_file(halves, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
        else:
            stem = "pytorch_model" if file.stem == "model" else file.stem
            torch.save(halves, file.with_name(f"{stem}.fp16.bin"))
    torch.testing.assert_close(answer(folder), expected, rtol=0, atol=0.05)


@pytest.mark.field
def test_a_part_without_plain_files_is_read_from_its_variant(folder: Path) -> None:
    expected = answer(folder)
    (folder / UNET).rename((folder / UNET).with_suffix(".fp16.safetensors"))
    torch.testing.assert_close(answer(folder), expected, rtol=0, atol=0)


def truncate_unet(folder: Path) -> None:
    content = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(content[: len(content) // 2])


def text_instead(folder: Path) -> None:
    (folder / UNET).write_text("version https://git-lfs.github.com/spec/v1\n")


def no_weights(folder: Path) -> None:
    (folder / UNET).unlink()


def other_channels(folder: Path) -> None:
    tensors = load_file(folder / UNET)
    tensors["conv_out.bias"] = torch.zeros(7)
    save_file(tensors, folder / UNET, {"format": "pt"})


def fewer_tensors(folder: Path) -> None:
    tensors = load_file(folder / UNET)
    del tensors["conv_out.bias"]
    save_file(tensors, folder / UNET, {"format": "pt"})


def more_tensors(folder: Path) -> None:
    save_file(load_file(folder / UNET) | {"surprise": torch.zeros(1)}, folder / UNET, {"format": "pt"})


def make_inpainting(folder: Path) -> None:
    tensors = load_file(folder / UNET)
    tensors["conv_in.weight"] = torch.zeros(16, 9, 3, 3)
    save_file(tensors, folder / UNET, {"format": "pt"})
    change(folder / "unet/config.json", in_channels=9)


def other_objective(folder: Path) -> None:
    change(folder / "scheduler/scheduler_config.json", prediction_type="sample")


def change(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate_unet, "unet"),
        (text_instead, "unet"),
        (no_weights, "unet"),
        (other_channels, "conv_out.bias"),
        (fewer_tensors, "1 missing .conv_out.bias"),
        (more_tensors, "1 unexpected .surprise"),
        (make_inpainting, "takes 9 channels"),
        (other_objective, "'sample' is neither"),
    ],
)
def test_weights_that_do_not_fit_are_refused(damage: Callable[[Path], None], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_diffusers_folder(folder)


@pytest.mark.parametrize(
    "part", ["model_index.json", "unet", "vae", "text_encoder", "tokenizer", "scheduler", "vae/config.json"]
)
def test_a_missing_part_is_not_found(part: str, folder: Path) -> None:
    if (folder / part).is_dir():
        shutil.rmtree(folder / part)
    else:
        (folder / part).unlink()
    with pytest.raises(ModelNotFound, match=Path(part).parts[0]):
        load_diffusers_folder(folder)
