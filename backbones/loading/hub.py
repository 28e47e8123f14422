"""A Hugging Face hub: backbones into its library's cache, and single files into a folder, checked by their hashes.

Backbones that are named by their hub id share the cache with other programs. What `diffsight models add` fetches is
converted and then deleted, so it stays out of that cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import torch
from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.disk_space import gigabytes, is_full, no_space
from backbones.loading.file_names import OLD_PARTS, PARTS
from backbones.loading.hub_errors import translate_hub_errors
from backbones.stable_diffusion import StableDiffusion

_SMALL_FILES = ["model_index.json", "scheduler/*.json", *(f"{part}/config.json" for part in PARTS)]
_SMALL_FILES += [f"tokenizer/{file}" for file in ("*.json", "merges.txt")]

LOCAL_INSTEAD = (
    "set DIFFSIGHT_BACKBONE to a folder in the diffusers layout or a single .safetensors file on this machine, or to "
    '"pocket", which needs no download'
)


def load_hub(
    repo_id: str,
    *,
    revision: str = "main",
    cache_folder: Path | None = None,
    offline: bool = False,
    file_variant: str = "",
    endpoint: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    name: str = "",
) -> StableDiffusion:
    """A Stable Diffusion 1.x or 2.x backbone by its hub id, downloaded once and kept in the cache folder.

    Raises ModelNotFound if it cannot be downloaded, CheckpointError if its weights do not fit. See `download`.
    """
    folder = download(
        repo_id,
        revision=revision,
        cache_folder=cache_folder,
        offline=offline,
        file_variant=file_variant,
        endpoint=endpoint,
    )
    return load_diffusers_folder(folder, dtype=dtype, device=device, name=name or repo_id, file_variant=file_variant)


def download(
    repo_id: str,
    *,
    revision: str = "main",
    cache_folder: Path | None = None,
    offline: bool = False,
    file_variant: str = "",
    endpoint: str | None = None,
) -> Path:
    """The local folder of a repository's U-Net, VAE, text encoder, tokenizer and scheduler, with progress bars.

    revision: branch, tag or commit. cache_folder: where downloads are kept; None is the hub library's own (HF_HOME).
    offline: take what the cache holds without a connection, as HF_HUB_OFFLINE=1 does. file_variant: "fp16" for the
    files in half precision, a smaller download. endpoint: another hub; None is HF_ENDPOINT or the public one.
    Safetensors are preferred; `.bin` files come only for parts that have no others. Safety checkers, Flax and ONNX
    weights and sample pictures are not downloaded. If the hub cannot be reached, a complete earlier download is used.
    Raises ModelNotFound if there is no such repository, revision or file, no access, or no way to the hub.
    """
    marks = f".{file_variant}" if file_variant else ""
    safe = [
        f"{part}/{stem}{ending}"
        for part, stem in PARTS.items()
        for ending in (f"{marks}.safetensors", f"{marks}-0*.safetensors", f".safetensors.index{marks}.json")
    ]
    fetch = partial(_fetch_snapshot, repo_id, revision, cache_folder=cache_folder, offline=offline, endpoint=endpoint)
    folder = fetch([*_SMALL_FILES, *safe])
    unsafe = [
        f"{part}/{OLD_PARTS[part]}{ending}"
        for part in PARTS
        if not _has_weights(folder / part, f"{PARTS[part]}{marks}", "safetensors")
        for ending in (f"{marks}.bin", f"{marks}-0*.bin", f".bin.index{marks}.json")
    ]
    if unsafe and (folder / "model_index.json").is_file():
        folder = fetch([*_SMALL_FILES, *safe, *unsafe])
    absent = [
        part
        for part in PARTS
        if not _has_weights(folder / part, f"{PARTS[part]}{marks}", "safetensors")
        and not _has_weights(folder / part, f"{OLD_PARTS[part]}{marks}", "bin")
    ]
    if absent and not file_variant:
        # Some repositories hold only half precision; then those files are read.
        with suppress(ModelNotFound):
            return download(
                repo_id,
                revision=revision,
                cache_folder=cache_folder,
                offline=offline,
                file_variant="fp16",
                endpoint=endpoint,
            )
    if absent:
        kind = f"{file_variant} weights" if file_variant else "weights in the diffusers layout"
        raise ModelNotFound(
            f"{repo_id} at {revision} holds no {kind} for {', '.join(absent)}",
            hint="leave the file variant out" if file_variant else f"choose another repository, or {LOCAL_INSTEAD}",
        )
    return folder


def _has_weights(folder: Path, stem: str, ending: str) -> bool:
    """Whether the weight file, or the first of its shards, exists."""
    return (folder / f"{stem}.{ending}").is_file() or any(folder.glob(f"{stem}-0*.{ending}"))


def _fetch_snapshot(
    repo_id: str,
    revision: str,
    patterns: list[str],
    *,
    cache_folder: Path | None,
    offline: bool,
    endpoint: str | None,
) -> Path:
    with translate_hub_errors(repo_id, revision, LOCAL_INSTEAD):
        folder = snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_folder,
            local_files_only=offline,
            allow_patterns=patterns,
            endpoint=endpoint,
        )
    return Path(folder)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub. sha256: of large files; blob: git's own hash, of the others. "" if it says none."""

    bytes: int
    sha256: str
    blob: str


