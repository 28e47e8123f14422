"""The stock classes of `pocket`, with types that a checker can follow.

diffusers and transformers are marked as typed, but a checker does not see the attributes of their mixins (`config`,
`from_pretrained`, even `encode`). Here the checker sees parts with any attribute; at run time these are the stock
classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from torch import nn

    class _Part:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def __getattr__(self, name: str) -> Any: ...
        def __len__(self) -> int: ...
        @classmethod
        def from_pretrained(cls, *args: Any, **kwargs: Any) -> Self: ...

    class _Network(nn.Module):
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def to(self, *args: Any, **kwargs: Any) -> Self: ...
        @classmethod
        def from_pretrained(cls, *args: Any, **kwargs: Any) -> Self: ...

    class AutoencoderKL(_Network): ...

    class UNet2DConditionModel(_Network): ...

    class CLIPTextModel(_Network): ...

    class CLIPTextConfig(_Part): ...

    class CLIPTokenizer(_Part): ...

    class DDIMScheduler(_Part): ...

else:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

__all__ = [
    "AutoencoderKL",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTokenizer",
    "DDIMScheduler",
    "UNet2DConditionModel",
]
