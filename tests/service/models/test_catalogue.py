"""The models that a server can serve: added ones, those of the settings, and shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.registry import ModelEntry, write_entry
from service.models.catalogue import (
    ModelSpec,
    build_catalogue,
    choose_for,
    default_backbone,
    list_left_out,
    name_of_source,
    names_in,
    old_settings,
)
from service.models.known import PUBLISHED
from service.settings.loader import Settings, load_settings


@pytest.fixture
def models_folder(tmp_path: Path) -> Path:
    """A folder with entries of several kinds, without their weights."""
    for name, kind in (("sd15", "sd15"), ("vpd-depth", "vpd-depth"), ("body", "sdpose-body"), ("mine", "vpd-depth")):
        folder = tmp_path / name
        folder.mkdir()
        base = PUBLISHED[kind].base
        write_entry(ModelEntry(folder, name, kind, "", "", "", "", "", "", True, {}, base))
    return tmp_path


def settings_of(folder: Path, **changes: Any) -> Settings:
    return load_settings(models_folder=folder, **changes)


def rows(settings: Settings) -> list[tuple[str, str, str]]:
    return [(spec.id, spec.task, spec.backbone) for spec in build_catalogue(settings)]


def test_pocket_is_served_where_nothing_was_added(tmp_path: Path) -> None:
    assert rows(settings_of(tmp_path)) == [("pocket", "", "pocket")]
    assert default_backbone(settings_of(tmp_path)) == "pocket"


def test_everything_that_was_added_is_served_without_a_setting(models_folder: Path) -> None:
    settings = settings_of(models_folder)
    assert rows(settings) == [
        ("sd15", "", "sd15"),
        ("mine", "depth", "sd15"),
        ("vpd-depth", "depth", "sd15"),
    ]
    assert list_left_out(settings) == ["body is not served: it needs sd21; `diffsight models add sd21` brings it"]
    assert choose_for(settings, "depth") == ("sd15", "mine")
    assert choose_for(settings, "features") == ("sd15", None)


def test_names_narrow_and_order_it(models_folder: Path) -> None:
    settings = settings_of(models_folder, models="vpd-depth,pocket,sd15", pinned_models=["sd15"])
    assert [spec.id for spec in build_catalogue(settings)] == ["vpd-depth", "pocket", "sd15"]
    assert [spec.pinned for spec in build_catalogue(settings)] == [False, False, True]
    assert list_left_out(settings) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"models": "sd99"}, ModelNotFound, "sd99"),
        ({"models": "vpd-depth"}, InvalidInput, "needs a backbone of the kind sd15"),
        ({"pinned_models": "other"}, InvalidInput, "is not served"),
    ],
)
def test_names_that_cannot_be_served_are_refused(
    models_folder: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_catalogue(settings_of(models_folder, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "pocket"},
        {"heads": {"depth": "a.safetensors"}},
        {"pose": {"checkpoint": "folder"}},
        {"few_shot": {"weights": "folder"}},
    ],
)
def test_settings_that_name_weights_serve_one_backbone(models_folder: Path, changes: dict[str, Any]) -> None:
    assert rows(settings_of(models_folder, **changes)) == [("pocket", "", "pocket")]


def spec_of(settings: Settings, name: str) -> ModelSpec:
    return next(spec for spec in build_catalogue(settings) if spec.id == name)


def test_tables_join_what_was_added_and_go_before_it(models_folder: Path) -> None:
    tables = [
        {"id": "own", "task": "depth", "source": "own.safetensors"},
        {"id": "sd15", "dtype": "float16"},
        {"id": "second", "source": "vpd-depth", "pinned": True},
    ]
    settings = settings_of(models_folder, model_tables=tables)
    assert rows(settings) == [
        ("sd15", "", "sd15"),
        ("own", "depth", "sd15"),
        ("second", "depth", "sd15"),
        ("mine", "depth", "sd15"),
    ]
    assert {spec.dtype for spec in build_catalogue(settings)} == {"float16"}
    assert spec_of(settings, "own").source == "own.safetensors"
    second = spec_of(settings, "second")
    assert second.pinned
    assert second.entry is not None
    assert second.entry.name == "vpd-depth"
    assert choose_for(settings, "depth") == ("sd15", "own.safetensors")
    assert list_left_out(settings) == ["body is not served: it needs sd21; `diffsight models add sd21` brings it"]
    narrowed = settings_of(models_folder, model_tables=tables, models="own,sd15")
    assert rows(narrowed) == [("own", "depth", "sd15"), ("sd15", "", "sd15")]


def test_a_table_brings_a_backbone_of_its_own(tmp_path: Path) -> None:
    tables = [
        {"id": "first", "source": "/weights/one"},
        {"id": "pocket"},
        {"id": "people", "task": "pose", "source": "/weights/pose", "backbone": "first"},
    ]
    assert rows(settings_of(tmp_path, model_tables=tables)) == [
        ("first", "", "first"),
        ("pocket", "", "pocket"),
        ("people", "pose", "first"),
    ]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([{"id": "a", "source": "x"}, {"id": "a", "source": "y"}], "two .* have the id 'a'"),
        ([{"id": "nowhere"}], "has no source, and no model of that name was added"),
        ([{"id": "mine", "source": "x"}], "another model of that name was added"),
        ([{"id": "a", "source": "x", "task": "features"}], "not a task with weights of its own"),
        ([{"id": "a", "source": "mine", "task": "pose"}], "'mine' is vpd-depth, and not for pose"),
        ([{"id": "a", "source": "x", "backbone": "sd15"}], "a backbone does not run on another backbone"),
        ([{"id": "a", "source": "x", "task": "pose", "dtype": "float16"}], "number type of its backbone"),
        ([{"id": "a", "source": "x", "task": "pose", "backbone": "b"}], "'b', which is not a served backbone"),
        ([{"id": "a", "source": "x", "task": "pose"}, {"id": "pocket"}], "could run on each of pocket, sd15"),
        ([{"id": "body"}], "'body' needs a backbone of the kind sd21"),
    ],
)
def test_tables_that_describe_no_model_are_refused(
    models_folder: Path, tables: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises((InvalidInput, ModelNotFound), match=words):
        build_catalogue(settings_of(models_folder, model_tables=tables))


def test_models_that_the_settings_name_are_needed_with_their_backbones(models_folder: Path) -> None:
    assert names_in(settings_of(models_folder)) == frozenset()
    tables = [{"id": "second", "source": "vpd-depth"}]
    assert names_in(settings_of(models_folder, model_tables=tables)) == {"vpd-depth", "sd15"}
    assert names_in(settings_of(models_folder, heads={"depth": "mine"})) == {"mine"}
    assert names_in(settings_of(models_folder, pinned_models=["nowhere"])) == {"nowhere"}


def test_settings_of_the_last_version_say_what_to_write_instead(tmp_path: Path) -> None:
    lines = old_settings(settings_of(tmp_path, heads={"depth": "a.safetensors"}, few_shot={"weights": "folder"}))
    assert [line.split()[2] for line in lines] == ["few_shot.weights", "heads.depth"]
    assert "task = 'depth' and source = 'a.safetensors'" in lines[1]
    assert old_settings(settings_of(tmp_path, backbone="pocket")) == []


def test_a_backbone_is_called_after_its_source() -> None:
    assert name_of_source("pocket") == "pocket"
    assert name_of_source("/models/v1-5.safetensors") == "v1-5"
    assert name_of_source("stabilityai/sd-2-1") == "sd-2-1"
