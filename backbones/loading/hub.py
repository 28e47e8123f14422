"""Download a Stable Diffusion from a Hugging Face hub, only the files that are needed, and load it as a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from backbones.errors import ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.file_names import OLD_PARTS, PARTS
from backbones.loading.hub_errors import told_by_the_hub
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

    Raises ModelNotFound where it can not be had, CheckpointError where its weights do not fit. See `download`.
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
    offline: take what the cache holds and ask nobody, as HF_HUB_OFFLINE=1 does too. file_variant: "fp16" for the files
    in half precision, a smaller download. endpoint: another hub; None is HF_ENDPOINT or the public one.
    Safetensors are preferred; `.bin` files come only for parts that have no others. Safety checkers, Flax and ONNX
    weights and sample pictures do not come at all. When the hub can not be reached, a complete earlier download serves.
    Raises ModelNotFound where there is no such repository, revision or file, no access, or no way to the hub.
    """
    marks = f".{file_variant}" if file_variant else ""
    safe = [
        f"{part}/{stem}{ending}"
        for part, stem in PARTS.items()
        for ending in (f"{marks}.safetensors", f"{marks}-0*.safetensors", f".safetensors.index{marks}.json")
    ]
    fetch = _Fetch(repo_id, revision, cache_folder, offline, endpoint)
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
    if absent:
        kind = f"{file_variant} weights" if file_variant else "weights in the diffusers layout"
        raise ModelNotFound(
            f"{repo_id} at {revision} holds no {kind} for {', '.join(absent)}",
            hint="leave the file variant out" if file_variant else f"choose another repository, or {LOCAL_INSTEAD}",
        )
    return folder


def _has_weights(folder: Path, stem: str, ending: str) -> bool:
    """Whether there is the one file, or a first one of several."""
    return (folder / f"{stem}.{ending}").is_file() or any(folder.glob(f"{stem}-0*.{ending}"))


class _Fetch:
    """Downloads of one revision of one repository, with the hub's errors turned into the next step."""

    def __init__(
        self, repo_id: str, revision: str, cache_folder: Path | None, offline: bool, endpoint: str | None
    ) -> None:
        self.repo_id = repo_id
        self.revision = revision
        self.cache_folder = cache_folder
        self.offline = offline
        self.endpoint = endpoint

    def __call__(self, patterns: list[str]) -> Path:
        with told_by_the_hub(self.repo_id, self.revision, LOCAL_INSTEAD):
            return Path(
                snapshot_download(
                    self.repo_id,
                    revision=self.revision,
                    cache_dir=self.cache_folder,
                    local_files_only=self.offline,
                    allow_patterns=patterns,
                    endpoint=self.endpoint,
                )
            )
