"""The parts of `make image-check` that need no image."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from docker.image_check import (
    CA_INSIDE,
    CPU_COMPOSE,
    DOCKERFILE,
    Answer,
    Failed,
    base_image,
    check_traces,
    cpu_torch,
    descendants,
    end,
    last_line,
    local_folder,
    read_pip_config,
    run,
)


def test_pip_has_the_same_configuration_inside_the_image_as_outside(tmp_path: Path) -> None:
    wheels, index, certificates = tmp_path / "wheels", tmp_path / "index" / "simple", tmp_path / "ca.pem"
    wheels.mkdir()
    index.mkdir(parents=True)
    certificates.touch()
    listed = "\n".join(
        [
            ":env:.default-timeout='90'",
            f":env:.find-links='{wheels}'",
            f"global.cert='{certificates}'",
            f"global.extra-index-url='file://{index}\\nhttps://example.org/simple'",
            "global.find-links='/overridden'",
            "user.no-color='true'",
        ]
    )
    config = read_pip_config(listed, {})
    assert config.certificates == certificates
    assert config.folders == [wheels, index.parent]
    assert config.as_file().splitlines() == [
        "[global]",
        f"extra-index-url = file://{index} https://example.org/simple",
        f"find-links = {wheels}",
        "timeout = 90",
        f"cert = {CA_INSIDE}",
    ]


def test_nothing_is_lent_where_pip_has_no_configuration() -> None:
    config = read_pip_config("", {})
    assert (config.options, config.certificates, config.folders) == ({}, None, [])


def test_named_files_that_do_not_exist_are_not_passed_on(tmp_path: Path) -> None:
    config = read_pip_config(f"global.find-links='{tmp_path}/none'", {"SSL_CERT_FILE": f"{tmp_path}/none.pem"})
    assert (config.certificates, config.folders) == (None, [])


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("/srv/wheels", "/srv/wheels"),
        ("file:///srv/my%20wheels", "/srv/my wheels"),
        ("file:///srv/index/simple", "/srv/index"),
        ("https://example.org/simple", None),
        ("relative/wheels", None),
    ],
)
def test_a_local_index_is_a_folder(place: str, folder: str | None) -> None:
    assert local_folder(place) == (None if folder is None else Path(folder))


def test_the_image_is_built_as_compose_would() -> None:
    assert cpu_torch(CPU_COMPOSE.read_text()).endswith("+cpu")
    assert base_image(DOCKERFILE.read_text()) == "docker.io/library/python:3.11-slim-bookworm"
    assert base_image("ARG BASE=registry.example.org/python:3.12") == "registry.example.org/python:3.12"


@pytest.mark.parametrize("read", [cpu_torch, base_image])
def test_a_file_that_does_not_say_it_is_named(read: Callable[[str], str]) -> None:
    with pytest.raises(Failed, match="docker/"):
        read("")


def test_a_failed_command_shows_its_last_lines(tmp_path: Path) -> None:
    script = "print('what went wrong'); raise SystemExit(3)"
    with pytest.raises(Failed, match=r"(?s)what went wrong.*failed \(3\)"):
        run(sys.executable, "-c", script)
    with (tmp_path / "log").open("w") as log, pytest.raises(Failed, match="what went wrong"):
        run(sys.executable, "-c", script, log=log)


def test_traces_of_the_server_are_found_outside_the_places_for_it(tmp_path: Path) -> None:
    for folder in ("tmp", "models", "venv"):
        (tmp_path / folder).mkdir()
    since = (tmp_path / "venv").stat().st_mtime - 1
    (tmp_path / "tmp" / "spool.pyc").touch()
    (tmp_path / "models" / "weights.pyc").touch()
    (tmp_path / "venv" / "module.py").touch()
    check_traces(tmp_path, since)
    (tmp_path / "venv" / "module.pyc").touch()
    with pytest.raises(Failed, match=r"/venv/module\.pyc"):
        check_traces(tmp_path, since)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_started_process_is_ended() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 600 & echo started; wait"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "started\n"
        below = descendants(process.pid)
        assert len(below) == 1
        end(process)
        assert process.returncode == -signal.SIGKILL
        # The pipe closes when the last process that held it is gone.
        assert process.stdout.read() == ""


def test_the_last_line_describes_the_image_and_its_answer() -> None:
    line = last_line(2_400_000_000, Answer("seven", 0.987, 120, 9.5, 0.4))
    assert line == (
        "the CPU image (2.40 GB) answered as uid 10001: 'seven', probability 0.987, 120 rows; "
        "ready after 9.5 s, stopped in 0.4 s"
    )