def list_files(repo_id: str, revision: str, *, endpoint: str | None, instead: str) -> tuple[str, dict[str, RemoteFile]]:
    """The commit that a revision stands for, and all its files by path.

    endpoint: another hub; None is HF_ENDPOINT or the public one. instead: what the user can do without the hub.
    Raises ModelNotFound if there is no such repository or revision, no access, or no way to the hub.
    """
    with translate_hub_errors(repo_id, revision, instead):
        info = HfApi(endpoint=endpoint).model_info(repo_id, revision=revision, files_metadata=True)
    files = {
        file.rfilename: RemoteFile(
            file.size or 0, file.lfs.sha256 if file.lfs else "", "" if file.lfs else file.blob_id or ""
        )
        for file in info.siblings or []
    }
    return info.sha or revision, files


def fetch_files(
    repo_id: str,
    commit: str,
    files: Mapping[str, RemoteFile],
    target: Path,
    *,
    endpoint: str | None,
    instead: str,
) -> None:
    """Put the files below `target`, with a progress bar each on a terminal. Complete files are not fetched again.

    A file gets its name when it is complete and verified; until then it is NAME.partial, which the next call continues.
    `hf_hub_download` would start from the beginning, and a weight file has gigabytes.
    Raises InvalidInput if the disk is full, CheckpointError for content with another hash than the hub's, ModelNotFound
    if the connection breaks for good or the hub does not have a file.
    """
    for name, file in files.items():
        if (target / name).is_file():
            continue
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=endpoint or constants.ENDPOINT)
        partial_file = target / f"{name}.partial"
        try:
            partial_file.parent.mkdir(parents=True, exist_ok=True)
            with translate_hub_errors(f"{repo_id}/{name}", commit, instead):
                _continue_download(url, partial_file, name, file.bytes)
        except ModelNotFound as error:
            if is_full(error.__cause__ or error):
                raise no_space(target, f"the disk filled up at {name}") from error
            raise
        _check_content(partial_file, file, f"{repo_id}@{commit}, {name}")
        partial_file.rename(target / name)


def _continue_download(url: str, partial_file: Path, name: str, size: int) -> None:
    """Append the rest of the file, and try again as long as each try brings more bytes."""
    if partial_file.is_file() and partial_file.stat().st_size > size:
        partial_file.unlink()
    # Compressed content could not be counted or continued.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    with partial_file.open("ab") as opened:
        while True:
            start = opened.tell()
            try:
                http_get(url, opened, resume_size=start, headers=headers, expected_size=size, displayed_filename=name)
            except httpx2.TransportError as error:
                # The library itself retries other errors, up to five times without progress.
                if isinstance(error, httpx2.ReadError) and opened.tell() > start:
                    continue
                raise ModelNotFound(
                    f"the download of {name} stopped at {gigabytes(opened.tell())} of {gigabytes(size)}",
                    hint="run the same command again: it continues from there",
                ) from error
            return


def _check_content(partial_file: Path, file: RemoteFile, source: str) -> None:
    """Raises CheckpointError, and deletes the content, if its hash is not the hub's."""
    size, wrong = partial_file.stat().st_size, ""
    if size != file.bytes:
        wrong = f"it has {size} bytes, the hub says {file.bytes}"
    elif file.sha256:
        wrong = _difference(partial_file, hashlib.sha256(), "SHA-256", file.sha256)
    elif file.blob:
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        wrong = _difference(partial_file, digest, "git hash", file.blob)
    if wrong:
        partial_file.unlink()
        raise CheckpointError(source, f"the checksum is wrong: {wrong}", hint="the file was deleted; download it again")


def _difference(file: Path, digest: hashlib._Hash, name: str, expected: str) -> str:
    """What differs between a file's hash and the expected one; "" if nothing does."""
    with file.open("rb") as opened:
        computed = hashlib.file_digest(opened, lambda: digest).hexdigest()
    return "" if computed == expected else f"its {name} is {computed}, the hub says {expected}"
