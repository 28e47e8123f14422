"""CLIP's public byte-pair vocabulary, which checkpoints do not hold, from an installed package."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any, cast

from backbones.errors import CheckpointError, ModelNotFound

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77
# 49,152 places, less 256 bytes, 256 bytes that end a word, and the two special tokens.
_MERGES = 48_894


def clip_tokenizer(pad_token: str = END) -> Any:
    """CLIP's tokenizer with all 49,408 tokens in OpenAI's order, cutting at 77 tokens, start and end included.

    pad_token: the end token for SD 1.x, "!" (id 0) for SD 2.x, as their published folders say.
    Raises ModelNotFound if the vocabulary is not installed.
    """
    from transformers import CLIPTokenizer  # takes a second: only what loads a model pays for it

    merges = _read_merges(vocabulary_file())
    return CLIPTokenizer(
        vocab=_number(merges), merges=cast(Any, merges), pad_token=pad_token, model_max_length=MAX_TOKENS
    )


def vocabulary_file() -> Path:
    """The path of the list of merges, a data file of mmsegmentation. The package is located, not imported.

    Raises ModelNotFound if the package or its file is missing.
    """
    package = importlib.util.find_spec("mmseg")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder) / "utils" / "bpe_simple_vocab_16e6.txt.gz"
        if file.is_file():
            return file
    raise ModelNotFound(
        "CLIP's vocabulary is not in a single-file checkpoint, and mmsegmentation, which carries it, is not installed",
        hint="install onedl-mmsegmentation, or give `tokenizer`: a folder with vocab.json and merges.txt",
    )


def _read_merges(file: Path) -> list[tuple[str, str]]:
    """Pairs in the order in which they are merged. Source: OpenAI's CLIP, `simple_tokenizer.py`."""
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        lines = opened.read().split("\n")[1 : 1 + _MERGES]
    merges = [tuple(line.split()) for line in lines]
    if len(merges) != _MERGES or any(len(pair) != 2 for pair in merges):
        raise CheckpointError(
            file, f"the file does not hold {_MERGES} merges", hint="install onedl-mmsegmentation again"
        )
    return cast("list[tuple[str, str]]", merges)


def _number(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Token -> id: bytes, bytes that end a word, merges, start, end."""
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: index for index, token in enumerate(tokens)}


def _byte_letters() -> list[str]:
    """One printable letter a byte: the printable Latin-1 ones stand for themselves and come first, in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
