"""The base of backbones without a text encoder: they refuse texts and other unsupported fields."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from torch import Tensor

from backbones.errors import InvalidInput, ModelNotFound
from backbones.rows import UNetRow


class WithoutText:
    """Base of a backbone whose rows carry no context. `hint` says what to do instead of sending texts."""

    name: str
    alphas_cumprod: Tensor
    hint: str

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Raises InvalidInput: there is no text encoder."""
        raise self._no_text()

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """Raises InvalidInput, because the backbone has no text encoder: it has no contexts (T, D)."""
        raise self._no_text()

    def check_plain(self, row: UNetRow, kind: str, refused: Sequence[str]) -> None:
        """Raises InvalidInput for a context, for a field of `refused` that is set (dotted names, such as
        "capture.features") and for a timestep outside the schedule; ModelNotFound for any variant.

        kind: what the network is called in the message, such as "a diffusion transformer".
        """
        if row.variant:
            raise ModelNotFound(f"the backbone {self.name!r} has no variant {row.variant!r}", hint="it has no variants")
        if row.encoder_hidden_states is not None:
            raise self._no_text()
        for field in refused:
            if attrgetter(field)(row):
                raise InvalidInput(field.removeprefix("capture."), f"{kind} does not have this", hint="leave it out")
        if not 0 <= row.timestep < len(self.alphas_cumprod):
            raise InvalidInput("timestep", f"{row.timestep} is outside 0..{len(self.alphas_cumprod) - 1}")

    def _no_text(self) -> InvalidInput:
        return InvalidInput("texts", f"the backbone {self.name!r} has no text encoder", hint=self.hint)
