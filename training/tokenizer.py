"""The byte-pair tokenizer of `pocket`, in the file layout of CLIP's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from backbones.files import write_file, write_json
from training.stock import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def train_merges(texts: Iterable[str], most: int = 1024) -> list[tuple[str, str]]:
    """The byte-pair merges of the most frequent neighbours in `texts`, most frequent first.

    Stops after `most` merges, or if every word that occurs at least twice is one token. Of equally frequent pairs, the
    pair that sorts first is merged, so the same texts always give the same merges.

    Source: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (arXiv:1508.07909).
    """
    words = _count_words(texts)
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        merged: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            merged[_join(word, best)] += count
        words = merged
    return merges


def write_tokenizer(folder: Path, merges: list[tuple[str, str]], tokens: int) -> None:
    """Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json.

    tokens: `model_max_length`, the length of a padded prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": tokens,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    write_json(folder / "vocab.json", _vocabulary(merges))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    write_file(folder / "merges.txt", "".join(f"{line}\n" for line in lines).encode())
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer that `write_tokenizer` wrote, as any other program would load it."""
    return CLIPTokenizer.from_pretrained(folder)


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Bytes, bytes that end a word, merges, then the two special tokens, as in CLIP's vocabulary."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(byte + _WORD_END for byte in alphabet), *("".join(pair) for pair in merges), START, END]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def _count_words(texts: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Words as CLIP's tokenizer splits them, as tuples of byte letters, the last one marked as the end of the word."""
    splitter = CLIPTokenizer(vocab=_vocabulary([]), merges=[]).backend_tokenizer
    words: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        for word, _ in splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text)):
            words[(*word[:-1], word[-1] + _WORD_END)] += 1
    return words


def _join(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The word with every occurrence of the pair, from the left, made one token."""
    tokens: list[str] = []
    for token in word:
        if tokens and (tokens[-1], token) == pair:
            tokens[-1] += token
        else:
            tokens.append(token)
    return tuple(tokens)
