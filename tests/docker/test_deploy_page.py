"""docs/deploy.md names files, profiles, volumes and variables that exist."""

from __future__ import annotations

import re

from service.settings.loader import variables
from tests.docker.stack import DOCKER, example_variables, stack

PAGE = (DOCKER.parent / "docs/deploy.md").read_text()


def test_the_files_it_names_exist() -> None:
    named = set(re.findall(r"\bdocker/[\w.]+(?:/[\w.]+)*", PAGE)) - {"docker/.env"}
    assert named
    assert not [name for name in named if not (DOCKER.parent / name.rstrip(".")).exists()]


def test_the_profiles_it_names_exist() -> None:
    profiles = {profile for service in stack("compose.yaml").values() for profile in service.get("profiles", ())}
    assert set(re.findall(r"--profile (\w+)", PAGE)) == profiles


def test_the_variables_it_names_exist() -> None:
    allowed = {name for name, _ in variables()} | set(example_variables())
    named = set(re.findall(r"\bDIFFSIGHT_[A-Z_]+", PAGE)) | set(re.findall(r"docker/\.env: (\w+)=", PAGE))
    assert named <= allowed
