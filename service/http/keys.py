"""API keys: stored as hashes in one small file, which the server reads again whenever it changes."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from backbones.errors import InvalidInput
from backbones.files import write_json

log = structlog.get_logger("diffsight")

PREFIX = "diffsight"


class Key(BaseModel):
    """The stored data of a key. It is not enough to send requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$", description="The part of the key that is no secret.")
    name: str = Field(min_length=1, max_length=100)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="See `digest_of`.")
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    rate_per_minute: int | None = Field(default=None, ge=1, description="Unset: the server's setting.")
    concurrency: int | None = Field(default=None, ge=1, description="Unset: the server's setting.")

    def state(self, now: datetime) -> str:
        """`revoked`, `expired` or `valid`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(default=1, ge=1, le=1)
    keys: tuple[Key, ...] = ()


# Compared for an unknown id, so that its refusal takes as long as that of a wrong secret. No secret has this digest.
_NOBODY = Key(id="0" * 12, name="nobody", digest="0" * 64, created=datetime.min.replace(tzinfo=UTC))


def digest_of(key_id: str, secret: str) -> str:
    """SHA-256 of a key's secret, as hex.

    A fast hash is enough: slow hashes and salts protect passwords that people choose, but these secrets are 256 random
    bits. The id makes digests differ even for equal secrets.
    """
    return hashlib.sha256(f"{key_id}:{secret}".encode("utf-8", "surrogatepass")).hexdigest()


class KeyStore:
    """The keys of one file, for a server: current at every call, for the cost of one stat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, ...] | None = None
        self._keys: Mapping[str, Key] = {}
        self._closed = False

    @property
    def in_use(self) -> bool:
        """Whether requests need a key: there is a key, or was one since the server started.

        Revoked keys count, and so does an unreadable file: removing keys never opens the server.
        """
        self._refresh()
        return self._closed

    def find(self, presented: str, now: datetime) -> Key | None:
        """The valid key for a presented text, or None. The time does not depend on how similar a wrong text is."""
        self._refresh()
        key_id, secret = _parts(presented)
        key = self._keys.get(key_id, _NOBODY)
        same = hmac.compare_digest(digest_of(key_id, secret), key.digest)
        return key if same and key is not _NOBODY and key.state(now) == "valid" else None

    def is_current(self) -> bool:
        """Whether the file is unchanged since it was read. If not, the next call reads it, which may take time."""
        return self._signature() == self._read

    def refresh(self) -> None:
        """Read the file if it changed. Blocks."""
        self._refresh()

    def _signature(self) -> tuple[int, ...] | None:
        """A value that changes with the file; None if there is no file."""
        try:
            key = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return ()
        # Every change is a rename, so the inode changes too.
        return (key.st_ino, key.st_mtime_ns, key.st_ctime_ns, key.st_size)

    def _refresh(self) -> None:
        signature = self._signature()
        if signature is None:
            self._keys, self._read = {}, None
            return
        if signature == self._read:
            return
        try:
            self._keys = {key.id: key for key in read_keys(self.path)}
        except InvalidInput as error:
            log.error("no key is valid until this is mended", error=str(error))
            self._keys, self._closed = {}, True
        self._read = signature
        self._closed = self._closed or bool(self._keys)


def read_keys(path: Path) -> tuple[Key, ...]:
    """All keys of the file, in the order made; none if there is no file. Raises InvalidInput for a damaged one."""
    try:
        return _KeysFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InvalidInput(
            "access.keys_file", f"{path} can not be read: {error.strerror}", hint="let the server's user read it"
        ) from error
    except ValidationError as error:
        raise InvalidInput(
            "access.keys_file", f"{path} is not a file of keys", hint="restore it, or move it away and create new keys"
        ) from error


def create_key(
    path: Path,
    name: str,
    *,
    now: datetime,
    expires: datetime | None = None,
    rate_per_minute: int | None = None,
    concurrency: int | None = None,
) -> tuple[Key, str]:
    """A new key and its secret text, which is not stored.

    Raises InvalidInput if a valid key has that name already, `expires` is past, or the file cannot be written.
    """
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise InvalidInput("NAME", f"{name!r}", hint="give a name of 1 to 100 printable characters")
    if expires is not None and expires <= now:
        raise InvalidInput("--expires", f"{expires:%Y-%m-%d %H:%M} UTC is past", hint="give a later date")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = Key(
        id=key_id,
        name=name,
        digest=digest_of(key_id, secret),
        created=now,
        expires=expires,
        rate_per_minute=rate_per_minute,
        concurrency=concurrency,
    )
    with _locked(path):
        keys = read_keys(path)
        if any(name == other.name and other.state(now) == "valid" for other in keys):
            raise InvalidInput(
                "NAME", f"there is a key named {name!r}", hint="choose another name, or revoke that key first"
            )
        _write(path, (*keys, key))
    return key, f"{PREFIX}_{key_id}_{secret}"


def revoke_key(path: Path, name_or_id: str, *, now: datetime) -> Key:
    """The key, revoked. It stays in the file, so that revoking the last key does not open the server to requests
    without keys.

    Raises InvalidInput if no key that is not yet revoked has this name or id, or two have.
    """
    with _locked(path):
        keys = read_keys(path)
        named = [key for key in keys if name_or_id in (key.name, key.id) and key.revoked is None]
        if len(named) != 1:
            owners = "several keys have" if named else "no key has"
            raise InvalidInput(
                "NAME_OR_ID",
                f"{owners} the name or id {name_or_id!r}",
                hint="`diffsight keys list` shows names and ids",
            )
        revoked = named[0].model_copy(update={"revoked": now})
        _write(path, tuple(revoked if key.id == revoked.id else key for key in keys))
    return revoked


def _parts(presented: str) -> tuple[str, str]:
    """(id, secret) of a presented key."""
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == PREFIX else ("", presented)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file against other commands. Raises InvalidInput if its folder is not writable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Write the file whole: a reader sees the old file or the new one, and only the owner may read it."""
    try:
        write_json(path, _KeysFile(keys=keys).model_dump(mode="json"), mode=0o600)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "access.keys_file",
        f"{path} can not be written: {error.strerror}",
        hint="set DIFFSIGHT_ACCESS__KEYS_FILE to a file in a folder of your own",
    )
