"""Banks: exact to reuse, to join, to keep as hidden states, and to write and read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.rows import Bank
from heads.diffews.bank import (
    BankForm,
    bank_bytes,
    bank_from_tensors,
    bank_tensors,
    concatenate_banks,
    prompt_context,
    sample_banks,
    support_banks,
)
from tests.heads.diffews.conftest import disc, picture


def banks(engine: DirectEngine, *seeds: int, form: BankForm = "keys_values") -> list[Bank]:
    masks = [disc().astype(np.uint8)] * len(seeds)
    return complete(support_banks(engine, [picture(seed) for seed in seeds], masks, size=64, form=form))


def close(bank: Bank, expected_bank: Bank, atol: float = 2e-4) -> None:
    tensors, expected_tensors = bank_tensors(bank), bank_tensors(expected_bank)
    assert tensors.keys() == expected_tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, expected_tensors[name], atol=atol, rtol=1e-4)


def test_a_bank_holds_every_self_attention_of_the_network(engine: DirectEngine) -> None:
    (bank,) = banks(engine, 1)
    assert set(bank) == set(engine.backbone.self_attentions)
    assert len(bank) == sum(name.endswith("attn1") for name, _ in engine.model.variants[""].unet.named_modules())  # type: ignore[attr-defined]


def test_no_support_sees_another(engine: DirectEngine) -> None:
    together = banks(engine, 1, 2, 3)
    for seed, bank in zip((1, 2, 3), together, strict=True):
        close(bank, banks(engine, seed)[0])


def test_the_mask_changes_the_bank(engine: DirectEngine) -> None:
    other = ~disc()
    masks = [disc().astype(np.uint8), other.astype(np.uint8)]
    bank, other_bank = complete(support_banks(engine, [picture(1)] * 2, masks, size=64))
    for name, tensor in bank_tensors(bank).items():
        assert not torch.allclose(tensor, bank_tensors(other_bank)[name], atol=1e-3)


def test_the_bank_of_a_set_is_its_members_in_order(engine: DirectEngine) -> None:
    members = banks(engine, 1, 2)
    joined = concatenate_banks(members)
    assert bank_bytes(joined) == sum(map(bank_bytes, members))
    first = next(iter(joined))
    tokens = bank_tensors(joined)[f"{first}.key"]
    assert torch.equal(tokens, torch.cat([bank_tensors(member)[f"{first}.key"] for member in members]))


def test_hidden_states_are_half_the_bytes(engine: DirectEngine) -> None:
    (whole,), (half,) = banks(engine, 1), banks(engine, 1, form="hidden_states")
    assert bank_bytes(half) * 2 == bank_bytes(whole)


@pytest.mark.parametrize("form", ["keys_values", "hidden_states"])
def test_tensors_of_a_bank_make_the_bank_again(engine: DirectEngine, form: BankForm) -> None:
    (bank,) = banks(engine, 4, form=form)
    close(bank_from_tensors(bank_tensors(bank)), bank, atol=0)


@pytest.mark.parametrize("form", ["keys_values", "hidden_states"])
def test_sampling_draws_one_images_worth_by_the_seed_alone(engine: DirectEngine, form: BankForm) -> None:
    members = banks(engine, 1, 2, 3, form=form)
    drawn, again, other = sample_banks(members, b"a"), sample_banks(members, b"a"), sample_banks(members, b"b")
    assert bank_bytes(drawn) == bank_bytes(members[0])
    close(drawn, again, atol=0)
    name, tokens = next(iter(bank_tensors(drawn).items()))
    assert not torch.equal(tokens, bank_tensors(other)[name])
    # Every token is one of the members', and keys keep their own values.
    pool = bank_tensors(concatenate_banks(members))
    for layer in drawn:
        parts = [part for part in ("key", "value", "hidden") if f"{layer}.{part}" in pool]
        rows = torch.cat([bank_tensors(drawn)[f"{layer}.{part}"] for part in parts], dim=1)
        all_rows = torch.cat([pool[f"{layer}.{part}"] for part in parts], dim=1)
        assert set(map(tuple, rows.tolist())) <= set(map(tuple, all_rows.tolist()))


def test_both_forms_do_not_mix(engine: DirectEngine) -> None:
    mixed = [*banks(engine, 1), *banks(engine, 2, form="hidden_states")]
    with pytest.raises(InvalidInput, match="both forms"):
        concatenate_banks(mixed)
    with pytest.raises(InvalidInput, match="no supports"):
        concatenate_banks([])


def test_the_context_is_that_of_the_prompt_without_padding(engine: DirectEngine) -> None:
    ids = torch.tensor([engine.tokenize([""])[0]])
    unpadded = engine.model.text_encoder(ids)[0][0]  # type: ignore[attr-defined]
    context = complete(prompt_context(engine))
    assert len(context) == 2
    torch.testing.assert_close(context, unpadded, atol=1e-5, rtol=1e-5)
