"""The committed document is that of the app, is valid, and agrees with the app."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import validate

from diffsight.openapi_document import COMMITTED

if TYPE_CHECKING:
    from tests.conftest import Server

DOCUMENT: dict[str, Any] = json.loads(Path(COMMITTED).read_text(encoding="utf-8"))
TASKS = (
    "/v1/classify/zero-shot",
    "/v1/features",
    "/v1/depth",
    "/v1/segmentation",
    "/v1/segmentation/referring",
    "/v1/pose",
)


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    named: dict[str, Any] = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return named


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_server_serves_the_same_document(server: Server) -> None:
    assert server.client.get("/openapi.json").json() == DOCUMENT


def test_operation_ids_are_the_names_of_the_endpoints() -> None:
    ids = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)
    assert all(key.isidentifier() for key in ids)
    assert {"features", "few_shot_segmentation", "make_concept", "models", "pose", "ready", "zero_shot"} <= set(ids)


@pytest.mark.parametrize("route", TASKS)
def test_a_task_route_shows_its_bodies_and_its_problems(route: str) -> None:
    operation = DOCUMENT["paths"][route]["post"]
    assert operation["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
    assert "parameters" not in operation
    problems = {"401", "403", "408", "413", "415", "422", "429", "503", "504", "507"}
    assert operation["responses"].keys() == {"200", "default"} | problems
    for status, response in operation["responses"].items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("route", TASKS)
def test_the_examples_can_be_sent_as_they_stand(server: Server, route: str) -> None:
    body = DOCUMENT["paths"][route]["post"]["requestBody"]["content"]["application/json"]["example"]
    answer = server.client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    schema = DOCUMENT["paths"][route]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(resolve(schema)["required"]) <= answer.json().keys()


@pytest.mark.parametrize("route", TASKS)
def test_form_and_query_take_the_options_of_the_json_body(route: str) -> None:
    content = DOCUMENT["paths"][route]["post"]["requestBody"]["content"]
    options = resolve(content["application/json"]["schema"])["properties"].keys() - {"image", "images"}
    alone = DOCUMENT["paths"][f"{route}/image"]["post"]
    assert {parameter["name"] for parameter in alone["parameters"]} == options
    assert resolve(content["multipart/form-data"]["schema"])["properties"].keys() == options | {"image"}
    upload = DOCUMENT["paths"][f"{route}/upload"]["post"]
    assert upload["requestBody"]["content"] == {"multipart/form-data": content["multipart/form-data"]}


def test_the_document_says_how_keys_are_sent_and_where_no_key_is_needed() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("name", scheme.get("scheme"))) for scheme in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    open_routes = {
        path for path, methods in DOCUMENT["paths"].items() for method in methods.values() if not method["security"]
    }
    assert open_routes == {"/health/live", "/health/ready"}


def test_a_problem_has_the_documented_fields(server: Server) -> None:
    documented = DOCUMENT["components"]["schemas"]["Problem"]["properties"].keys()
    assert server.client.get("/nowhere").json().keys() == documented


OPERATIONS = [(path, operation) for path, methods in DOCUMENT["paths"].items() for operation in methods.values()]


def test_an_operation_has_one_kind_of_answer_and_beside_json_one_kind_of_body() -> None:
    """Generators of clients know no more."""
    for path, operation in OPERATIONS:
        (answer,) = [response for status, response in operation["responses"].items() if status.startswith("2")]
        kinds = answer.get("content", {}).keys() - {"application/octet-stream"}
        assert len(kinds) <= 1, path
        bodies = list(operation.get("requestBody", {}).get("content", {}))
        assert {*bodies} <= {"application/json", "multipart/form-data", "application/octet-stream"}, path
        if not path.startswith(("/v1/", "/health/")):
            continue  # other servers' own clients call these
        assert len(bodies) <= 1 or bodies == ["application/json", "multipart/form-data"], path


def test_options_that_a_body_has_too_declare_no_default_in_the_query() -> None:
    """Generated clients send declared defaults with every request, and a JSON body takes no query."""
    declared = [
        (path, parameter["name"])
        for path, operation in OPERATIONS
        if "requestBody" in operation
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and "default" in parameter["schema"]
    ]
    assert declared == []


def test_files_are_binary_wherever_they_go() -> None:
    files = 0

    def look(schema: Any) -> None:
        nonlocal files
        if isinstance(schema, dict):
            kind = schema.get("contentMediaType")
            if kind is not None and "contentEncoding" not in schema and kind != "application/json":
                assert schema.get("format") == "binary", schema
                files += 1
            for inner in schema.values():
                look(inner)
        elif isinstance(schema, list):
            for inner in schema:
                look(inner)

    look(DOCUMENT)
    assert files > 20
