"""The U-Net fine-tuned for keypoints as SDPose does it: one pass for the pose, one that restores the picture.

Both passes see the same latent, of a crop with a black rectangle in it, and a class code that says which of the two
they are. The second holds the features to what the network knew. Source: arXiv:2509.24980, section 3.3 and supplement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor
from torch.nn import functional

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.added import POSE_CLASS
from backbones.loading.variants import build_variant
from backbones.loading.weight_files import digest_of
from backbones.stable_diffusion import StableDiffusion
from heads.sdpose.pose import PoseModel, empty_context, joined_features

VARIANT = "pose"
RESTORING_CLASS = (math.sin(0), math.sin(1), math.cos(0), math.cos(1))
"""SDPose's task vector [0, 1]."""
_HOLE = (0.2, 0.4)
"""Least and most of a side that the rectangle covers."""


class TunedUNet:
    """A U-Net that learns, float32, from the backbone's own, with a class embedding that adds nothing at first.

    learning: its parameters that learn.
    """

    def __init__(self, engine: DirectEngine, model: PoseModel, parts: Sequence[str]) -> None:
        assert isinstance(engine.model, StableDiffusion)
        self._engine, self._model = engine, model
        unet: Any = deepcopy(engine.model.variants[""].unet).float().train()
        self._unet = unet
        embedding = TimestepEmbedding(len(POSE_CLASS), unet.time_embedding.linear_2.out_features)
        torch.nn.init.zeros_(embedding.linear_2.weight)
        torch.nn.init.zeros_(embedding.linear_2.bias)
        unet.class_embedding = embedding.to(engine.backbone.device)
        named = {
            name: one
            for name, one in unet.named_parameters()
            if not parts or any(part in name for part in (*parts, "class_embedding."))
        }
        if parts and all(name.startswith("class_embedding.") for name in named):
            raise InvalidInput("parts", f"no parameter is named by {', '.join(parts)}", hint="such as up_blocks.3")
        self.learning = [one.requires_grad_(True) for one in named.values()]
        self._context = complete(empty_context(engine)).float().clone()

    def look(self, pixels: Sequence[Tensor], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """What the head reads of crops (3, H, W), (B, C, h, w), and the mean squared error of the restored latents."""
        holed = [with_hole(one, generator) for one in pixels]
        both = torch.stack([one.float().clone() for one in complete(self._engine.encode([*holed, *pixels]))])
        latents, whole = (both * self._model.latent_scale).chunk(2)
        count = len(pixels)
        codes = latents.new_tensor([POSE_CLASS, RESTORING_CLASS]).repeat_interleave(count, 0)
        found: dict[str, Tensor] = {}
        hooks = [
            self._unet.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: found.update({name: _first(output)[:count]})
            )
            for name in self._model.features
        ]
        try:
            output = self._unet(
                latents.repeat(2, 1, 1, 1),
                self._model.timestep,
                encoder_hidden_states=self._context.expand(2 * count, -1, -1),
                class_labels=codes,
                return_dict=False,
            )[0]
        finally:
            for hook in hooks:
                hook.remove()
        restored = functional.mse_loss(output[count:], whole)
        return joined_features([found[name] for name in self._model.features]), restored

    def register(self, engine: DirectEngine) -> None:
        """Make the network the variant "pose" of the engine's backbone, the pose's class code folded into it."""
        assert isinstance(engine.model, StableDiffusion)
        self._unet.requires_grad_(False)
        state = {name: one.detach() for name, one in self._unet.state_dict().items()}
        engine.model.add_variant(
            VARIANT,
            build_variant(
                engine.model,
                state,
                source="the fine-tuned U-Net",
                revision=digest_of(*(repr(float(one.float().sum())) for one in state.values())),
                constant_class_labels=torch.tensor(POSE_CLASS),
            ),
        )


def with_hole(pixels: Tensor, generator: np.random.Generator) -> Tensor:
    """A crop (3, H, W) in [-1, 1] with one black rectangle of 20 to 40 % of each side somewhere in it."""
    height, width = pixels.shape[-2:]
    rows, columns = (round(side * generator.uniform(*_HOLE)) for side in (height, width))
    top, left = generator.integers(0, height - rows + 1), generator.integers(0, width - columns + 1)
    holed = pixels.clone()
    holed[:, top : top + rows, left : left + columns] = -1
    return holed


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor
