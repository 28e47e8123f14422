"""The published heads, as the released scripts describe them, on the 256x256 unconditional network: every number."""

from __future__ import annotations

from collections.abc import Sequence

from backbones.loading.guided_diffusion import PUBLISHED_256, GuidedDiffusionFlags
from heads.feature_pooling.classifier_heads import AttentionFusion, PooledHead
from heads.feature_pooling.feedback import FeedbackLayers

# Block 24 is the best one, and 150 the timestep of the released scripts; the first paper's figures are at 90.
BLOCK = 24
TIMESTEP = 150
FUSION_BLOCKS = (19, 24, 30)
FUSION_TIMESTEPS = (90, 150, 300)
FEEDBACK_BLOCKS = (21, 24, 27, 30, 33, 36)
FUSION_ARC = "Use_CLS_Token:True:1024,Insert_CLS_Token,Attention:1024:8:4:2,Extract_CLS_Token"


def linear_head(num_classes: int = 1000) -> PooledHead:
    """Block 24 averaged to 2 x 2, then one linear layer: 4,097,000 parameters for ImageNet."""
    channels, _ = block_shapes(PUBLISHED_256)[BLOCK - 1]
    return PooledHead(channels, 2, num_classes)


def attention_head(num_classes: int = 1000, *, blocks: Sequence[int] = (BLOCK,), timesteps: int = 1) -> AttentionFusion:
    """Two transformer blocks and a class token: 27,786,216 parameters for block 24 and ImageNet.

    With FUSION_BLOCKS and three timesteps it is the fusion head, of 31,802,344 parameters.
    """
    shapes = dict(enumerate(block_shapes(PUBLISHED_256), start=1))
    return AttentionFusion(
        blocks,
        {block: shapes[block][0] for block in blocks},
        {block: shapes[block][1] for block in blocks},
        num_classes=num_classes,
        fusion_arc=FUSION_ARC,
        timesteps=timesteps,
        pre_pool_size=16,
    )


def feedback_layers() -> FeedbackLayers:
    """Feedback from six decoder blocks; the second pass's block 24 goes to `attention_head()`."""
    channels = {block: shape[0] for block, shape in enumerate(block_shapes(PUBLISHED_256), start=1)}
    return FeedbackLayers(FEEDBACK_BLOCKS, channels)


def block_shapes(flags: GuidedDiffusionFlags) -> tuple[tuple[int, int], ...]:
    """Channels and side of each numbered block of a guided-diffusion network, number 1 first."""
    widths, side, last = flags.widths, flags.image_size, len(flags.widths) - 1
    sides = [side >> level for level in range(last + 1)]
    shapes = [(widths[0], side)]
    for level, width in enumerate(widths):
        shapes += [(width, sides[level])] * flags.num_res_blocks
        shapes += [(width, sides[level + 1])] if level < last else []
    shapes.append((widths[-1], sides[-1]))
    for level in reversed(range(last + 1)):
        shapes += [(widths[level], sides[level])] * flags.num_res_blocks
        shapes.append((widths[level], sides[max(level - 1, 0)]))
    return tuple(shapes)
