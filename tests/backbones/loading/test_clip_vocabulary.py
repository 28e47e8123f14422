"""CLIP's vocabulary, rebuilt from its public list of merges, gives the known token ids."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backbones.loading.clip_vocabulary import clip_tokenizer


def test_texts_have_the_ids_of_the_published_tokenizer() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("").input_ids == [49406, 49407]
    assert tokenizer.convert_ids_to_tokens([0, 255, 256, 511, 512, 49405]) == [
        "!",
        "Ń",
        "!</w>",
        "Ń</w>",
        "in",
        "jekyll</w>",
    ]


def test_case_and_blanks_make_no_difference() -> None:
    tokenizer = clip_tokenizer()
    assert tokenizer("A  Photo\nof a CAT").input_ids == tokenizer("a photo of a cat").input_ids


def test_any_text_has_ids_that_spell_it_again() -> None:
    tokenizer = clip_tokenizer()
    text = "naïve façade, 猫 and 🐈 #3!"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).replace(" ", "") == text.replace(
        " ", ""
    )


@pytest.mark.parametrize(("pad_token", "pad_id"), [("<|endoftext|>", 49407), ("!", 0)])
def test_padding_by_generation(pad_token: str, pad_id: int) -> None:
    ids = clip_tokenizer(pad_token)("a cat", padding="max_length", truncation=True).input_ids
    assert ids == [49406, 320, 2368, 49407] + [pad_id] * 73


def test_long_prompts_are_cut_and_keep_their_end() -> None:
    ids = clip_tokenizer()("cat " * 200, truncation=True).input_ids
    assert ids == [49406] + [2368] * 75 + [49407]


def test_the_package_that_carries_the_list_is_not_imported() -> None:
    program = (
        "import sys; from backbones.loading.clip_vocabulary import vocabulary_file; "
        "print(vocabulary_file().is_file(), 'mmseg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
