"""The second pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.pixel_diffusion import PixelDiffusion
from backbones.rows import Capture, UNetRow
from heads.feature_pooling.feedback import FeedbackLayers, feedback_features, mirror

CHANNELS = dict.fromkeys(range(1, 38), 32)
BLOCKS = (21, 24, 27, 30, 33, 36)


@pytest.fixture
def noised_images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def layers(blocks: tuple[int, ...] = BLOCKS, arch: str = "C_B_R") -> FeedbackLayers:
    torch.manual_seed(1)
    return FeedbackLayers(blocks, CHANNELS, arch).eval()


def test_blocks_mirror_each_other_around_the_middle() -> None:
    assert [mirror(block, 37) for block in BLOCKS] == [17, 14, 11, 8, 5, 2]


def test_silent_feedback_changes_nothing(pixel_backbone: PixelDiffusion, noised_images: Tensor) -> None:
    feedback = layers()
    for parameter in feedback.parameters():
        torch.nn.init.zeros_(parameter)
    first, second = feedback_features(pixel_backbone, noised_images, 150, feedback, first=[24], second=[24])
    torch.testing.assert_close(second[24], first[24])


def test_feedback_reaches_what_comes_after_its_mirror_only(
    pixel_backbone: PixelDiffusion, noised_images: Tensor
) -> None:
    first, second = feedback_features(
        pixel_backbone, noised_images, 150, layers((24,)), first=[13, 14, 24], second=[13, 14, 24]
    )
    torch.testing.assert_close(second[13], first[13])
    assert (second[24] - first[24]).abs().max() > 1e-4


def test_the_mirror_holds_the_sum(pixel_backbone: PixelDiffusion, noised_images: Tensor) -> None:
    feedback = layers((24,))
    first, second = feedback_features(pixel_backbone, noised_images, 150, feedback, first=[14, 24], second=[14])
    torch.testing.assert_close(second[14], first[14] + feedback[0](first[24]).detach())


def test_maps_of_another_side_are_resized(pixel_backbone: PixelDiffusion, noised_images: Tensor) -> None:
    # Block 22 ends in an upsampler: its map is twice as large as that of block 16, its mirror.
    first, second = feedback_features(pixel_backbone, noised_images, 150, layers((22,)), first=[16], second=[16])
    assert second[16].shape == first[16].shape
    assert (second[16] - first[16]).abs().max() > 1e-6


def test_the_network_is_left_as_it_was(pixel_backbone: PixelDiffusion, noised_images: Tensor) -> None:
    engine = DirectEngine(pixel_backbone)
    rows = [UNetRow(latents, 150, None, Capture(output=True)) for latents in noised_images]
    before = complete(engine.unet(rows))[0].output
    feedback_features(pixel_backbone, noised_images, 150, layers(), second=[24])
    after = complete(engine.unet(rows))[0].output
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


def test_letters_of_the_architecture() -> None:
    shapes = {key: tuple(value.shape) for key, value in layers((24,), "C_G_S_C").state_dict().items()}
    assert shapes == {
        "0.0.weight": (32, 32, 1, 1), "0.1.weight": (32,), "0.1.bias": (32,), "0.3.weight": (32, 1, 3, 3)
    }  # fmt: skip


@pytest.mark.parametrize(("blocks", "arch"), [((24,), "C_X"), ((19,), "C"), ((38,), "C"), ((2,), "C")])
def test_invalid_blocks_and_architectures_are_refused(blocks: tuple[int, ...], arch: str) -> None:
    with pytest.raises(InvalidInput):
        layers(blocks, arch)
