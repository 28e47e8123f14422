"""Files of one revision of a hub's repository: resumed where they were cut off, checked against the hub's hashes."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]
from tqdm import tqdm

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading.hub_errors import told_by_the_hub

_PARTIAL = ".partial"
_CHUNK = 1024 * 1024
_ATTEMPTS_WITHOUT_PROGRESS = 3
_FULL = {errno.ENOSPC, errno.EDQUOT}

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written below a folder, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(needed: int, folder: Path, free: FreeBytes = free_bytes) -> None:
    """Raises InvalidInput where the disk of `folder` can not take that many bytes more."""
    if (left := free(folder)) < needed:
        raise no_space(folder, f"{gigabytes(needed)} are needed, {gigabytes(left)} are free")


def no_space(folder: Path, reason: str) -> InvalidInput:
    """The error for a disk that is full, or will be."""
    return InvalidInput(
        "models_folder",
        f"no space left for the model in {folder}: {reason}",
        hint="free some, or choose another disk with --models-folder or DIFFSIGHT_MODELS_FOLDER",
    )


def is_full(error: BaseException) -> bool:
    """Whether an error, or the system's message in it, says that the disk is full."""
    return getattr(error, "errno", None) in _FULL or f"os error {errno.ENOSPC}" in str(error)


def gigabytes(size: int) -> str:
    """A size for people, in units of 1000."""
    if size < 10**6:
        return f"{size:,} bytes"
    return f"{size / 10**9:.2f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What the hub says of a file. sha256: of large files; blob: git's own hash, of the others. "" where not told."""

    bytes: int
    sha256: str
    blob: str


def list_files(repo_id: str, revision: str, *, endpoint: str | None, instead: str) -> tuple[str, dict[str, RemoteFile]]:
    """The commit that a revision stands for, and all its files by path.

    endpoint: another hub; None is HF_ENDPOINT or the public one. instead: what to do where it can not be had.
    Raises ModelNotFound where there is no such repository or revision, no access, or no way to the hub.
    """
    with told_by_the_hub(repo_id, revision, instead):
        info = HfApi(endpoint=endpoint).model_info(repo_id, revision=revision, files_metadata=True)
    files = {
        one.rfilename: RemoteFile(
            one.size or 0, one.lfs.sha256 if one.lfs else "", "" if one.lfs else one.blob_id or ""
        )
        for one in info.siblings or []
    }
    return info.sha or revision, files


def fetch_files(
    repo_id: str,
    commit: str,
    files: Mapping[str, RemoteFile],
    target: Path,
    *,
    endpoint: str | None,
    instead: str,
    free: FreeBytes = free_bytes,
) -> None:
    """Put the files below `target`, with a progress bar each on a terminal. What is there whole is not fetched again.

    A file is complete when it has its name; until then it is NAME.partial, with which the next call goes on.
    Raises InvalidInput where the disk is full or would be, CheckpointError for content with another hash than the
    hub's, ModelNotFound where the hub breaks off or does not have a file.
    """
    absent = {name: file for name, file in files.items() if not (target / name).is_file()}
    have = sum((target / (name + _PARTIAL)).stat().st_size for name in absent if (target / (name + _PARTIAL)).is_file())
    check_space(_total(absent.values()) - have, target, free)
    for name, file in absent.items():
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=endpoint or constants.ENDPOINT)
        partial = target / (name + _PARTIAL)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with told_by_the_hub(f"{repo_id}/{name}", commit, instead):
                _fetch(url, file, partial, name)
        except ModelNotFound as error:
            if is_full(error.__cause__ or error):
                raise no_space(target, f"the disk filled up at {name}") from error
            raise
        _check_content(partial, file, f"{repo_id}@{commit}, {name}")
        partial.rename(target / name)


def _total(files: Iterable[RemoteFile]) -> int:
    return sum(file.bytes for file in files)


def _fetch(url: str, file: RemoteFile, partial: Path, name: str) -> None:
    """Append to `partial` what it lacks. Tries again as long as that brings more."""
    without_progress = 0
    while True:
        have = partial.stat().st_size if partial.exists() else 0
        if file.bytes and have > file.bytes:
            partial.unlink()
            have = 0
        if have == file.bytes and partial.exists():
            return
        try:
            _append(url, file, partial, name, have)
        except (httpx2.ConnectError, httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ReadError) as error:
            now = partial.stat().st_size if partial.exists() else 0
            without_progress = 0 if now > have else without_progress + 1
            if without_progress == _ATTEMPTS_WITHOUT_PROGRESS:
                raise ModelNotFound(
                    f"the download of {name} broke off at {gigabytes(now)} of {gigabytes(file.bytes)}",
                    hint="run the same command again: it goes on from there",
                ) from error
        else:
            return


def _append(url: str, file: RemoteFile, partial: Path, name: str, have: int) -> None:
    # Compressed on the way, the bytes could not be counted, nor resumed.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        hf_raise_for_status(response)
        # 200 to a request for the rest is the whole file.
        start = have if response.status_code == 206 else 0
        with (
            partial.open("ab" if start else "wb") as written,
            tqdm(total=file.bytes, initial=start, desc=name, unit="B", unit_scale=True, disable=None) as bar,
        ):
            # As they come: gathered into larger pieces, what came before a break would be lost.
            for chunk in response.iter_bytes():
                written.write(chunk)
                bar.update(len(chunk))


def _check_content(partial: Path, file: RemoteFile, source: str) -> None:
    """Raises CheckpointError, and throws the content away, where it is not what the hub told."""
    size = partial.stat().st_size
    wrong = ""
    if size != file.bytes:
        wrong = f"it has {size} bytes, the hub told {file.bytes}"
    elif file.sha256 and (got := _hash(partial, hashlib.sha256())) != file.sha256:
        wrong = f"its SHA-256 is {got}, the hub told {file.sha256}"
    elif (
        file.blob
        and (got := _hash(partial, hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False))) != file.blob
    ):
        wrong = f"its git hash is {got}, the hub told {file.blob}"
    if wrong:
        partial.unlink()
        raise CheckpointError(source, f"the checksum is wrong: {wrong}", hint="it was thrown away; fetch it again")


def _hash(file: Path, digest: hashlib._Hash) -> str:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
