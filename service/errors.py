"""What the service itself can refuse, without a word of HTTP: `service/http/problems.py` has the statuses.

DiffsightError          (backbones/errors.py)
├── MalformedBody       the body is not what its content type says
├── UnsupportedBody     a content type or encoding that no route reads
├── BodyTooLarge        more bytes than one request may send
├── BodyTooSlow         the body did not arrive in the time that its bytes may take
├── HeadTooLarge        a head, or trailers, of more bytes than are read
├── KeyNeeded           no valid API key, for whatever reason
├── ForeignCaller       without any key: a page of another origin, or a name that is not this machine's
├── NothingStored       nothing that callers made has this id
├── ChangedMeanwhile    what was to be changed is not what it was when the change began
├── NotReady            the backbone is still loading, could not be loaded, or the server is stopping
├── ModelInUse          a model is to leave that somebody uses
├── ClientGone          the caller hung up; nobody reads this answer
├── StorageFailed       the disk or the database could not take what was to be kept
└── Overloaded          (backbones/errors.py)
    ├── RateExceeded    more requests a minute than the caller may send
    └── TooManyAtOnce   more requests at a time than the caller may have
"""

from __future__ import annotations

from backbones.errors import DiffsightError, Overloaded


class MalformedBody(DiffsightError):
    """The body cannot be read as what its content type says."""


class UnsupportedBody(DiffsightError):
    """The body has a content type or encoding that the route does not read."""


class BodyTooLarge(DiffsightError):
    """The body has more bytes than the settings allow."""


class BodyTooSlow(DiffsightError):
    """The body did not arrive within its time."""


class ForeignCaller(DiffsightError):
    """A server without keys got a request from a page of another origin, or for a host name that is not its own."""


class HeadTooLarge(DiffsightError):
    """What a request sends beside its body has more bytes than the settings allow."""


class KeyNeeded(DiffsightError):
    """No valid API key came with the request. It is not said whether it was missing, wrong, expired or revoked."""


class NothingStored(DiffsightError):
    """Nothing that callers made over REST has this id: it was deleted, or there never was any."""


class ChangedMeanwhile(DiffsightError):
    """Another request changed an object while this change of it was computed."""


class RateExceeded(Overloaded):
    """The caller sent more requests a minute than it may."""


class TooManyAtOnce(Overloaded):
    """The caller has more requests at a time than it may."""


class NotReady(DiffsightError):
    """There is no model to ask: not yet, or not any more. retry_after_seconds: when it may be there; None: unknown."""

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class ModelInUse(DiffsightError):
    """A model cannot be unloaded, because it is in use or pinned."""


class ClientGone(DiffsightError):
    """The client hung up before it was answered."""


class StorageFailed(DiffsightError):
    """A disk that is full or may not be written, or a database that does not answer. Trying again later may help."""
