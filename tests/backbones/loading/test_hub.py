"""Downloads run against a real HTTP server that speaks as much of the hub as they need; no other network is used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading.hub import RemoteFile, download, fetch_files, list_files, load_hub
from tests.backbones.small_models import WEIGHTS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/small-sd"


class Hub(ThreadingHTTPServer):
    """One repository on 127.0.0.1, with the main branch and the tag v1; `fetched` records the downloads."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.fetched: list[str] = []
        self.gated = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> dict[str, Path]:
        return {str(file.relative_to(self.folder)): file for file in self.folder.rglob("*") if file.is_file()}


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not path.startswith((f"/api/models/{REPO}", f"/{REPO}/resolve/")):
            self.refuse(404, "RepoNotFound")
        elif self.server.gated:
            self.refuse(403, "GatedRepo")
        elif path.startswith("/api"):
            self.answer_api(path.removeprefix(f"/api/models/{REPO}"))
        else:
            self.answer_file(path.removeprefix(f"/{REPO}/resolve/{COMMIT}/"))

    def answer_api(self, path: str) -> None:
        if path in ("", "/revision/main", "/revision/v1"):
            names = [{"rfilename": name} for name in self.server.files()]
            self.send_json(
                {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": names, "private": False, "tags": []}
            )
        elif path == f"/tree/{COMMIT}":
            self.send_json(
                [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": etag(file)}
                    for name, file in self.server.files().items()
                ]
            )
        else:
            self.refuse(404, "RevisionNotFound")

    def answer_file(self, name: str) -> None:
        file = self.server.files().get(name)
        if file is None:
            self.refuse(404, "EntryNotFound")
            return
        if self.command == "GET":
            self.server.fetched.append(name)
        self.send_body(file.read_bytes(), {"ETag": f'"{etag(file)}"', "X-Repo-Commit": COMMIT})

    def send_json(self, content: object) -> None:
        self.send_body(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send_body(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Write no log."""


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


class FileHub(Hub):
    """Also reports sizes and hashes and answers ranges; it can break off an answer or change its bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.RequestHandlerClass = FileAnswer
        self.ranges: list[str] = []
        self.break_off_after: list[int] = []  # of the next answers with the file `broken`
        self.broken = ""
        self.without_ranges = False
        self.spoiled = ""
        self.unpublished = ""

    def blob(self, file: Path) -> str:
        content = file.read_bytes()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class FileAnswer(Answer):
    server: FileHub

    def answer_api(self, path: str) -> None:
        if path not in ("/revision/main", "/revision/v1"):
            super().answer_api(path)
            return
        siblings = []
        for name, file in self.server.files().items():
            entry = {"rfilename": name, "size": file.stat().st_size, "blobId": self.server.blob(file)}
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": file.stat().st_size, "pointerSize": 100}
            siblings.append(entry)
        self.send_json({"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})

    def answer_file(self, name: str) -> None:
        file = self.server.files().get(name)
        if file is None or name == self.server.unpublished:
            self.refuse(404, "EntryNotFound")
            return
        self.server.fetched.append(name)
        body = file.read_bytes()
        if name == self.server.spoiled:
            body = body[:-1] + bytes([body[-1] ^ 1])
        start = 0
        byte_range = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if byte_range is not None and not self.server.without_ranges:
            start = int(byte_range[1])
            self.server.ranges.append(byte_range[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if name == self.server.broken and self.server.break_off_after:
            self.wfile.write(body[start : start + self.server.break_off_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body[start:])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = Path(shutil.copytree(WEIGHTS / "sd1", tmp_path / "published"))
    # Files of real repositories that we do not need.
    for extra in (
        "README.md",
        "sample.png",
        "v1-5-pruned.ckpt",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "feature_extractor/preprocessor_config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_flax_model.msgpack",
        "unet/model.onnx",
        "text_encoder/pytorch_model.bin",
    ):
        (folder / extra).parent.mkdir(exist_ok=True)
        (folder / extra).write_bytes(b"not wanted")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def dead_url() -> str:
    """The address of a port on which no server listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


NEEDED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


@pytest.mark.parametrize("revision", ["main", "v1", COMMIT])
def test_only_the_needed_files_are_fetched_and_they_load(revision: str, hub: Hub, tmp_path: Path) -> None:
    backbone = load_hub(REPO, revision=revision, cache_folder=tmp_path / "cache", endpoint=hub.url)
    assert sorted(hub.fetched) == sorted(NEEDED)
    assert backbone.description.name == REPO
    own = load_file(WEIGHTS / "sd1/unet/diffusion_pytorch_model.safetensors")
    loaded = backbone.variants[""].unet.state_dict()
    assert all(torch.equal(loaded[key], own[key]) for key in own)


def test_bin_files_come_only_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        (file,) = [path for path in (hub.folder / part).glob("*model.safetensors") if ".fp16" not in path.name]
        torch.save(load_file(file), hub.folder / part / f"{stem}.bin")
        file.unlink()
    load_hub(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url)
    weights = {name for name in hub.fetched if name.endswith((".bin", ".safetensors"))}
    assert weights == {
        "unet/diffusion_pytorch_model.bin",
        "text_encoder/pytorch_model.bin",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_a_file_variant_comes_only_on_request(hub: Hub, tmp_path: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        for file in (hub.folder / part).glob("*model.safetensors"):
            shutil.copy(file, file.with_suffix(".fp16.safetensors"))
    load_hub(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url, file_variant="fp16")
    weights = {name for name in hub.fetched if name.endswith((".bin", ".safetensors"))}
    assert weights == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }


@pytest.mark.field
def test_a_repository_of_half_precision_alone_is_read(hub: Hub, tmp_path: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        for file in (hub.folder / part).glob("*model.bin"):
            file.unlink()
        for file in (hub.folder / part).glob("*model.safetensors"):
            file.rename(file.with_suffix(".fp16.safetensors"))
    load_hub(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in hub.fetched


def test_a_file_variant_that_is_not_published_is_not_found(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no bf16 weights for unet, vae, text_encoder: leave the file variant out"):
        download(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url, file_variant="bf16")


def test_a_downloaded_repository_opens_offline_and_while_the_hub_is_away(
    hub: Hub, dead_url: str, tmp_path: Path
) -> None:
    folder = download(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url)
    fetched = list(hub.fetched)
    assert download(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url, offline=True) == folder
    assert download(REPO, cache_folder=tmp_path / "cache", endpoint=dead_url) == folder
    assert download(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url) == folder
    assert hub.fetched == fetched


def require_token(hub: Hub) -> None:
    hub.gated = True


def change_nothing(hub: Hub) -> None:
    pass


def leave_single_file(hub: Hub) -> None:
    for part in ("unet", "vae", "text_encoder"):
        shutil.rmtree(hub.folder / part)


@pytest.mark.parametrize(
    ("prepare", "repo_id", "revision", "message"),
    [
        (change_nothing, "owner/other", "main", "is not on the hub, or is private"),
        (change_nothing, REPO, "v9", "no revision 'v9'"),
        (require_token, REPO, "main", "HF_TOKEN"),
        (change_nothing, "owner/--bad--", "main", "no hub id"),
        (leave_single_file, REPO, "main", "no weights in the diffusers layout for unet, vae, text_encoder"),
    ],
)
def test_a_refusal_of_the_hub_is_reported_with_the_next_step(
    prepare: Callable[[Hub], None], repo_id: str, revision: str, message: str, hub: Hub, tmp_path: Path
) -> None:
    prepare(hub)
    with pytest.raises(ModelNotFound, match=message) as error:
        download(repo_id, revision=revision, cache_folder=tmp_path / "cache", endpoint=hub.url)
    assert error.value.hint


@pytest.mark.timeout(10)
def test_no_way_to_the_hub_fails_fast_and_names_the_settings(dead_url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as error:
        load_hub(REPO, cache_folder=tmp_path, endpoint=dead_url)
    for setting in ("DIFFSIGHT_OFFLINE", "HF_HUB_OFFLINE", "DIFFSIGHT_BACKBONE", "pocket", "folder", ".safetensors"):
        assert setting in error.value.hint


def test_a_half_finished_download_is_not_taken_for_a_whole_one(hub: Hub, tmp_path: Path) -> None:
    folder = download(REPO, cache_folder=tmp_path / "cache", endpoint=hub.url)
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="not downloaded yet"):
        download(REPO, cache_folder=tmp_path / "cache", offline=True)


@pytest.mark.parametrize("is_offline", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_hub_libraries_own_variables_hold(is_offline: bool, hub: Hub, tmp_path: Path) -> None:
    program = f"from backbones.loading.hub import download; print(download({REPO!r}))"
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": str(+is_offline),
    }
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (not is_offline)
    if is_offline:
        assert "ModelNotFound" in done.stderr
        assert hub.fetched == []
    else:
        assert Path(done.stdout.strip()).is_relative_to(tmp_path / "home")
        assert "Fetching" in done.stderr or "Downloading" in done.stderr


LARGE, SMALL = "weights/large.safetensors", "config.json"
CHUNK = 10 * 1024 * 1024
"""Bytes that the library buffers before it writes them: the most that a broken connection loses."""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileHub]:
    """A repository with a file of 25 MB and a small one."""
    folder = tmp_path / "published"
    (folder / "weights").mkdir(parents=True)
    (folder / LARGE).write_bytes(os.urandom(25_000_000))
    (folder / SMALL).write_bytes(b"{}")
    server = FileHub(folder)
    server.broken = LARGE
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(hub: FileHub, target: Path) -> None:
    """All files of the repository."""
    commit, listed = list_files(REPO, "main", endpoint=hub.url, instead="copy it")
    fetch_files(REPO, commit, listed, target, endpoint=hub.url, instead="copy it")
    for name, file in hub.files().items():
        assert (target / name).read_bytes() == file.read_bytes()
    assert {path.name for path in target.rglob("*") if path.is_file()} == {Path(name).name for name in hub.files()}


def test_files_are_listed_with_their_hashes(files: FileHub) -> None:
    commit, listed = list_files(REPO, "v1", endpoint=files.url, instead="copy it")
    assert commit == COMMIT
    digest = hashlib.sha256((files.folder / LARGE).read_bytes()).hexdigest()
    # git's own hash of a file that holds {}
    assert listed == {
        LARGE: RemoteFile(25_000_000, digest, ""),
        SMALL: RemoteFile(2, "", "9e26dfeeb6e641a33dae4961196235bdb965b21b"),
    }


def test_complete_files_are_not_fetched_again(files: FileHub, tmp_path: Path) -> None:
    fetch(files, tmp_path / "target")
    assert sorted(files.fetched) == [SMALL, LARGE]
    fetch(files, tmp_path / "target")
    assert sorted(files.fetched) == [SMALL, LARGE]


def test_a_broken_off_download_continues_by_itself(files: FileHub, tmp_path: Path) -> None:
    files.break_off_after = [CHUNK + 1, CHUNK + 1]
    fetch(files, tmp_path / "target")
    assert files.ranges == [f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


def test_a_given_up_download_continues_in_the_next_run(files: FileHub, tmp_path: Path) -> None:
    files.break_off_after = [CHUNK + 1, *[0] * 5]
    with pytest.raises(ModelNotFound, match=r"stopped at 10\.5 MB of 25\.0 MB: run the same command again"):
        fetch(files, tmp_path / "target")
    files.ranges.clear()
    fetch(files, tmp_path / "target")
    assert files.ranges == [f"bytes={CHUNK}-"]


def test_a_hub_without_ranges_sends_the_whole_file_again(files: FileHub, tmp_path: Path) -> None:
    files.break_off_after = [CHUNK + 1]
    files.without_ranges = True
    fetch(files, tmp_path / "target")


def test_a_partial_file_that_is_too_long_is_begun_anew(files: FileHub, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / f"target/{SMALL}.partial").write_bytes(b"longer than the file")
    fetch(files, tmp_path / "target")
    assert files.ranges == []


@pytest.mark.parametrize(("name", "hash_name"), [(LARGE, "SHA-256"), (SMALL, "git hash")])
def test_a_wrong_checksum_is_refused_and_thrown_away(name: str, hash_name: str, files: FileHub, tmp_path: Path) -> None:
    files.spoiled = name
    with pytest.raises(CheckpointError, match=f"the checksum is wrong: its {hash_name} is"):
        fetch(files, tmp_path / "target")
    assert list((tmp_path / "target").rglob(f"{Path(name).name}*")) == []
    files.spoiled = ""
    fetch(files, tmp_path / "target")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_fills_up_says_so(files: FileHub, tmp_path: Path) -> None:
    (tmp_path / "target/weights").mkdir(parents=True)
    (tmp_path / f"target/{LARGE}.partial").symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match=f"no space left.*filled up at {LARGE}"):
        fetch(files, tmp_path / "target")
