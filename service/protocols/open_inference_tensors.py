"""Convert tensors of the Open Inference Protocol: as JSON, or as bytes after it (the binary extension)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from backbones.errors import InvalidInput
from service.settings.groups import LimitSettings

HEADER = "Inference-Header-Content-Length"
"""Header with the number of a body's bytes that are JSON; the binary data of its tensors follow."""

BYTES = "BYTES"
NUMBERS: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_MOST_DIMENSIONS = 8
_DIMENSION = Annotated[int, Field(ge=0, le=2**31)]
_NAME = Annotated[str, Field(min_length=1, max_length=200)]
_PYTHON = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}
_BINARY = "binary_data_size"


class InputTensor(BaseModel):
    """An input tensor."""

    model_config = ConfigDict(extra="forbid")

    name: _NAME
    shape: list[_DIMENSION] = Field(max_length=_MOST_DIMENSIONS)
    datatype: str = Field(max_length=20, description=f"{BYTES}, {', '.join(NUMBERS)}.")
    parameters: dict[str, Any] = Field(
        default={}, description=f"`{_BINARY}`: number of the tensor's bytes that follow the JSON."
    )
    data: list[Any] | None = Field(
        default=None, description="Values of the tensor: a flat list, or nested lists of its shape."
    )


class RequestedOutput(BaseModel):
    """An output tensor."""

    model_config = ConfigDict(extra="forbid")

    name: _NAME
    parameters: dict[str, Any] = Field(
        default={}, description="`binary_data`: whether the tensor's bytes follow the JSON, instead of values in it."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor that was sent.

    values: its numbers, in its shape; or the elements of BYTES, flat: bytes, or texts if they came in JSON.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[bytes] | list[str]


def split_body(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    """The JSON of a body, and the bytes after it. header: the value of `HEADER`. Raises InvalidInput."""
    if header is None:
        return body, b""
    length = int(header) if header.isascii() and header.isdigit() and len(header) < 16 else -1
    if not 0 <= length <= len(body):
        hint = "send the number of bytes of the JSON that the body begins with"
        raise InvalidInput(HEADER, f"{header[:50]!r} of a body of {len(body):,} bytes", hint=hint)
    return body[:length], body[length:]


def read_tensors(inputs: Sequence[InputTensor], binary: bytes, limits: LimitSettings) -> list[Tensor]:
    """The tensors of a request. binary: the bytes after its JSON, in the order of the tensors. Raises InvalidInput."""
    tensors = []
    place = 0
    for tensor in inputs:
        if any(name.startswith("shared_memory") for name in tensor.parameters):
            raise InvalidInput(tensor.name, "shared memory is not read", hint="send the data in the body")
        if tensor.datatype != BYTES and tensor.datatype not in NUMBERS:
            raise InvalidInput(
                tensor.name, f"the datatype {tensor.datatype!r}", hint=f"send {BYTES} or {', '.join(NUMBERS)}"
            )
        size = tensor.parameters.get(_BINARY)
        if (size is None) == (tensor.data is None):
            raise InvalidInput(tensor.name, "it needs either data or binary_data_size", hint="send one of them")
        if size is None:
            tensors.append(_from_json(tensor))
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary) - place:
            message = f"binary_data_size {str(size)[:50]}, and {len(binary) - place:,} bytes are left"
            raise InvalidInput(tensor.name, message, hint="send its bytes behind the JSON, in the order of the inputs")
        tensors.append(_from_binary(tensor, binary[place : place + size], limits))
        place += size
    if place != len(binary):
        hint = f"name each input's bytes by its parameter binary_data_size, and the JSON's by {HEADER}"
        raise InvalidInput("inputs", f"{len(binary) - place:,} bytes behind the JSON belong to no input", hint=hint)
    return tensors


def _from_json(tensor: InputTensor) -> Tensor:
    values: list[Any] = tensor.data or []
    for _ in range(_MOST_DIMENSIONS):
        if not values or not isinstance(values[0], list):
            break
        if not all(isinstance(value, list) for value in values):
            raise InvalidInput(tensor.name, "lists stand beside values", hint="send the values flat")
        values = list(chain.from_iterable(values))
    _check_count(tensor, len(values))
    if tensor.datatype == BYTES:
        if not all(isinstance(value, str) for value in values):
            raise InvalidInput(tensor.name, "BYTES in JSON are texts", hint="send images in base64")
        return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), values)
    dtype = NUMBERS[tensor.datatype]
    if not all(type(value) in _PYTHON[dtype.kind] for value in values):
        raise InvalidInput(tensor.name, f"it has values that are no {tensor.datatype}", hint="send plain numbers")
    try:
        with np.errstate(all="ignore"):
            array = np.array(values, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            tensor.name, f"it has values beyond {tensor.datatype}", hint="send another datatype"
        ) from error
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), _reshape(tensor, array))


