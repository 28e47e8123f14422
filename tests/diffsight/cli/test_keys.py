"""`diffsight keys` and the loopback rule of `diffsight serve`, as installed commands."""

from __future__ import annotations

import json

import pytest

from tests.diffsight.command import diffsight


def test_a_key_is_printed_once_and_listed_without_its_secret(keys_file: dict[str, str]) -> None:
    made = diffsight("keys", "create", "alice", "--rate", "60/minute", "--concurrency", "2", **keys_file)
    assert made.returncode == 0, made.stderr
    (text,) = made.stdout.splitlines()
    _, key_id, secret = text.split("_", 2)
    listed = diffsight("keys", "list", **keys_file).stdout
    assert key_id in listed
    assert "alice" in listed
    assert "valid" in listed
    assert secret not in listed
    (key,) = json.loads(diffsight("keys", "list", "--json", **keys_file).stdout)
    assert (key["rate_per_minute"], key["concurrency"], key["state"]) == (60, 2, "valid")
    assert "digest" not in key
    assert diffsight("keys", "revoke", "alice", **keys_file).returncode == 0
    assert json.loads(diffsight("keys", "list", "--json", **keys_file).stdout)[0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "alice", "--rate", "60"], "60/minute"),
        (["create", "alice", "--rate", "0/minute"], "60/minute"),
        (["create", "alice", "--expires", "tomorrow"], "2030-12-31"),
        (["create", "alice", "--expires", "2020-01-01"], "past"),
        (["create", ""], "printable"),
        (["revoke", "nobody"], "keys list"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_2(keys_file: dict[str, str], arguments: list[str], message: str) -> None:
    done = diffsight("keys", *arguments, **keys_file)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert message in line
