"""Downloads of models from a hub on this machine: resumed, verified, refused, and never left incomplete."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backbones.errors import CheckpointError, DiffsightError, InvalidInput, ModelNotFound
from backbones.loading.add import add_model, find_problems
from backbones.loading.registry import ModelEntry, entries
from backbones.loading.source import open_backbone
from service.models.known import PUBLISHED
from tests.backbones.loading.test_hub import COMMIT, REPO, FileHub, dead_url
from tests.backbones.small_models import WEIGHTS
from tests.service.models.originals import write_original

__all__ = ["dead_url"]  # a fixture
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FileHub]:
    folder = write_original("sdpose-body", tmp_path / "published")
    (folder / "vae").mkdir()
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"not wanted")
    server = FileHub(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


Add = Callable[..., ModelEntry]


@pytest.fixture
def add(hub: FileHub, tmp_path: Path) -> Add:
    def add_from_hub(kind: str = "sdpose-body", **options: object) -> ModelEntry:
        options = {"folder": tmp_path / "models", "source": REPO, "any_size": True, **options}
        return add_model(PUBLISHED[kind], endpoint=hub.url, **options)  # type: ignore[arg-type]

    return add_from_hub


def list_models(tmp_path: Path) -> set[str]:
    """Names of the files in the models' folder, except unfinished downloads."""
    return {file.name for file in (tmp_path / "models").glob("*") if file.name != ".incoming"}


def test_a_model_is_fetched_verified_and_entered(add: Add, hub: FileHub, tmp_path: Path) -> None:
    messages: list[str] = []
    entry = add(say=messages.append)
    assert sorted(hub.fetched) == [
        "decoder/decoder.safetensors",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        UNET,
    ]
    assert entries(tmp_path / "models") == [entry]
    assert (entry.kind, entry.source, entry.revision, entry.commit) == ("sdpose-body", REPO, "main", COMMIT)
    assert entry.dtype == "float32"
    assert "MIT" in entry.licence
    assert entry.files.keys() == {"unet/config.json", UNET, "head.safetensors"}
    assert find_problems(entry, PUBLISHED) == []
    assert list((tmp_path / "models/.incoming").iterdir()) == []
    assert messages[-1].startswith("sdpose-body is ready: ")


def test_adding_again_verifies_what_is_there(add: Add, hub: FileHub) -> None:
    first = add()
    hub.fetched.clear()
    messages: list[str] = []
    assert add(say=messages.append) == first
    assert messages == ["sdpose-body is there already, and verified"]
    assert hub.fetched == []
    with pytest.raises(InvalidInput, match="exists already: sdpose-body from owner/small-sd"):
        add(source="owner/other")
    with pytest.raises(InvalidInput, match="exists already"):
        add(kind="diffews", name="sdpose-body")
    (first.weights / UNET).write_bytes(b"damaged")
    with pytest.raises(InvalidInput, match="exists, but is damaged"):
        add()


@pytest.mark.parametrize(("name", "digest"), [(UNET, "SHA-256"), ("scheduler/scheduler_config.json", "git hash")])
def test_a_wrong_checksum_is_refused_and_thrown_away(
    name: str, digest: str, add: Add, hub: FileHub, tmp_path: Path
) -> None:
    hub.spoiled = name
    with pytest.raises(CheckpointError, match=f"the checksum is wrong: its {digest} is"):
        add()
    assert list_models(tmp_path) == set()
    assert not list((tmp_path / "models").rglob(f"{Path(name).name}*"))
    hub.spoiled = ""
    assert find_problems(add(), PUBLISHED) == []


