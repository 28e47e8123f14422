"""Download or copy a published model, verify and convert it, and add it to the registry; verify it again later."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from backbones.errors import DiffsightError, InvalidInput, ModelNotFound
from backbones.files import remove_leftovers, replacing_folder
from backbones.loading.disk_space import FreeBytes, check_space, free_bytes, gigabytes, is_full, no_space
from backbones.loading.hub import RemoteFile, fetch_files, list_files
from backbones.loading.published_model import PublishedModel, find_published
from backbones.loading.registry import (
    INCOMING,
    WEIGHTS,
    ModelEntry,
    check_name,
    describe_files,
    find_entry,
    write_entry,
    wrong_files,
)

_DAY = 24 * 3600
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def add_model(
    model: PublishedModel,
    *,
    folder: Path,
    source: str = "",
    revision: str = "main",
    name: str = "",
    any_size: bool = False,
    offline: bool = False,
    endpoint: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    free: FreeBytes = free_bytes,
) -> ModelEntry:
    """Add a model to the registry in `folder`; an existing entry is verified again and returned.

    source: a path, a hub id, or "" for where its authors publish it. name: in the registry; "" is the kind.
    any_size: networks of other sizes than the published ones, with the same names. endpoint: another hub.
    say: gets one line for each step. free: bytes left on a folder's disk.
    Raises ModelNotFound if it cannot be found, CheckpointError if it is another model or is damaged, InvalidInput for
    conflicting arguments and for a full disk. Then no entry is written; finished downloads stay for the next try.
    """
    name = name or model.kind
    check_name(name)
    remove_leftovers(folder, older_than_seconds=_DAY)
    if (present := find_entry(folder, name)) is not None:
        return _verify_again(present, model, source, say)

    path, hub_id = _locate(model, source)
    if path is not None:
        root, files = _local(model, path)
        model.check_configs(root, files, any_size=any_size)
        return _enter(model, name, root, files, str(path), "", "", folder, any_size=any_size, say=say, free=free)

    if offline:
        raise ModelNotFound(
            f"{hub_id} is on the hub, but DIFFSIGHT_OFFLINE forbids downloads", hint=_copy_hint(model.kind)
        )
    say(f"requesting the file list of {hub_id}@{revision}")
    commit, remote = list_files(hub_id, revision, endpoint=endpoint, instead=_copy_hint(model.kind))
    files = model.select_files(remote.keys(), hub_id)
    wanted: Mapping[str, RemoteFile] = {file: remote[file] for file in files}
    download = folder / INCOMING / f"{hub_id.replace('/', '--')}@{commit}"
    # The download and its conversion are on the disk at the same time.
    check_space(2 * sum(file.bytes for file in wanted.values()) - _size(download), folder, free)
    fetch = partial(fetch_files, hub_id, commit, target=download, endpoint=endpoint, instead=_copy_hint(model.kind))
    fetch({file: remote[file] for file in files if file.endswith(".json")})
    model.check_configs(download, files, any_size=any_size)
    say(f"fetching {len(files)} files, {gigabytes(sum(file.bytes for file in wanted.values()))}")
    fetch(wanted)
    entry = _enter(
        model, name, download, files, hub_id, revision, commit, folder, any_size=any_size, say=say, free=free
    )
    shutil.rmtree(download)
    return entry


def find_problems(entry: ModelEntry, models: Mapping[str, PublishedModel]) -> list[str]:
    """The problems of a model, one line each. Files are hashed again, and every key and shape is verified again.

    models: by kind, among them the entry's.
    """
    wrong = wrong_files(entry)
    try:
        find_published(models, entry.kind).verify(entry.weights, any_size=entry.any_size)
    except DiffsightError as error:
        wrong.append(str(error))
    return wrong


def _verify_again(entry: ModelEntry, model: PublishedModel, source: str, say: Callable[[str], None]) -> ModelEntry:
    same_source = source in ("", entry.source) or str(Path(source).expanduser().resolve()) == entry.source
    if entry.kind != model.kind or not same_source:
        raise InvalidInput(
            "name",
            f"{entry.name!r} exists already: {entry.kind} from {entry.source}",
            hint=f"choose another --name, or `diffsight models remove {entry.name}` first",
        )
    if wrong := find_problems(entry, {model.kind: model}):
        raise InvalidInput(
            "name",
            f"{entry.name!r} exists, but is damaged: {'; '.join(wrong)}",
            hint=f"`diffsight models remove {entry.name}`, then add it again",
        )
    say(f"{entry.name} is there already, and verified")
    return entry


def _locate(model: PublishedModel, source: str) -> tuple[Path | None, str]:
    """The source of the model: a path, or a hub id."""
    if not source and not model.hub_id:
        raise ModelNotFound(
            f"{model.kind} is not on the hub: its authors publish it at {model.where}",
            hint=f"download it from there, then run: diffsight models add {model.kind} --from PATH",
        )
    path = Path(source).expanduser()
    if source and path.exists():
        return path.resolve(), ""
    hub_id = source or model.hub_id
    if not _HUB_ID.fullmatch(hub_id):
        raise ModelNotFound(
            f"{source} does not exist, and is no hub id", hint="give --from a file, a folder, or a hub id owner/name"
        )
    return None, hub_id


def _copy_hint(kind: str) -> str:
    return f"bring its files to this machine, then: diffsight models add {kind} --from PATH"


def _local(model: PublishedModel, path: Path) -> tuple[Path, list[str]]:
    """The folder and the files in it that make up the model."""
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        return path, model.select_files(names, path)
    return path.parent, model.select_files([path.name], path)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _enter(
    model: PublishedModel,
    name: str,
    root: Path,
    files: list[str],
    source: str,
    revision: str,
    commit: str,
    folder: Path,
    *,
    any_size: bool,
    say: Callable[[str], None],
    free: FreeBytes,
) -> ModelEntry:
    """Convert into a temporary folder, verify, and rename. The folder is deleted if that fails."""
    check_space(sum((root / file).stat().st_size for file in files), folder, free)
    with replacing_folder(folder / name) as beside:
        say("verifying and converting")
        try:
            model.convert(root, files, beside / WEIGHTS, any_size=any_size)
        except Exception as error:
            if is_full(error):
                raise no_space(folder, "the disk filled up while converting") from error
            raise
        dtype = model.verify(beside / WEIGHTS, any_size=any_size)
        entry = ModelEntry(
            folder=beside,
            name=name,
            kind=model.kind,
            source=source,
            revision=revision,
            commit=commit,
            dtype=dtype,
            added=datetime.now(UTC).isoformat(timespec="seconds"),
            licence=model.licence,
            any_size=any_size,
            files=describe_files(beside / WEIGHTS),
            base=model.base,
        )
        write_entry(entry)
    say(f"{name} is ready: {gigabytes(entry.bytes)} in {folder / name}")
    stored = find_entry(folder, name)
    assert stored is not None
    return stored
