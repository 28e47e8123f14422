"""The declaration of every published model has what `diffsight models add` needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backbones.errors import CheckpointError
from backbones.loading import stock_networks
from backbones.loading.published_keys import Shapes, vae_encoder_keys
from heads.diffews import published_keys as diffews
from heads.marigold.conversion import unet_keys as marigold_keys
from heads.sdpose import published_keys as sdpose
from heads.vpd import published_keys as vpd
from service.models.known import PUBLISHED
from tests.backbones.small_networks import SD2, write_sparse
from tests.heads.marigold.original_files import write_settings
from tests.service.models.originals import WRITERS, write_original

FINE_TUNED = sorted(kind for kind, model in PUBLISHED.items() if model.base)


def names_in(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def test_every_model_says_where_it_is_from_and_what_it_goes_with() -> None:
    assert sorted(WRITERS) == FINE_TUNED
    for kind, model in PUBLISHED.items():
        assert model.kind == kind
        assert model.licence
        assert model.hub_id or model.where != "the hub"
        if model.base:
            assert PUBLISHED[model.base].base == ""


@pytest.mark.parametrize("kind", FINE_TUNED)
def test_a_small_checkpoint_is_converted_and_verified(kind: str, tmp_path: Path) -> None:
    place = write_original(kind, tmp_path / "original")
    folder = place if place.is_dir() else place.parent
    files = PUBLISHED[kind].select_files(names_in(folder), folder)
    PUBLISHED[kind].convert(folder, files, tmp_path / "weights", any_size=True)
    assert PUBLISHED[kind].verify(tmp_path / "weights", any_size=True) == "float32"


@pytest.mark.parametrize("kind", FINE_TUNED)
def test_other_sizes_are_refused_unless_allowed(kind: str, tmp_path: Path) -> None:
    place = write_original(kind, tmp_path / "original")
    folder = place if place.is_dir() else place.parent
    files = PUBLISHED[kind].select_files(names_in(folder), folder)

    def convert_and_verify() -> None:
        PUBLISHED[kind].convert(folder, files, tmp_path / "weights", any_size=False)
        PUBLISHED[kind].verify(tmp_path / "weights", any_size=False)

    with pytest.raises(CheckpointError, match="--any-size") as error:
        convert_and_verify()
    assert error.value.missing == error.value.unexpected == ()
    assert len(error.value.mis_shaped) > 600


@pytest.mark.parametrize("kind", FINE_TUNED)
def test_the_published_sizes_are_taken_as_published(kind: str, tmp_path: Path) -> None:
    system, _, part = kind.partition("-")
    config = SD2 | {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 1024}
    head: Shapes = {}
    if system == "vpd":
        stock = stock_networks.build_unet(config | {"cross_attention_dim": 768, "use_linear_projection": False})
        unet = shapes_of(stock, vpd.list_missing_layers(part))
        head = vpd.head_keys(part)
        write_sparse(vae_encoder_keys(), tmp_path / "vae.safetensors")
    elif system == "sdpose":
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
        unet, head = sdpose.unet_keys(), sdpose.head_keys(part)
    elif system == "marigold":
        config |= {"in_channels": 8}
        unet = marigold_keys()
        write_settings(part.partition("-")[0], tmp_path)
    else:
        unet = diffews.unet_keys()
    write_sparse(unet, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    write_sparse(head, tmp_path / "head.safetensors")
    (tmp_path / "unet/config.json").write_text(json.dumps(config))
    assert PUBLISHED[kind].verify(tmp_path, any_size=False) == "float16"


def shapes_of(network: Any, missing: tuple[str, ...]) -> Shapes:
    return {
        key: tuple(tensor.shape)
        for key, tensor in network.state_dict().items()
        if not (missing and key.startswith(missing))
    }
