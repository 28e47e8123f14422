"""Answers as files that the page offers to save."""

from __future__ import annotations

from pathlib import Path

from gradio.blocks import Block
from gradio.processing_utils import save_bytes_to_cache

from playground.server import Reply

_SUFFIXES = {"image/png": ".png", "application/x-npy": ".npy", "application/json": ".json"}


def save(reply: Reply, name: str, block: Block) -> str:
    """The path of a file with an answer's content.

    name: of the file, without its suffix, where the answer names none. The file is in the folder of the block that
    offers it, which Gradio serves from and clears of old files: a copy elsewhere would stay for ever.
    """
    file = reply.file_name or f"{name}{_SUFFIXES.get(reply.media_type, '.bin')}"
    return str(save_bytes_to_cache(reply.content, Path(file).name, cache_dir=block.GRADIO_CACHE))
