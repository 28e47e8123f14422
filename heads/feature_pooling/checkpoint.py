"""Checkpoints of the published heads (`latest.pth`): `model_head` and, with feedback, `model_feedback`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.weight_files import check_fit


@dataclass(frozen=True, slots=True, eq=False)
class HeadFile:
    """The weights in a head file by parameter name. feedback: empty if the head was trained without."""

    head: Mapping[str, Tensor]
    feedback: Mapping[str, Tensor] = field(default_factory=dict)


def read_head_file(file: Path) -> HeadFile:
    """The weights in a file of the released training code, without the optimizer's state.

    Raises ModelNotFound if there is no such file, CheckpointError if it is not such a checkpoint.
    """
    if not file.is_file():
        raise ModelNotFound(f"{file} does not exist", hint="give the path of a latest.pth")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(file, str(error).splitlines()[0], hint="copy the file again") from error
    if not isinstance(content, dict) or not _is_state(content.get("model_head")):
        raise CheckpointError(file, "it holds no model_head", hint="give a file written by the released training code")
    feedback = content.get("model_feedback") or {}
    if not _is_state(feedback):
        raise CheckpointError(file, "its model_feedback is no dictionary of tensors")
    return HeadFile(content["model_head"], feedback)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Fill a head, or feedback layers, from weights under the original's names; `source` is named in errors.

    state: parameter name -> tensor of any shape, which must be the parameter's. Every parameter must be there and every
    tensor have its place, but for a class token that the original made by mistake and never used: it reads the first
    word of a layer text as the class token's, whatever the word is.
    Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    own = module.state_dict()
    weights = {key: tensor for key, tensor in state.items() if key in own or key != "cls_token"}
    check_fit(
        module,
        weights,
        source,
        f"the weights do not fit {type(module).__name__} as it was described",
        hint="describe the head with the settings that it was trained with",
    )
    module.load_state_dict(weights)


def _is_state(content: object) -> bool:
    return isinstance(content, dict) and all(isinstance(tensor, Tensor) for tensor in content.values())
