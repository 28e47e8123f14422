"""What `diffsight serve --ray` refuses before it looks for a cluster."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from diffsight.cli.serve_ray import read_replicas, serve_on_cluster
from service.settings.loader import load_settings


def test_replicas_are_a_number_or_as_many_as_are_wanted() -> None:
    assert (read_replicas("auto"), read_replicas("3")) == (None, 3)
    for text in ("0", "-1", "many", "1.5"):
        with pytest.raises(InvalidInput, match="replicas"):
            read_replicas(text)


def test_a_free_port_can_not_be_taken_on_several_machines() -> None:
    with pytest.raises(InvalidInput, match="same port"):
        serve_on_cluster(load_settings(None, port=0), "local", "1")
