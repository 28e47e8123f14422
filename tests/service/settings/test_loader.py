"""service/settings/loader.py: the sources of settings; no name is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from service.settings.loader import Settings, load_settings


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.backbone, settings.host, settings.port) == (None, "127.0.0.1", 8000)


def test_the_environment_sets_plain_and_nested_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSIGHT_PORT", "9000")
    monkeypatch.setenv("DIFFSIGHT_LIMITS__MAX_LABELS", "7")
    settings = load_settings()
    assert (settings.port, settings.limits.max_labels) == (9000, 7)
    assert settings.limits.max_images == Settings().limits.max_images


def test_code_goes_before_environment_before_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "diffsight.toml"
    file.write_text('host = "file"\nport = 1\nbackbone = "file"\n[limits]\nmax_labels = 1\nmax_images = 1\n')
    monkeypatch.setenv("DIFFSIGHT_CONFIG", str(file))
    monkeypatch.setenv("DIFFSIGHT_PORT", "2")
    monkeypatch.setenv("DIFFSIGHT_LIMITS__MAX_LABELS", "2")
    settings = load_settings(backbone="code")
    assert (settings.host, settings.port, settings.backbone) == ("file", 2, "code")
    assert (settings.limits.max_labels, settings.limits.max_images) == (2, 1)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DIFFSIGHT_BACKBON", "DIFFSIGHT_BACKBONE"),
        ("DIFFSIGHT_LIMITS__MAX_LABLES", "DIFFSIGHT_LIMITS__MAX_LABELS"),
        ("DIFFSIGHT_MAX_BATCH_ROWS", "DIFFSIGHT_ENGINE__MAX_BATCH_ROWS"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(InvalidInput, match=f"did you mean {nearest}\\?"):
        load_settings()


@pytest.mark.parametrize("text", ["backbon = 'x'", "[limits]\nmax_label = 3", "[engine]\nthreads = 3"])
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path: Path, text: str) -> None:
    file = tmp_path / "diffsight.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"is not a setting.*did you mean"):
        load_settings(file)


@pytest.mark.parametrize("text", ["port = ", "\x00", None])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "diffsight.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInput, match="can not be read as TOML"):
        load_settings(file)


def test_a_group_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSIGHT_LIMITS", "{")
    with pytest.raises(InvalidInput, match="limits"):
        load_settings()


TABLES = """
[[models]]
id = "mine"
source = "heads/depth.safetensors"
task = "depth"
pinned = true

[[models]]
id = "sd15"
dtype = "bfloat16"
"""


def test_tables_of_models_stand_beside_names_that_narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "diffsight.toml"
    file.write_text(TABLES)
    monkeypatch.setenv("DIFFSIGHT_MODELS", "mine")
    settings = load_settings(file)
    assert settings.models == ("mine",)
    assert [(table.id, table.task, table.pinned, table.dtype) for table in settings.model_tables] == [
        ("mine", "depth", True, None),
        ("sd15", "", False, "bfloat16"),
    ]


def test_names_of_models_in_a_file_are_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "diffsight.toml"
    file.write_text('models = ["sd15", "sd21"]')
    assert load_settings(file).models == ("sd15", "sd21")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('id = "a"\nsorce = "b"', r"\[\[models\]\] number 2: 'sorce' is not a key of a model"),
        ('source = "b"', r"\[\[models\]\] number 2 has no 'id'"),
        ('id = "a b"', r"\[\[models\]\] number 2, id: .*not 'a b'"),
        ('id = "a"\ndtype = "int8"', r"\[\[models\]\] number 2, dtype: .*'float32'.*not 'int8'"),
    ],
)
def test_a_table_that_is_wrong_is_named_with_what_to_write(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "diffsight.toml"
    file.write_text(f'[[models]]\nid = "first"\n[[models]]\n{text}\n')
    with pytest.raises(InvalidInput, match=words):
        load_settings(file)
