"""Errors of the service, independent of HTTP: `service/http/problems.py` has the statuses.

DiffsightError          (backbones/errors.py)
├── MalformedBody       the body does not match its content type
├── UnsupportedBody     a content type or encoding that no route reads
├── BodyTooLarge        more bytes than one request may send
├── BodyTooSlow         the body did not arrive in the time that its bytes allow
├── HeadTooLarge        a head, or trailers, of more bytes than allowed
├── KeyNeeded           no valid API key, for whatever reason
├── ForeignCaller       without any key: a page of another origin, or a name that is not this machine's
├── NothingStored       no object of a client has this id
├── ChangedMeanwhile    what was to be changed is not what it was when the change began
├── NotReady            the backbone is still loading, could not be loaded, or the server is stopping
├── ModelInUse          a model cannot be unloaded because it is in use
├── ClientGone          the client disconnected, so no client reads the answer
├── StorageFailed       the disk or the database could not take what was to be kept
└── Overloaded          (backbones/errors.py)
    ├── RateExceeded    more requests a minute than the caller may send
    └── TooManyAtOnce   more requests at a time than the caller may have
"""

from __future__ import annotations

from backbones.errors import DiffsightError, Overloaded


class MalformedBody(DiffsightError):
    """The body cannot be read as its content type."""


class UnsupportedBody(DiffsightError):
    """The body has a content type or encoding that the route does not read."""


class BodyTooLarge(DiffsightError):
    """The body has more bytes than the settings allow."""


class BodyTooSlow(DiffsightError):
    """The body did not arrive within its time."""


class ForeignCaller(DiffsightError):
    """A server without keys got a request from a page of another origin, or for a host name that is not its own."""


class HeadTooLarge(DiffsightError):
    """The head, chunk framing or trailers of a request have more bytes than the settings allow."""


class KeyNeeded(DiffsightError):
    """The request has no valid API key. The message does not say whether it is missing, wrong, expired or revoked."""


class NothingStored(DiffsightError):
    """No object that clients created has this id: it was deleted, or never existed."""


class ChangedMeanwhile(DiffsightError):
    """Another request changed an object while this change of it was computed."""


class RateExceeded(Overloaded):
    """The client sent more requests a minute than allowed."""


class TooManyAtOnce(Overloaded):
    """The client has more requests at a time than allowed."""


class NotReady(DiffsightError):
    """There is no loaded model: not yet, or not any more. retry_after_seconds: when it may be ready; None: unknown."""

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class ModelInUse(DiffsightError):
    """A model cannot be unloaded, because it is in use or pinned."""


class ClientGone(DiffsightError):
    """The client disconnected before the answer."""


class StorageFailed(DiffsightError):
    """A disk is full or not writable, or a database does not answer. Trying again later may help."""
