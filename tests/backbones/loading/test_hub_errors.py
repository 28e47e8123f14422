"""Every error of the hub's library becomes ModelNotFound with the next step; others pass through."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
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
from backbones.loading.hub_errors import translate_hub_errors


def refusal(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    request = httpx2.Request("GET", "https://example.org/owner/name")
    return kind("refused", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda: refusal(GatedRepoError, 403), "owner/name@v1 can be downloaded only after", "HF_TOKEN, or copy it"),
        (lambda: refusal(RevisionNotFoundError, 404), "no revision 'v1'", "after the @"),
        (lambda: refusal(RepositoryNotFoundError, 404), "owner/name is not on the hub", "or copy it"),
        (lambda: refusal(HfHubHTTPError, 500), "could not be downloaded (refused", "copy it"),
        (lambda: HFValidationError("bad"), "'owner/name' is no hub id", "or copy it"),
        (lambda: LocalEntryNotFoundError("none"), "not downloaded yet", "DIFFSIGHT_OFFLINE"),
        (lambda: OfflineModeIsEnabled("off"), "not downloaded yet", "HF_HUB_OFFLINE"),
        (lambda: httpx2.ConnectError("no route"), "could not be downloaded (no route)", "copy it"),
        (lambda: OSError(), "could not be downloaded (OSError)", "copy it"),
    ],
)
def test_an_error_says_what_happened_and_what_to_do(make: Callable[[], Exception], message: str, hint: str) -> None:
    with pytest.raises(ModelNotFound) as error, translate_hub_errors("owner/name", "v1", "copy it"):
        raise make()
    assert message in error.value.message
    assert hint in error.value.hint
    assert type(error.value.__cause__) is type(make())


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), translate_hub_errors("owner/name", "v1", "copy it"):
        raise KeyError("a mistake of ours")
