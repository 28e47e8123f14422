"""Fine-tunes the U-Net for keypoints as SDPose does: one pass for the pose, and one that restores the picture.

Both passes see the same latent, of a crop with a black rectangle, and a class code that distinguishes them. The second
pass keeps the features near the pretrained ones. Source: arXiv:2509.24980, section 3.3 and supplement.
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

from backbones.captures import forward_rows
from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.variants import build_variant
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from heads.sdpose.checkpoint import POSE_CLASS
from heads.sdpose.estimation import PoseModel, stack_features
from training.parts import learns

VARIANT = "pose"
RESTORING_CLASS = (math.sin(0), math.sin(1), math.cos(0), math.cos(1))
"""SDPose's task vector [0, 1]."""
_HOLE = (0.2, 0.4)
"""Minimum and maximum share of a side that the rectangle covers."""


class TunedUNet:
    """A trainable U-Net in float32, from the backbone's own, with a class embedding that is zero at first.

    context: (T, D), the input of its cross-attention. parts: see `PoseRecipe`. learning: the parameters that learn.
    Raises InvalidInput if `parts` match no parameter.
    """

    def __init__(self, engine: DirectEngine, model: PoseModel, context: Tensor, parts: Sequence[str]) -> None:
        assert isinstance(engine.model, StableDiffusion)
        self._engine, self._backbone, self._model, self._context = engine, engine.model, model, context
        unet: Any = deepcopy(engine.model.variants[""].unet).float().train()
        named = [parameter for name, parameter in unet.named_parameters() if learns(name, parts)]
        if not named:
            raise InvalidInput("parts", f"no parameter is named by {', '.join(parts)}", hint="such as up_blocks.3")
        embedding = TimestepEmbedding(len(POSE_CLASS), unet.time_embedding.linear_2.out_features)
        torch.nn.init.zeros_(embedding.linear_2.weight)
        torch.nn.init.zeros_(embedding.linear_2.bias)
        self._unet, self._embedding = unet, embedding.to(engine.backbone.device)
        # Rows name their class by its number.
        codes = torch.nn.Embedding(2, len(POSE_CLASS), _weight=torch.tensor([POSE_CLASS, RESTORING_CLASS]))
        unet.class_embedding = torch.nn.Sequential(
            codes.to(engine.backbone.device).requires_grad_(False), self._embedding
        )
        self.learning = [parameter.requires_grad_(True) for parameter in (*named, *self._embedding.parameters())]

    def look(self, pixels: Sequence[Tensor], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The head's input features (B, C, h, w) of crops (3, H, W), and the mean squared error of the restored
        latents.
        """
        holed = [with_hole(image_pixels, generator) for image_pixels in pixels]
        latents = [latent * self._model.latent_scale for latent in complete(self._engine.encode([*holed, *pixels]))]
        count = len(pixels)

        def rows(label: int, capture: Capture) -> list[UNetRow]:
            shared = self._model.timestep, self._context, capture, label
            return [UNetRow(latent, *shared) for latent in latents[:count]]

        unet_rows = rows(0, Capture(features=self._model.features)) + rows(1, Capture(output=True))
        captures = forward_rows(self._unet, unet_rows, {})
        outputs = torch.stack([capture.output for capture in captures[count:] if capture.output is not None])
        restored = functional.mse_loss(outputs, torch.stack(latents[count:]).to(outputs))
        return stack_features(self._model, captures[:count]), restored

    def register(self) -> None:
        """Register the network as the variant "pose" of the backbone, with the pose's class code folded into it."""
        self._unet.requires_grad_(False)
        self._unet.class_embedding = None
        state = {**self._unet.state_dict(), **self._embedding.state_dict(prefix="class_embedding.")}
        tuned = build_variant(
            self._backbone,
            {name: tensor.detach() for name, tensor in state.items()},
            source="the fine-tuned U-Net",
            revision=f"{self._backbone.description.revision}-pose",
            constant_class_labels=torch.tensor(POSE_CLASS),
        )
        self._backbone.add_variant(VARIANT, tuned)


def with_hole(pixels: Tensor, generator: np.random.Generator) -> Tensor:
    """A crop (3, H, W) in [-1, 1] with one black rectangle of 20 to 40 % of each side at a random place."""
    height, width = pixels.shape[-2:]
    rows, columns = (round(side * generator.uniform(*_HOLE)) for side in (height, width))
    top, left = generator.integers(0, height - rows + 1), generator.integers(0, width - columns + 1)
    holed = pixels.clone()
    holed[:, top : top + rows, left : left + columns] = -1
    return holed
