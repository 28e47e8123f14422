"""The declaration of a published model: its source, its files, and how the registry stores them.

Each system declares its models in a module of its own, as a tuple `PUBLISHED`. Backbones stay diffusers folders or
single files. Of a model that is fine-tuned over a backbone, the registry keeps:

    unet/diffusion_pytorch_model.safetensors   its U-Net by diffusers' names, ready for `load_variant`
    unet/config.json                           if the published folder has one
    head.safetensors                           tensors of neither U-Net nor VAE, under their original names
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.file_names import SINGLE_FILES, UNET_STEM

UNET_FILE, CONFIG_FILE, HEAD_FILE = f"unet/{UNET_STEM}.safetensors", "unet/config.json", "head.safetensors"

OPENRAIL = "CreativeML OpenRAIL-M for SD 1.x, CreativeML Open RAIL++-M for SD 2.x"
"""Licence of the base weights, which also applies to networks fine-tuned from them."""


@dataclass(frozen=True, slots=True)
class PublishedModel(ABC):
    """A model that its authors publish.

    kind: its name in commands. where: the authors' own page. licence: for people to read.
    hub_id: the repository to fetch it from by default; "" if its authors use no hub.
    base: kind of the backbone whose VAE and text encoder it needs; "" for a backbone.
    task: name of the task that it was fine-tuned for; "" for a backbone.

    Modules that declare models do not import torch, so that `diffsight --help` starts fast: their methods do.
    """

    kind: str
    where: str
    licence: str
    hub_id: str = ""
    base: str = ""
    task: str = ""

    @abstractmethod
    def select_files(self, names: Collection[str], source: object) -> list[str]:
        """The files of a folder or repository, by their paths in it, that make up the model.

        Raises ModelNotFound with the list of missing files, or with the weight files among which to choose.
        """

    @abstractmethod
    def check_configs(self, source: Path, files: Sequence[str], *, any_size: bool) -> None:
        """Refuse another model by its JSON files alone, before its weights are fetched, read or copied.

        files: as in `convert`; of these only the JSON files are there yet. What they do not say, `verify` finds.
        Raises CheckpointError with what does not fit.
        """

    @abstractmethod
    def convert(self, source: Path, files: Sequence[str], target: Path, *, any_size: bool) -> None:
        """Write the model into the folder `target` as safetensors.

        files: those of `select_files`, by their paths below `source`.
        any_size: take shapes other than the published ones. The networks must still load strictly into the stock
        classes that their shapes or configs describe.
        Raises CheckpointError with the missing, unexpected and mis-shaped keys.
        """

    @abstractmethod
    def verify(self, weights: Path, *, any_size: bool) -> str:
        """Check every key and shape of the converted files. Returns the number type of the U-Net.

        Raises CheckpointError with the missing, unexpected and mis-shaped keys.
        """

    def check_complete(self, needed: Sequence[str], names: Collection[str], source: object) -> list[str]:
        """`needed` if all its files are among `names`. Raises ModelNotFound with the list of missing files."""
        missing = [name for name in needed if name not in names]
        if missing:
            raise ModelNotFound(
                f"{source} is not a complete {self.kind}: missing {', '.join(missing)}",
                hint="download or copy it again, whole; docs/models.md lists the files of each model",
            )
        return list(needed)


def find_published(models: Mapping[str, PublishedModel], kind: str) -> PublishedModel:
    """The model of a kind. Raises InvalidInput for a kind that is not known."""
    if kind not in models:
        raise InvalidInput("kind", f"{kind!r} is no known kind of model", hint=f"choose one of: {', '.join(models)}")
    return models[kind]


def only_weights(names: Collection[str], source: object) -> list[str]:
    """The one weight file among the names. Raises ModelNotFound with their list if there is none, or several."""
    weights = sorted(name for name in names if name.endswith(SINGLE_FILES))
    if len(weights) != 1:
        listed = ", ".join(weights) or "none"
        raise ModelNotFound(f"{source} should hold one weight file, and holds: {listed}", hint="name the file itself")
    return weights


def unet_files(names: Collection[str], folders: Sequence[str] = ("unet/",)) -> list[str]:
    """Config and weights of a U-Net in the first of the folders that has a config; some may be missing in `names`."""
    folder = next((folder for folder in folders if f"{folder}config.json" in names), "unet/")
    weights = f"{folder}{UNET_STEM}"
    ending = ".bin" if f"{weights}.safetensors" not in names and f"{weights}.bin" in names else ".safetensors"
    return [f"{folder}config.json", weights + ending]
