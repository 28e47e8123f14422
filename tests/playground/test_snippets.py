"""The commands that a panel shows do what the panel does."""

from __future__ import annotations

import ast
import shlex

from playground.snippets import curl, literal, python


def test_curl_quotes_what_a_shell_would_read() -> None:
    command = curl("http://host/v1/depth", [("labels", "a 'cat'"), ("labels", "@home")], [("image", "my cat.png")])
    words = shlex.split(command.replace("\\\n", " "))
    assert words == [
        *("curl", "-s", "-F", "image=@my cat.png", "-F", "labels=a 'cat'", "--form-string", "labels=@home"),
        "http://host/v1/depth",
    ]


def test_the_key_is_named_and_never_shown() -> None:
    command = curl("http://host", [], [], keyed=True, streams=True)
    assert '"Authorization: Bearer $DIFFSIGHT_KEY"' in command
    assert 'api_key=os.environ["DIFFSIGHT_KEY"]' in python("http://host", "depth", {}, keyed=True)


def test_the_python_is_python() -> None:
    source = python("http://host", "zero_shot", {"labels": ["a", "b" * 90], "flip": True}, positional=["a.png"])
    ast.parse(source)
    assert 'client.zero_shot(\n    "a.png",\n    labels=' in source
    ast.parse(python("http://host", "zero_shot_stream", {}, streams=True))
    assert ast.literal_eval(literal({"a": [1, None, "ü\n"]})) == {"a": [1, None, "ü\n"]}
