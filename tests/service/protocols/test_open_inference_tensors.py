"""Tensors in JSON and behind it, whole and hostile."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from backbones.errors import InvalidInput
from service.protocols.open_inference_tensors import (
    NUMBERS,
    InputTensor,
    datatype_of,
    read_tensors,
    split_body,
    text_array,
    write_outputs,
)
from service.settings.groups import LimitSettings

LIMITS = LimitSettings()


def read(binary: bytes = b"", **fields: Any) -> Any:
    tensor = InputTensor.model_validate({"name": "x", "shape": [2], "datatype": "FP32", **fields})
    (array,) = read_tensors([tensor], binary, LIMITS)
    return array.values


def behind(size: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("binary", [True, False])
def test_numbers_of_every_type_come_back_as_they_are(datatype: str, binary: bool) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], NUMBERS[datatype])
    body, length = write_outputs({"id": "7"}, {"x": array}, {"x": binary})
    head, rest = split_body(body, None if length is None else str(length))
    (described,) = json.loads(head)["outputs"]
    (tensor,) = read_tensors([InputTensor.model_validate(described)], rest, LIMITS)
    assert (tensor.datatype, tensor.shape) == (datatype, (2, 3))
    assert isinstance(tensor.values, np.ndarray)
    assert tensor.values.dtype == array.dtype
    assert (tensor.values == array).all()


def test_texts_come_back_in_both_forms() -> None:
    texts = text_array(["", "é", "a b"])
    assert datatype_of(texts) == "BYTES"
    body, length = write_outputs({}, {"x": texts, "y": texts}, {"x": True})
    assert length is not None
    x, y = json.loads(body[:length])["outputs"]
    assert y["data"] == ["", "é", "a b"]
    assert read(body[length:], **{**x, "name": "x"}) == [b"", "é".encode(), b"a b"]


def test_lists_in_the_shape_are_read_as_flat_ones() -> None:
    assert read(shape=[2, 2], data=[[1, 2], [3, 4]]).tolist() == read(shape=[2, 2], data=[1, 2, 3, 4]).tolist()


@pytest.mark.parametrize(
    ("fields", "binary", "reason"),
    [
        ({"data": [1.0]}, b"", "1 values do not fill the shape"),
        ({"data": [1.0, [2.0]]}, b"", "values that are no FP32"),
        ({"data": [[1.0], 2.0]}, b"", "lists stand beside values"),
        ({"data": [1.5, 2], "datatype": "UINT8"}, b"", "no UINT8"),
        ({"data": [1, 256], "datatype": "UINT8"}, b"", "beyond UINT8"),
        ({"data": [1, 10**400]}, b"", "beyond FP32"),
        ({"data": [True, 2], "datatype": "INT8"}, b"", "no INT8"),
        ({"data": [1, 2], "datatype": "BYTES"}, b"", "BYTES in JSON are texts"),
        ({"data": [1, 2], "datatype": "BF16"}, b"", "the datatype 'BF16'"),
        ({}, b"", "either data or binary_data_size"),
        ({"data": [1, 2], **behind(8)}, b"0" * 8, "either data or binary_data_size"),
        (behind(8), b"0" * 4, "4 bytes are left"),
        ({"shape": [1], **behind(4)}, b"0" * 8, "4 bytes behind the JSON belong to no input"),
        (behind(-1), b"0" * 8, "binary_data_size -1"),
        ({"parameters": {"binary_data_size": "8"}}, b"0" * 8, "binary_data_size 8"),
        (behind(7), b"0" * 7, "no whole number of FP32"),
        ({"parameters": {"shared_memory_region": "x"}}, b"", "shared memory is not read"),
        ({"datatype": "BYTES", **behind(4)}, struct.pack("<I", 9), "not 2 elements"),
        ({"datatype": "BYTES", "shape": [2**31, 2**31], **behind(0)}, b"", "elements; one input takes"),
        ({"shape": [0, 2**31, 2**31, 2**31], **behind(0)}, b"", "the shape"),
    ],
)
def test_an_invalid_tensor_is_refused_with_the_reason(fields: dict[str, Any], binary: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(binary, **fields)
    assert reason in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("header", ["x", "-1", "9", "1" * 5000, "²"])
def test_a_length_that_the_body_has_not_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="of a body of 2 bytes"):
        split_body(b"{}", header)


@given(
    st.binary(max_size=60),
    st.sampled_from(["BYTES", *NUMBERS, "", "FP99"]),
    st.lists(st.integers(-1, 2**33), max_size=9),
    st.integers(-3, 70) | st.none(),
    st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=6),
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(binary: bytes, datatype: str, shape: Any, size: Any, data: Any) -> None:
    fields = {"name": "x", "shape": shape, "datatype": datatype, "data": data if isinstance(data, list) else None}
    try:
        tensor = InputTensor.model_validate({**fields, **({} if size is None else behind(size))})
        read_tensors([tensor], binary, LIMITS)
    except (InvalidInput, ValidationError):
        pass