def _from_binary(tensor: InputTensor, data: bytes, limits: LimitSettings) -> Tensor:
    if tensor.datatype == BYTES:
        if (count := prod(tensor.shape)) > limits.max_json_values:
            message = f"{count:,} elements; one input takes {limits.max_json_values:,}"
            raise InvalidInput(tensor.name, message, hint="send fewer")
        return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), _split_elements(tensor, data, count))
    dtype = NUMBERS[tensor.datatype]
    if len(data) % dtype.itemsize:
        raise InvalidInput(
            tensor.name, f"{len(data):,} bytes are no whole number of {tensor.datatype}", hint="send them all"
        )
    _check_count(tensor, len(data) // dtype.itemsize)
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype)
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), _reshape(tensor, array.astype(dtype, copy=False)))


def _reshape(tensor: InputTensor, array: NDArray[Any]) -> NDArray[Any]:
    try:
        return array.reshape(tensor.shape)
    except ValueError as error:  # a shape without values may still exceed the largest array
        raise InvalidInput(tensor.name, f"the shape {tensor.shape}", hint="send the shape of the data") from error


def _split_elements(tensor: InputTensor, data: bytes, count: int) -> list[bytes]:
    """The elements of BYTES, each behind its length in four bytes."""
    elements = []
    place = 0
    for _ in range(count):
        end = place + 4
        length = struct.unpack("<I", data[place:end])[0] if end <= len(data) else len(data)
        place = end + length
        if place > len(data):
            break
        elements.append(data[end:place])
    if len(elements) < count or place != len(data):
        hint = "send each element behind its length, a little-endian number of four bytes"
        raise InvalidInput(tensor.name, f"its bytes are not {count:,} elements", hint=hint)
    return elements


def _check_count(tensor: InputTensor, count: int) -> None:
    if count != prod(tensor.shape):
        raise InvalidInput(tensor.name, f"{count:,} values do not fill the shape {tensor.shape}", hint="send them all")


def datatype_of(array: NDArray[Any]) -> str:
    """The protocol's name of an array's number type; BYTES for texts."""
    if array.dtype.kind in "OU":
        return BYTES
    return next(name for name, dtype in NUMBERS.items() if dtype == array.dtype)


def text_array(texts: Sequence[str]) -> NDArray[Any]:
    """Texts as an array of BYTES, (N,)."""
    array = np.empty(len(texts), dtype=object)
    array[:] = list(texts)
    return array


def write_outputs(
    envelope: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]], binary: Mapping[str, bool]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON; None if all are.

    envelope: further members. binary: which tensors follow the JSON.
    """
    described, parts = [], []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if binary.get(name, False):
            parts.append(_pack(array))
            tensor["parameters"] = {_BINARY: len(parts[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    head = to_json({**envelope, "outputs": described})
    return b"".join([head, *parts]), len(head) if parts else None


def _pack(array: NDArray[Any]) -> bytes:
    if datatype_of(array) != BYTES:
        return np.ascontiguousarray(array).tobytes()
    elements = [str(text).encode("utf-8", "replace") for text in array.ravel().tolist()]
    return b"".join(piece for element in elements for piece in (struct.pack("<I", len(element)), element))
