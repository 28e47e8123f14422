"""The compose files: a GPU, a read-only container, ports on loopback, and a description of every variable."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.settings.groups import JobSettings, LimitSettings
from service.settings.loader import Settings, variables
from tests.docker.stack import DOCKER, STACKS, example_variables, find_variables, read, stack, with_defaults

TEXTS = {path.name: path.read_text() for path in sorted(DOCKER.glob("compose*.yaml"))}
TAKEN = {name: default for text in TEXTS.values() for name, default in find_variables(text).items()}
SETTINGS = {name: field for name, field in variables()}
EXTRAS = ("postgres", "prometheus", "grafana", "caddy")


@pytest.fixture(params=STACKS)
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    return stack(request.param)


def test_the_gpu_stack_reserves_one_gpu_and_refuses_to_run_without() -> None:
    service = stack("compose.yaml")["diffsight"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert len(device["device_ids"]) == 1
    assert service["environment"]["DIFFSIGHT_DEVICE"] == "cuda"


def test_the_cpu_stack_asks_for_no_gpu_and_builds_with_the_cpu_torch() -> None:
    service = stack("compose.cpu.yaml")["diffsight"]
    assert "deploy" not in service
    assert service["environment"]["DIFFSIGHT_DEVICE"] == "cpu"
    assert service["build"]["args"]["TORCH"].endswith("+cpu")


def test_every_container_is_closed(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert with_defaults(str(service["read_only"])).lower() == "true", name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
        assert service["restart"] == "unless-stopped", name


def test_the_service_runs_as_its_own_user_and_writes_to_its_volume_and_tmp_only(services: dict[str, Any]) -> None:
    service = services["diffsight"]
    assert service["user"] == "10001:10001"
    assert service["volumes"] == ["models:/models"]
    assert [place.split(":")[0] for place in service["tmpfs"]] == ["/tmp"]
    assert "cap_add" not in service


def test_the_service_and_the_database_have_health_checks(services: dict[str, Any]) -> None:
    assert "/health/ready" in services["diffsight"]["healthcheck"]["test"][-1]
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"]


def test_only_the_proxy_is_published_beyond_loopback(services: dict[str, Any]) -> None:
    beyond = {
        name
        for name, service in services.items()
        for port in service.get("ports", ())
        if not with_defaults(port).startswith("127.0.0.1:")
    }
    assert beyond == {"caddy"}


def test_the_ports_and_addresses_inside_agree(services: dict[str, Any]) -> None:
    service = services["diffsight"]
    port = service["environment"]["DIFFSIGHT_PORT"]
    assert service["ports"][0].endswith(f":{port}")
    assert f"127.0.0.1:{port}/" in service["healthcheck"]["test"][-1]
    assert f"reverse_proxy diffsight:{port} " in (DOCKER / "caddy/Caddyfile").read_text()
    assert f'"diffsight:{port}"' in (DOCKER / "prometheus/prometheus.yml").read_text()


@pytest.mark.parametrize("name", EXTRAS)
def test_extra_services_start_only_with_a_profile(name: str) -> None:
    (profile,) = stack("compose.yaml")[name]["profiles"]
    assert profile == {"postgres": "postgres", "caddy": "tls"}.get(name, "observability")


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert tag not in ("", "latest", service["image"]), name


def test_every_named_volume_is_declared() -> None:
    for name in STACKS:
        declared = set(read(name)["volumes"]) | set(read("compose.extras.yaml")["volumes"])
        used = {
            volume.split(":")[0]
            for service in stack(name).values()
            for volume in service.get("volumes", ())
            if not volume.startswith(".")
        }
        assert used == declared


def test_every_mounted_file_exists() -> None:
    for service in stack("compose.yaml").values():
        for volume in service.get("volumes", ()):
            if volume.startswith("."):
                assert (DOCKER / volume.split(":")[0]).exists(), volume


def test_every_variable_that_a_file_takes_is_in_the_example() -> None:
    assert set(TAKEN) <= set(example_variables())


def test_every_variable_of_the_example_is_taken_or_is_a_setting_or_the_hubs() -> None:
    allowed = set(TAKEN) | set(SETTINGS) | {"HF_TOKEN"}
    assert set(example_variables()) <= allowed


def test_the_example_shows_the_defaults() -> None:
    for name, shown in example_variables().items():
        if name in TAKEN:
            assert shown == TAKEN[name], name
        elif name in SETTINGS:
            default = SETTINGS[name].get_default(call_default_factory=True)
            written = str(default).lower() if isinstance(default, bool) else str(default)
            assert shown == ("" if default is None else written), name


def test_every_variable_of_the_example_is_explained() -> None:
    explained = False
    for line in (DOCKER / ".env.example").read_text().splitlines():
        if re.match(r"# (?!---)", line):
            explained = True
        elif re.match(r"#?[A-Z_0-9]+=", line):
            assert explained, line
        else:
            explained = False


def test_settings_of_the_containers_exist(services: dict[str, Any]) -> None:
    names = {name for name in services["diffsight"]["environment"] if name.startswith("DIFFSIGHT_")}
    assert names <= set(SETTINGS)


def test_no_secret_has_a_default() -> None:
    assert {name: TAKEN[name] for name in TAKEN if "PASSWORD" in name} == {
        "POSTGRES_PASSWORD": "",
        "GRAFANA_PASSWORD": "",
    }
    assert {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"} <= set(stack("compose.yaml")["diffsight"]["environment"])


def test_a_profile_that_is_off_needs_no_variable() -> None:
    # Compose interpolates all services, also those whose profile is off: `${NAME:?}` would stop every user.
    assert not [name for name, text in TEXTS.items() if re.search(r"\$\{\w+:?\?", text)]


def test_the_proxy_and_the_service_refuse_the_same_body() -> None:
    default = LimitSettings().max_upload_bytes
    assert TAKEN["DIFFSIGHT_LIMITS__MAX_UPLOAD_BYTES"] == str(default)
    proxy = (DOCKER / "caddy/Caddyfile").read_text()
    assert f"max_size {{$MAX_UPLOAD_BYTES:{default}}}" in proxy
    of_jobs = JobSettings().max_upload_bytes
    assert TAKEN["DIFFSIGHT_JOBS__MAX_UPLOAD_BYTES"] == str(of_jobs)
    assert f"max_size {{$MAX_JOB_BYTES:{of_jobs}}}" in proxy


def test_docker_waits_longer_than_the_server_finishes() -> None:
    grace = int(TAKEN["STOP_GRACE"].removesuffix("s"))
    assert grace > Settings.model_fields["shutdown_seconds"].default


def test_secrets_are_not_tracked() -> None:
    assert ".env" in (DOCKER / ".gitignore").read_text().splitlines()
