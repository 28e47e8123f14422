"""`diffsight keys ...`: make, list and revoke the API keys that a server accepts."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Config
from service.http.keys import Key, create_key, read_keys, revoke_key
from service.settings.loader import load_settings

keys = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Make, list and revoke API keys.",
    help="\b\ndiffsight keys create alice\n\nMake, list and revoke the API keys that a server accepts. A running "
    "server notices at once.",
)


@keys.command(short_help="Create a key and print it once.")
def create(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, for lists and logs.", show_default=False)],
    rate: Annotated[
        str | None, typer.Option(help="Maximum requests per minute, such as 60/minute.", metavar="N/minute")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Maximum requests at the same time.", min=1, max=100_000)
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Last day that it is valid (UTC), such as 2030-12-31.", metavar="DATE")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight keys create alice
    diffsight keys create batch-jobs --rate 600/minute --concurrency 4 --expires 2030-12-31

    Create a key and print it. It is printed only once: the server keeps only a hash of it. Limits default to the
    server's settings.
    """
    path = load_settings(config).access.keys_path()
    key, text = create_key(
        path,
        name,
        now=datetime.now(UTC),
        expires=end_of_day(expires) if expires is not None else None,
        rate_per_minute=per_minute(rate) if rate is not None else None,
        concurrency=concurrency,
    )
    if as_json:
        typer.echo(json.dumps({**describe_key(key), "key": text}, ensure_ascii=False))
        return
    typer.echo(f"diffsight: key {key.id} for {key.name!r}, kept as a hash in {path}. Copy it now:", err=True)
    typer.echo(text)


@keys.command("list", short_help="List keys without their secrets.")
def list_keys(config: Config = None, as_json: AsJson = False) -> None:
    """
    \b
    diffsight keys list

    List all keys with their limits, and whether they are valid. Secrets are not listed; they are not kept.
    """
    path = load_settings(config).access.keys_path()
    listed = [describe_key(key) for key in read_keys(path)]
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    if not listed:
        typer.echo(f"no keys in {path}")
        return

    table = Table(box=None, pad_edge=False)
    for name in ("id", "name", "state", "created", "expires", "a minute", "at a time"):
        table.add_column(name, overflow="fold")
    for key in listed:
        day = {name: (key[name] or "never")[:10] for name in ("created", "expires")}
        limits = [str(key[name] or "default") for name in ("rate_per_minute", "concurrency")]
        table.add_row(key["id"], key["name"], key["state"], day["created"], day["expires"], *limits)
    Console(highlight=False, markup=False).print(table)


@keys.command(short_help="Make a key invalid at once.")
def revoke(
    name_or_id: Annotated[
        str, typer.Argument(help="Name or id of the key, from `diffsight keys list`.", show_default=False)
    ],
    config: Config = None,
) -> None:
    """
    \b
    diffsight keys revoke alice

    Make a key invalid at once. It stays in the list. After the last key is revoked, the server answers no requests.
    """
    key = revoke_key(load_settings(config).access.keys_path(), name_or_id, now=datetime.now(UTC))
    typer.echo(f"diffsight: revoked {key.id} ({key.name})")


def per_minute(text: str) -> int:
    """The number in `60/minute`. Raises InvalidInput for another form."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})/min(?:ute)?", text, re.ASCII)
    if match is None or int(match[1]) > 1_000_000:
        raise InvalidInput("--rate", f"{text!r}", hint="write it like 60/minute, from 1 to 1000000")
    return int(match[1])


def end_of_day(text: str) -> datetime:
    """The first moment (UTC) after a day such as 2030-12-31. Raises InvalidInput for another form."""
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time.min, UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("--expires", f"{text!r}", hint="write a date like 2030-12-31") from error


def describe_key(key: Key) -> dict[str, Any]:
    """The properties of a key that may be shown."""
    return {
        **key.model_dump(mode="json", exclude={"digest", "expires"}),
        # The last valid day, as in the command.
        "expires": None if key.expires is None else (key.expires - timedelta(days=1)).date().isoformat(),
        "state": key.state(datetime.now(UTC)),
    }
