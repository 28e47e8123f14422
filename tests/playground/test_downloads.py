"""Answers as files to save."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr
import pytest

from playground.downloads import save
from playground.server import Reply


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gr.File:
    """A file of a page, which is served from a folder of its own."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return gr.File()


def test_an_answer_is_saved_under_its_name(file: gr.File) -> None:
    assert Path(save(Reply(b"x", "image/png", "", 0.0), "depth-overlay", file)).name == "depth-overlay.png"
    assert Path(save(Reply(b"x", "application/x-npy", "depth.npy", 0.0), "depth", file)).read_bytes() == b"x"
    assert Path(save(Reply(b"x", "text/other", "", 0.0), "answer", file)).name == "answer.bin"


def test_a_servers_file_name_cannot_leave_the_folder(file: gr.File, tmp_path: Path) -> None:
    path = Path(save(Reply(b"x", "image/png", "../../away.png", 0.0), "depth", file))
    assert path.is_relative_to(tmp_path.resolve())
    assert path.name == "away.png"


def test_the_file_is_the_only_copy_and_gradio_deletes_it_with_its_own(file: gr.File, tmp_path: Path) -> None:
    path = save(Reply(b"x", "image/png", "", 0.0), "depth", file)
    assert asyncio.run(file.async_move_resource_to_block_cache(path)) == path
    assert [str(found) for found in tmp_path.resolve().rglob("*") if found.is_file()] == [path]
    assert path in file.temp_files
