"""Answers as files to save."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr
import pytest
from gradio.route_utils import delete_files_created_by_app

from playground.downloads import save
from playground.server import Reply


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    """A page with one file to save, with folders of its own."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page: gr.Blocks = gr.Blocks(analytics_enabled=False)
    with page:
        gr.File()
    return page


def file_of(blocks: gr.Blocks) -> gr.File:
    (file,) = (block for block in blocks.blocks.values() if isinstance(block, gr.File))
    return file


def test_an_answer_is_saved_under_its_name(blocks: gr.Blocks) -> None:
    file = file_of(blocks)
    assert Path(save(Reply(b"x", "image/png", "", 0.0), "depth-overlay", file)).name == "depth-overlay.png"
    assert Path(save(Reply(b"x", "application/x-npy", "depth.npy", 0.0), "depth", file)).read_bytes() == b"x"
    assert Path(save(Reply(b"x", "text/other", "", 0.0), "answer", file)).name == "answer.bin"


def test_a_servers_file_name_cannot_leave_the_folder(blocks: gr.Blocks, tmp_path: Path) -> None:
    path = Path(save(Reply(b"x", "image/png", "../../away.png", 0.0), "depth", file_of(blocks)))
    assert path.is_relative_to(tmp_path.resolve())
    assert path.name == "away.png"


def test_gradio_deletes_the_file_with_its_own_and_no_copy_is_left(blocks: gr.Blocks, tmp_path: Path) -> None:
    file = file_of(blocks)
    path = save(Reply(b"x", "image/png", "", 0.0), "depth", file)
    served = asyncio.run(file.async_move_resource_to_block_cache(path))
    assert served == path
    delete_files_created_by_app(blocks, age=None)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []
