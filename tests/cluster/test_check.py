"""A short `make ray-check`: nodes, replicas and commands die on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from tests.cluster.data_check import check_data
from tests.cluster.serve_check import check_serve


@pytest.mark.slow
def test_a_job_whose_command_and_node_are_killed_ends_as_one_of_a_single_server(tmp_path: Path) -> None:
    assert "exactly 24 results, none twice" in check_data(tmp_path, images=24, part=2)


def test_requests_are_answered_while_a_replica_is_killed(tmp_path: Path) -> None:
    assert "a concept found by both replicas" in check_serve(tmp_path, requests=30, clients=6)
