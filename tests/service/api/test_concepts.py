"""/v1/concepts on the real server: created, listed, changed and deleted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.service.conftest import encode_image

if TYPE_CHECKING:
    from tests.conftest import Server

ROUTE = "/v1/concepts"


def make_support(picture: Image.Image, turned: int = 0) -> dict[str, list[str]]:
    """The picture and the mask of its bright stroke, turned by so many degrees."""
    mask = picture.convert("L").point(lambda value: 255 if value > 200 else 0)
    files = [encode_image(image.rotate(turned), "PNG") for image in (picture, mask)]
    image, mask_file = (base64.b64encode(file).decode() for file in files)
    return {"images": [image], "masks": [mask_file]}


@pytest.fixture
def concept(server: Server, picture: Image.Image) -> Iterator[dict[str, Any]]:
    response = server.client.post(ROUTE, json={"name": "stroke", **make_support(picture)})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    yield made
    server.client.delete(f"{ROUTE}/{made['id']}")


def test_a_concept_is_listed_and_found_by_its_id(server: Server, concept: dict[str, Any]) -> None:
    assert (concept["name"], len(concept["shots"])) == ("stroke", 1)
    answer = server.client.get(f"{ROUTE}/{concept['id']}").json()
    assert answer["shots"] == concept["shots"]
    assert concept["id"] in [concept["id"] for concept in server.client.get(ROUTE).json()["concepts"]]


def test_shots_are_added_and_removed(server: Server, concept: dict[str, Any], picture: Image.Image) -> None:
    address = f"{ROUTE}/{concept['id']}"
    larger = server.client.patch(address, json=make_support(picture, 180)).json()
    assert [shot["id"] for shot in larger["shots"]][:1] == [concept["shots"][0]["id"]]
    assert len(larger["shots"]) == 2
    renamed = server.client.patch(address, json={"name": "line", "remove_shots": [concept["shots"][0]["id"]]}).json()
    assert (renamed["name"], renamed["shots"]) == ("line", larger["shots"][1:])


def test_a_change_of_nothing_is_refused(server: Server, concept: dict[str, Any], check_problem: Any) -> None:
    check_problem(server.client.patch(f"{ROUTE}/{concept['id']}", json={}), 422, "invalid-input")


def test_a_deleted_concept_is_gone(server: Server, concept: dict[str, Any], check_problem: Any) -> None:
    address = f"{ROUTE}/{concept['id']}"
    assert server.client.delete(address).status_code == 204
    for response in (server.client.get(address), server.client.delete(address)):
        check_problem(response, 404, "nothing-stored")


@pytest.fixture
def spoiled_concepts(server: Server, concept: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Ids of concepts whose files are damaged, by what is wrong with them."""
    store = server.state.library.concepts
    stored, tensors = store.read(concept["id"])
    old, key = concept["shots"][0]["id"], "feedfacefeedface"  # without a stored bank
    about = {**stored.about, "shots": [{**concept["shots"][0], "id": key}]}
    tensors = {name.replace(old, key): tensor for name, tensor in tensors.items()}
    cut = {name: tensor[: len(tensor) // 2] for name, tensor in tensors.items()}
    other = store.folder / "0123456789abcdef.safetensors"
    folder = store.folder / "0123456789abcde0.safetensors"
    other.write_bytes(b"no safetensors")
    folder.mkdir()
    made = {
        "another version": store.add({"title": "cup"}, tensors).id,
        "picture cut short": store.add(about, cut).id,
        "no picture": store.add(about, {f"mask.{key}": tensors[f"mask.{key}"]}).id,
        "mask of another size": store.add(about, {**tensors, f"mask.{key}": small_mask()}).id,
        "no file of ours": other.name.partition(".")[0],
    }
    yield made
    folder.rmdir()
    for concept_id in made.values():
        store.delete(concept_id)


def small_mask() -> Any:
    return np.frombuffer(encode_image(Image.new("L", (3, 3), 255), "PNG"), np.uint8)


def test_a_damaged_file_is_a_problem_only_for_requests_that_name_it(
    server: Server, concept: dict[str, Any], spoiled_concepts: dict[str, str], check_problem: Any, png: bytes
) -> None:
    listed = server.client.get(ROUTE)
    assert listed.status_code == 200
    assert concept["id"] in [concept["id"] for concept in listed.json()["concepts"]]
    for fault, name in spoiled_concepts.items():
        response = server.client.post("/v1/segmentation/few-shot", files={"image": png}, data={"concepts": name})
        assert check_problem(response, 422, "invalid-input")["hint"], fault
        assert server.client.get(f"{ROUTE}/{name}").status_code in (200, 422), fault
        assert server.client.patch(f"{ROUTE}/{name}", json={"name": "other"}).status_code in (200, 422), fault
    control = '<BrushLabels name="b" toName="i"><Label value="stroke"/></BrushLabels>'
    kinds = f'<View><Image name="i" value="$i"/>{control}</View>'
    assert server.client.post("/label-studio/setup", json={"schema": kinds}).status_code == 200


@pytest.mark.field
def test_a_mask_with_transparency_covers_what_is_painted(server: Server, picture: Image.Image) -> None:
    paint = Image.new("L", picture.size, 0)
    paint.paste(255, (0, 0, picture.width // 2, picture.height))
    mask = Image.merge("LA", (Image.new("L", picture.size, 255), paint))
    files = [("image", encode_image(picture, "PNG")), ("mask", encode_image(mask, "PNG"))]
    made = server.client.post(ROUTE, data={"name": "half"}, files=files).json()
    assert made["shots"][0]["share"] == pytest.approx(0.5, abs=0.02)
    server.client.delete(f"{ROUTE}/{made['id']}")
    supports = [("image", files[0][1]), ("support_image", files[0][1]), ("support_mask", files[1][1])]
    assert server.client.post("/v1/segmentation/few-shot", files=supports).json()["notes"] == []
