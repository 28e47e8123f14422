"""/v2 by Triton's own client: states, versions, tensors in both forms, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.conftest import Server, StartServer


def client_of(server: Server) -> Any:
    return triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=120)


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return client_of(server)


def tensor(name: str, values: Any, datatype: str = "BYTES", *, binary: bool = True) -> Any:
    array = np.array(values, dtype=object) if datatype == "BYTES" else np.asarray(values)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_the_server_and_its_models_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("depth")
    assert client.is_model_ready("depth", "pocket")
    assert not client.is_model_ready("nothing")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("depth", "pocket")["versions"] == ["pocket"]
    assert {"name": "depth", "version": "pocket", "state": "READY", "reason": ""} in client.get_model_repository_index()


def test_pixels_a_file_and_base64_are_the_same_image(client: Any, picture: Image.Image, png: bytes) -> None:
    pixels = np.asarray(picture)
    images = [
        tensor("image", [png]),
        tensor("image", [base64.b64encode(png).decode()], binary=False),
        tensor("image", pixels, "UINT8"),
        tensor("image", pixels[None], "UINT8", binary=False),
    ]
    maps = [client.infer("depth", [image]).as_numpy("depth") for image in images]
    assert maps[0].shape == (30, 40)
    assert all((depth_map == maps[0]).all() for depth_map in maps)


def test_outputs_come_in_the_form_that_is_requested(client: Any, png: bytes) -> None:
    outputs = [triton.InferRequestedOutput("boxes", binary_data=False), triton.InferRequestedOutput("answer")]
    inputs = [tensor("image", [png]), tensor("boxes", [[2.0, 0.0, 12.0, 16.0]], "FP64")]
    result = client.infer("pose", inputs, model_version="pocket", outputs=outputs, request_id="mine", priority=2)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("mine", "pose", "pocket")
    assert [output["name"] for output in response["outputs"]] == ["boxes", "answer"]
    assert result.as_numpy("boxes").tolist() == [[2.0, 0.0, 12.0, 16.0]]
    assert json.loads(result.as_numpy("answer")[0])["persons"][0]["bbox"] == [2.0, 0.0, 12.0, 16.0]


def test_options_go_as_parameters_and_texts_alone(client: Any, png: bytes) -> None:
    image = tensor("image", [png])
    direct = client.infer("referring", [image, tensor("expression", ["the stroke"])], parameters={"threshold": 0.4})
    listed = client.infer("referring", [image], parameters={"expressions": '["the stroke"]', "threshold": 0.4})
    assert (direct.as_numpy("masks") == listed.as_numpy("masks")).all()


@pytest.fixture(scope="module")
def refusals(client: Any, png: bytes) -> dict[str, Callable[[], Any]]:
    image = tensor("image", [png])

    def infer(*inputs: Any, model: str = "depth", **request: Any) -> Callable[[], Any]:
        return lambda: client.infer(model, list(inputs), **request)

    return {
        "[404] this server has no model 'nothing'": infer(image, model="nothing"),
        "[404] this server has no model 'other'": infer(image, model_version="other"),
        "[422] 'x' is not an output; choose from depth, answer": infer(
            image, outputs=[triton.InferRequestedOutput("x")]
        ),
        "[422] 'classification' is not supported": infer(
            image, outputs=[triton.InferRequestedOutput("depth", class_count=3)]
        ),
        "[422] the request has no image; send an input `image`": infer(tensor("scene", ["kitchen"])),
        "[422] 2 images; depth takes one": infer(tensor("image", [png, png])),
        "[422] FP32 of the shape [2, 2, 3]": infer(tensor("image", np.zeros((2, 2, 3), np.float32), "FP32")),
        "[422] no pixels in [0, 2, 3]": infer(tensor("image", np.zeros((0, 2, 3), np.uint8), "UINT8")),
        "[422] 3 bytes that are no image": infer(tensor("image", [b"abc"])),
        "[422] image.0: The text is not base64": infer(tensor("image", ["?"], binary=False)),
        "[422] it is sent twice": infer(image, image),
        "[422] it is an input and a parameter": infer(image, tensor("flip", [True], "BOOL"), parameters={"flip": True}),
        "[422] it is not text in UTF-8": infer(image, tensor("scene", [b"\xff"])),
        "[422] wrong: Unknown field": infer(image, parameters={"wrong": 1}),
        "[422] no task here has sequences": infer(image, sequence_id=5),
        "[422] it is not a whole number": infer(image, timeout=1.5),
        "[504] not done within 1e-06 seconds": infer(image, timeout=1),
        "[415] Content-Encoding 'gzip' is not read": infer(image, request_compression_algorithm="gzip"),
        "[422] models cannot be uploaded or changed by this route: 'config'": lambda: client.load_model(
            "depth", config="{}"
        ),
        "[404] this server has no model 'other'; its models are: pocket": lambda: client.unload_model("other"),
    }


def test_an_invalid_request_is_refused_with_the_reason(refusals: dict[str, Callable[[], Any]]) -> None:
    for reason, call in refusals.items():
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert str(refused.value).startswith(reason), f"{refused.value} is not {reason}"


def test_a_body_that_is_no_json_is_no_fault(server: Server) -> None:
    for content, status in ((b"", 400), (b"{", 400), (b"[]", 422), (b"\xff", 400), (b'{"inputs":[]}', 422)):
        refused = server.client.post("/v2/models/depth/infer", content=content)
        assert refused.status_code == status
        assert refused.json()["error"]


def test_a_model_is_unloaded_and_loaded_again(start_server: StartServer, tmp_path: Path, png: bytes) -> None:
    client = client_of(start_server(data_folder=tmp_path))
    client.unload_model("depth", unload_dependents=True)
    assert not client.is_model_ready("depth")
    states = {entry["state"] for entry in client.get_model_repository_index()}
    assert states == {"UNAVAILABLE"}
    client.load_model("pocket")
    assert client.is_model_ready("depth")
