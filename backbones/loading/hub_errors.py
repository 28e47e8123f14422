"""Errors of a hub as ModelNotFound with a next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from backbones.errors import ModelNotFound


@contextmanager
def translate_hub_errors(repo_id: str, revision: str, instead: str) -> Iterator[None]:
    """Turns the hub library's errors about a repository into ModelNotFound. instead: what else the user can do."""
    source = f"{repo_id}@{revision}"
    try:
        yield
    except GatedRepoError as error:
        raise ModelNotFound(
            f"{source} can be downloaded only after its terms are accepted",
            hint=f"accept them on the model's page and set HF_TOKEN, or {instead}",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(
            f"{repo_id} has no revision {revision!r}", hint="give a branch, a tag or a commit after the @"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{repo_id} is not on the hub, or is private",
            hint=f"check the spelling, set HF_TOKEN for a private repository, or {instead}",
        ) from error
    except HFValidationError as error:
        raise ModelNotFound(f"{repo_id!r} is no hub id", hint=f"a hub id is owner/name; or {instead}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelNotFound(
            f"{source} is not downloaded yet, and the hub is disabled or not reachable",
            hint=f"unset DIFFSIGHT_OFFLINE and HF_HUB_OFFLINE and connect to the hub once, or {instead}",
        ) from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelNotFound(f"{source} could not be downloaded ({reason})", hint=instead) from error