def test_a_file_that_the_repository_lacks_is_named(add: Add, hub: FileHub, tmp_path: Path) -> None:
    (hub.folder / "decoder/decoder.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"not a complete sdpose-body: missing decoder/decoder\.safetensors"):
        add()
    assert hub.fetched == []
    assert list_models(tmp_path) == set()


def test_a_file_that_the_hub_lists_and_does_not_have(add: Add, hub: FileHub, tmp_path: Path) -> None:
    hub.unpublished = "decoder/decoder.safetensors"
    with pytest.raises(ModelNotFound, match=r"decoder\.safetensors"):
        add()
    assert list_models(tmp_path) == set()


def test_too_little_space_is_reported_before_anything_is_fetched(add: Add, hub: FileHub, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no space left.*MB are needed, 1,000 bytes are free") as error:
        add(free=lambda folder: 1000)
    assert "--models-folder" in error.value.hint
    assert hub.fetched == []
    assert list_models(tmp_path) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_fills_up_on_the_way_leaves_no_model(add: Add, hub: FileHub, tmp_path: Path) -> None:
    partial = tmp_path / f"models/.incoming/owner--small-sd@{COMMIT}/{UNET}.partial"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match=f"no space left.*filled up at {UNET}"):
        add()
    assert list_models(tmp_path) == set()
    partial.unlink()
    assert find_problems(add(), PUBLISHED) == []


def test_too_little_space_for_a_copy_is_reported_before_it_begins(tmp_path: Path) -> None:
    file = write_original("vpd-depth", tmp_path / "original")
    with pytest.raises(InvalidInput, match="no space left"):
        add_model(
            PUBLISHED["vpd-depth"],
            source=str(file),
            folder=tmp_path / "models",
            any_size=True,
            free=lambda folder: 1000,
        )
    assert not (tmp_path / "models").exists()


def test_a_model_of_another_size_is_refused_before_its_weights_are_fetched(
    add: Add, hub: FileHub, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="--any-size"):
        add(any_size=False)
    assert sorted(hub.fetched) == ["scheduler/scheduler_config.json", "unet/config.json"]
    assert list_models(tmp_path) == set()


@pytest.mark.parametrize("kind", ["sd15", "sdpose-body", "diffews", "marigold-depth"])
def test_a_local_model_of_another_size_is_refused_before_its_weights_are_read(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "original"
    if kind == "sd15":
        shutil.copytree(WEIGHTS / "sd1", source)
    else:
        write_original(kind, source)
    for file in source.rglob("*.safetensors"):
        file.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="--any-size"):
        add_model(PUBLISHED[kind], source=str(source), folder=tmp_path / "models")
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        add_model(PUBLISHED[kind], source=str(source), folder=tmp_path / "models", any_size=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"source": "owner/other"}, "is not on the hub, or is private"),
        ({"source": "no such file"}, "is no hub id"),
        ({"offline": True}, "DIFFSIGHT_OFFLINE"),
        (
            {"kind": "vpd-depth", "source": ""},
            r"is not on the hub: its authors publish it at github\.com/wl-zhao/VPD.*--from PATH",
        ),
        ({"kind": "diffews", "source": ""}, "is not on the hub: its authors publish it at ModelScope"),
        ({"name": "pocket"}, "embedded backbone"),
    ],
)
def test_a_model_that_cannot_be_added_is_reported_with_the_next_step(
    options: dict[str, Any], message: str, add: Add, tmp_path: Path
) -> None:
    with pytest.raises(DiffsightError, match=message) as error:
        add(**options)
    assert error.value.hint
    assert list_models(tmp_path) == set()


def test_a_hub_that_is_away_is_reported(dead_url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="--from PATH"):
        add_model(PUBLISHED["sdpose-body"], folder=tmp_path / "models", endpoint=dead_url)


@pytest.mark.parametrize("kind", ["vpd-referring", "diffews", "sdpose-wholebody"])
def test_a_local_copy_is_added_without_a_network(kind: str, tmp_path: Path) -> None:
    source = write_original(kind, tmp_path / "original")
    options = {"folder": tmp_path / "models", "offline": True, "any_size": True}
    entry = add_model(PUBLISHED[kind], source=str(source), name="mine", **options)  # type: ignore[arg-type]
    assert (entry.name, entry.source, entry.commit) == ("mine", str(source), "")
    assert find_problems(entry, PUBLISHED) == []
    shutil.rmtree(tmp_path / "original")
    assert add_model(PUBLISHED[kind], source=str(source), name="mine", **options) == entry  # type: ignore[arg-type]


def test_a_registered_backbone_opens_by_its_name(tmp_path: Path) -> None:
    models = tmp_path / "models"
    add_model(PUBLISHED["sd15"], source=str(WEIGHTS / "sd1"), folder=models, any_size=True)
    opened = open_backbone("sd15", models_folder=models)
    again = open_backbone(str(models / "sd15/weights"))
    assert opened.description.name == "sd15"
    assert opened.description.revision == again.description.revision


def test_a_registered_variant_is_no_backbone(tmp_path: Path) -> None:
    source = write_original("diffews", tmp_path / "original")
    add_model(PUBLISHED["diffews"], source=str(source), folder=tmp_path / "models", any_size=True)
    with pytest.raises(InvalidInput, match=r"fine-tuned U-Net.*sd21"):
        open_backbone("diffews", models_folder=tmp_path / "models")
