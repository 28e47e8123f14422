"""A device that does not exist: tensors that say they are on `cuda:0`, and raise where CUDA would.

The values are on the CPU. Every operation is checked before it runs: tensors of the CPU beside those of the device,
number types that one kernel does not take together, a generator of the wrong device, and numpy of a device tensor are
errors as on CUDA. It cannot show kernels, overflow of half precision, and asynchronous errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
# Kernels that take one number type for all their factors.
_ONE_TYPE = (
    "convolution",
    "addmm",
    "mm",
    "bmm",
    "baddbmm",
    "native_layer_norm",
    "native_group_norm",
    "linear",
    "mv",
    "dot",
)
# Operations that CUDA lets read a host tensor: copies, and indices, which it copies itself.
_FROM_HOST = ("_to_copy", "copy_", "index", "_unsafe_index", "index_put_", "index_put", "_index_put_impl_")
_TAKE_SCALARS = ("where", "fill_", "masked_fill", "masked_fill_", "lerp")


class Mismatch(RuntimeError):
    """What CUDA would refuse."""


class DeviceTensor(torch.Tensor):
    """A tensor of the pretended device. host: its values."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            layout=host.layout, device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.host = host.detach()
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: Any) -> Any:
        copied = DeviceTensor(self.host.clone())
        return torch.nn.Parameter(copied, requires_grad=False) if getattr(self, "_is_param", False) else copied

    # The rest is done by torch in C++, below a subclass.

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.host.tolist()

    def item(self) -> Any:
        return self.host.item()

    def __bool__(self) -> bool:
        return bool(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __int__(self) -> int:
        return int(self.host)

    def __index__(self) -> int:
        return self.host.__index__()

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def untyped_storage(self) -> Any:
        return self.host.untyped_storage()

    def contiguous(self, memory_format: Any = torch.contiguous_format) -> Any:
        host = self.host.contiguous(memory_format=memory_format)
        return self if host is self.host else DeviceTensor(host)

    def __getitem__(self, index: Any) -> Any:
        return DeviceTensor(self.host[_on_host(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[_on_host(index)] = _on_host(value)


def _on_host(values: Any) -> Any:
    return tree_map(lambda value: value.host if isinstance(value, DeviceTensor) else value, values)


def _on_device(values: Any) -> Any:
    wrap = lambda value: DeviceTensor(value) if type(value) is Tensor or type(value) is torch.nn.Parameter else value  # noqa: E731
    return tree_map(wrap, values)


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """One operation: checked, run on the host, and its results given the device that CUDA would give them."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    named = kwargs.get("device")
    there = torch.device(named).type == "cuda" if named is not None else bool(ours)
    on_host = {**kwargs, "device": torch.device("cpu")} if named is not None and there else dict(kwargs)
    if there and name not in _FROM_HOST:
        _check(name, func, tensors, kwargs)
    elif name.startswith(("index", "_unsafe_index", "_index")) and ours and not isinstance(args[0], DeviceTensor):
        raise Mismatch(f"a device tensor indexes, or goes into, a tensor of the CPU: {name}")
    result = _compute(name, func, _on_host(tuple(args)), _on_host(on_host))
    returned = func._schema.returns
    if len(returned) == 1 and returned[0].alias_info is not None and returned[0].alias_info.is_write:
        return args[0] if args else kwargs["out"]
    if name in ("_local_scalar_dense", "item", "equal", "is_nonzero"):
        return result
    return _on_device(result) if there else result


def _compute(name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the host; products of half precision in float32, which a CPU does many times faster."""
    kinds = {leaf.dtype for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    half = kinds & {torch.bfloat16, torch.float16}
    if name not in _ONE_TYPE or len(half) != 1:
        return func(*args, **kwargs)
    (kind,) = half
    args, kwargs = (_cast(values, kind, torch.float32) for values in (args, kwargs))
    return _cast(func(*args, **kwargs), torch.float32, kind)


def _cast(values: Any, kind: torch.dtype, to: torch.dtype) -> Any:
    return tree_map(lambda value: value.to(to) if isinstance(value, Tensor) and value.dtype == kind else value, values)


def _check(name: str, func: Any, tensors: Sequence[Tensor], kwargs: Mapping[str, Any]) -> None:
    """Raises Mismatch for what CUDA would not take together."""
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise Mismatch(f"a generator of the CPU draws on the device: {name}")
    host = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor)]
    if host and len(host) < len(tensors):
        scalars_too = torch.Tag.pointwise in func.tags or name in _TAKE_SCALARS
        if any(tensor.dim() for tensor in host) or not scalars_too:
            raise Mismatch(f"a tensor of the CPU meets one of the device: {name}")
    floats = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    if name in _ONE_TYPE and len(floats) > 1:
        raise Mismatch(f"{name} of {sorted(map(str, floats))}")


class _EveryOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context in which `cuda:0` is there, on this thread alone."""
    attention, make_tensor = functional.scaled_dot_product_attention, torch.tensor

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Any:
        factors = [tensor for tensor in (query, key, value, attn_mask) if tensor is not None]
        ours = [tensor for tensor in factors if isinstance(tensor, DeviceTensor)]
        if ours and len(ours) < len(factors):
            raise Mismatch("a tensor of the CPU in attention on the device")
        if len({tensor.dtype for tensor in factors if tensor.dtype != torch.bool}) > 1:
            raise Mismatch("attention of several number types")
        result = attention(_on_host(query), _on_host(key), _on_host(value), attn_mask=_on_host(attn_mask), **options)
        return _on_device(result) if ours else result

    def make(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make_tensor(data, **options)
        return made if device is None else made.to(device)

    for owner, name, value in (
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "empty_cache", lambda: None),
        (torch.cuda, "mem_get_info", lambda _=None: (1 << 36, 1 << 36)),
        (torch.cuda, "memory_reserved", lambda _=None: 0),
        (torch.cuda, "memory_allocated", lambda _=None: 0),
        (functional, "scaled_dot_product_attention", attend),
        (torch, "tensor", make),
    ):
        monkeypatch.setattr(owner, name, value)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _EveryOperation():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
        monkeypatch.undo()
