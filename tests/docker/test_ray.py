"""The compose file and the manifests of a Ray cluster: the same shared folders, and names that exist."""

from __future__ import annotations

import json
import re
import shlex
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from diffsight.cli import app
from service.cluster.ray_package import NODE_ENVIRONMENT
from service.settings.loader import variables
from tests.docker.stack import DOCKER, read, with_defaults

SCHEMA = json.loads(Path(__file__).with_name("kuberay.schema.json").read_text())
MANIFESTS = sorted((DOCKER / "kuberay").glob("*.yaml"))
SETTINGS = {name for name, _ in variables()}
SHARED = {"DIFFSIGHT_MODELS_FOLDER", "DIFFSIGHT_DATA_FOLDER"}


def containers_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of head and workers."""
    spec = manifest["spec"]
    cluster = spec.get("rayClusterConfig") or spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.name)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return content


def test_a_manifest_has_the_fields_of_kuberay(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, SCHEMA)


def test_a_misspelt_field_is_found(manifest: dict[str, Any]) -> None:
    wrong = deepcopy(manifest)
    cluster = wrong["spec"].get("rayClusterConfig") or wrong["spec"]["rayClusterSpec"]
    cluster["workerGroupSpec"] = cluster.pop("workerGroupSpecs")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_every_container_has_the_same_settings_and_sees_the_shared_volume(manifest: dict[str, Any]) -> None:
    environments = [
        {variable["name"]: variable for variable in container["env"]} for container in containers_of(manifest)
    ]
    assert all(variable == environments[0] for variable in environments)
    names = set(environments[0])
    assert {name for name in names if name.startswith("DIFFSIGHT_")} <= SETTINGS
    assert names >= SHARED | {"RAY_worker_niceness"}
    assert all(
        any(mount["mountPath"] == "/models" for mount in container["volumeMounts"])
        for container in containers_of(manifest)
    )


def test_the_service_of_kubernetes_has_what_every_node_needs() -> None:
    manifest = yaml.safe_load((DOCKER / "kuberay/service.yaml").read_text())
    for container in containers_of(manifest):
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert environment.items() >= NODE_ENVIRONMENT.items()
        assert "DIFFSIGHT_JOBS__DATABASE" in environment


def test_the_config_of_serve_is_one_by_rays_own_schema() -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="the extra `ray` is not installed")
    from service.cluster.ray_serve import ServeOptions, application

    manifest = yaml.safe_load((DOCKER / "kuberay/service.yaml").read_text())
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (app,) = config.applications
    assert app.import_path == f"{application.__module__}:{application.__name__}"
    ServeOptions.model_validate(app.args)
    assert manifest["spec"]["rayClusterConfig"]["rayVersion"] == version("ray")


def test_the_job_of_kubernetes_gives_a_command_that_exists() -> None:
    manifest = yaml.safe_load((DOCKER / "kuberay/job.yaml").read_text())
    program, *words = shlex.split(manifest["spec"]["entrypoint"])
    assert program == "diffsight"
    command: Any = typer.main.get_command(app)
    annotate = command.get_command(None, words[0])
    options = {name for parameter in annotate.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_compose_has_head_and_workers_that_are_closed_and_share_everything() -> None:
    services = read("compose.ray.yaml")["services"]
    assert set(services) == {"ray-head", "ray-worker"}
    assert services["ray-head"]["environment"] == services["ray-worker"]["environment"]
    for name, service in services.items():
        environment = service["environment"]
        assert environment.items() >= NODE_ENVIRONMENT.items(), name
        assert {variable for variable in environment if variable.startswith("DIFFSIGHT_")} <= SETTINGS, name
        assert environment["DIFFSIGHT_JOBS__DATABASE"].startswith("postgresql+psycopg://"), name
        assert service["volumes"] == ["models:/models"], name
        assert service["profiles"] == ["ray"], name
        assert with_defaults(str(service["read_only"])).lower() == "true", name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["user"] == "10001:10001", name
        assert set(service["build"]["args"]["EXTRAS"].split(",")) >= {"ray", "postgres"}, name


def test_compose_reserves_the_gpus_for_the_workers_and_publishes_the_head_on_loopback() -> None:
    services = read("compose.ray.yaml")["services"]
    (device,) = services["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", "all", ["gpu"])
    assert "deploy" not in services["ray-head"]
    assert "ports" not in services["ray-worker"]
    (port,) = services["ray-head"]["ports"]
    assert with_defaults(port) == "127.0.0.1:8000:8000"
    assert re.search(r"diffsight serve --ray auto --replicas", services["ray-head"]["entrypoint"][-1])
