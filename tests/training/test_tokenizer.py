"""Learned merges, and texts that are unchanged after a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.tokenizer import load_tokenizer, train_merges, write_tokenizer


def test_merges_join_what_is_seen_most_and_stop_at_what_is_seen_once() -> None:
    assert train_merges(["ab ab ab", "abc abc", "xy"]) == [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")]


@pytest.mark.parametrize("text", ["a handwritten seven", "the digit 7", "Grüße, 世界! a surfboard", "", "naïve 😀"])
def test_any_text_survives_the_tokenizer(text: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, train_merges(["a handwritten seven"] * 2), tokens=64)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[:-1]
    backend = tokenizer.backend_tokenizer
    letters = "".join(backend.id_to_token(number) for number in ids[1:-1]).replace("</w>", "")
    words = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
    assert letters == "".join(word for word, _ in words)
