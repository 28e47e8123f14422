"""Heads, and the text that describes the attention head."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import InvalidInput
from heads.feature_pooling.classifier_heads import AttentionFusion, AttentionHead, PooledHead, hidden_widths

TOKEN = "Use_CLS_Token:True:16,Insert_CLS_Token,Attention:16:4:2:1,Extract_CLS_Token"


@pytest.mark.parametrize(("text", "widths"), [("", ()), ("48", (48,)), ("48_40", (48, 40))])
def test_hidden_widths_are_joined_by_underscores(text: str, widths: tuple[int, ...]) -> None:
    assert hidden_widths(text) == widths


@pytest.mark.parametrize("text", ["48_", "a", "0", "4.5", "48,40"])
def test_other_texts_of_widths_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="2048_2048"):
        hidden_widths(text)


def test_hidden_layers_have_relu_between_and_none_at_the_end() -> None:
    head = PooledHead(2, 1, 3, hidden=(4,))
    features = torch.randn(5, 2, 3, 3)
    hidden = head.fcs[0](features.mean(dim=(2, 3)))
    torch.testing.assert_close(head(features), head.fcs[1](hidden.clamp(min=0)))


@pytest.mark.parametrize(
    "text",
    [
        "FullPool",
        "Pool:2:2,Reshape,Unknown:3",
        "Pool:2",
        "Pool:two:2",
        "Attention:16:4:2",
        "Attention:16:5:2:1",
        "Dense:4:2:gelu",
        "Dense:4:2",
        "Use_CLS_Token:True",
        "Use_CLS_Token:True:x",
        "Insert_CLS_Token",
        "",
    ],
)
def test_texts_that_do_not_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        AttentionHead(text)


def test_unknown_words_can_be_passed_over_to_load_what_the_original_trained() -> None:
    features = torch.randn(2, 8, 4, 4)
    loose = AttentionHead("Pool:2:2,FullPool,Reshape,Dense:8:3:identity", ignore_unknown=True)
    strict = AttentionHead("Pool:2:2,Reshape,Dense:8:3:identity")
    strict.load_state_dict(loose.state_dict())
    torch.testing.assert_close(loose(features), strict(features))


def test_words_without_parameters_take_an_index_in_the_names() -> None:
    head = AttentionHead(" Pool:2:2 , Reshape,FullyPool,Dense:8:4:relu,Dense:4:2:sigmoid")
    assert {key for key in head.state_dict() if key.endswith("weight")} == {"layers.3.weight", "layers.5.weight"}
    outputs = head(torch.randn(3, 8, 4, 4))
    assert outputs.shape == (3, 2)
    assert ((outputs > 0) & (outputs < 1)).all()


def test_flatten_keeps_the_batch() -> None:
    assert AttentionHead("Pool:2:2,Flatten,Dense:32:5:tanh")(torch.randn(3, 8, 4, 4)).shape == (3, 5)


def test_the_class_token_does_not_depend_on_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    head = AttentionHead(TOKEN).eval()
    tokens = torch.randn(2, 9, 16)
    torch.testing.assert_close(head(tokens), head(tokens.flip(1)))


def test_fusion_takes_all_blocks_of_a_timestep_before_those_of_the_next() -> None:
    torch.manual_seed(0)
    head = AttentionFusion(
        [3, 7], {3: 8, 7: 12}, {3: 2, 7: 6}, num_classes=4, fusion_arc=TOKEN + "/ignored", timesteps=2, pre_pool_size=3
    ).eval()
    first, second = (
        (torch.randn(5, 8, 2, 2), torch.randn(5, 12, 6, 6)),
        (torch.randn(5, 8, 2, 2), torch.randn(5, 12, 6, 6)),
    )
    logits = head(*first, *second)
    assert logits.shape == (5, 4)
    assert head.get_parameter("pre_layer.7.1.weight").shape == (12, 3, 3)
    assert (logits - head(*second, *first)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="zip"):
        head(*first)


@pytest.mark.parametrize("options", [{"fusion_arc": "Reshape"}, {"fusion_arc": TOKEN, "norm_type": "group"}])
def test_fusion_refuses_what_it_cannot_build(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        AttentionFusion([3], {3: 8}, {3: 2}, num_classes=4, **options)  # type: ignore[arg-type]
