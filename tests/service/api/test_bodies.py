"""Request bodies in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.api.bodies import drop_null, request_bodies
from service.inputs.request_body import ImageBytes


class Rounds(BaseModel):
    """An object among the options."""

    count: int


class Body(BaseModel):
    """An image with options."""

    image: ImageBytes
    name: str = Field(description="What to call it.")
    limit: int | None = Field(default=None, ge=1, description="At most.")
    rounds: Rounds | str | None = Field(default=None, description="How.")


def content(**options: Any) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """The bodies by their kinds, the schema of the form, and the query."""
    document = request_bodies(Body, curl="-F image=@a.png", **options)
    return document["requestBody"]["content"], document["x-schemas"]["BodyForm"], document["parameters"]


def test_null_is_not_offered_for_an_option_that_may_be_left_out() -> None:
    limit = drop_null(Body.model_json_schema())["properties"]["limit"]
    assert (limit["type"], limit["minimum"]) == ("integer", 1)
    assert "default" not in limit
    assert "anyOf" not in limit


def test_a_form_a_json_body_and_the_image_alone_take_the_same_options() -> None:
    bodies, form, parameters = content()
    assert bodies.keys() == {"multipart/form-data", "application/json", "image/*"}
    assert bodies["multipart/form-data"]["schema"] == {"$ref": "#/components/schemas/BodyForm"}
    assert form["required"] == ["image", "name"]
    assert {parameter["name"] for parameter in parameters} == form["properties"].keys() - {"image"}
    (rounds,) = [parameter for parameter in parameters if parameter["name"] == "rounds"]
    assert rounds["schema"] == {"type": "string"}


def test_parameters_of_the_path_are_not_in_the_body() -> None:
    bodies, form, parameters = content(hidden=["name"], raw=False)
    assert bodies.keys() == {"multipart/form-data", "application/json"}
    assert "name" not in form["properties"]
    assert parameters == []
