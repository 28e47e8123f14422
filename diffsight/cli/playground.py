"""`diffsight playground`: the web page for a server that runs anywhere."""

from __future__ import annotations

from typing import Annotated

import typer
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from backbones.errors import InvalidInput
from playground.mount import PATH, PlaygroundApp, is_installed


def playground(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="Address that the page listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that the page listens on; 0 takes a free one.")] = 7860,
) -> None:
    """
    \b
    diffsight playground --url https://diffsight.example.org

    Serve a web page on which to try a server: it shows every task with its options, and the commands that do the same.
    `diffsight serve` serves the page for its own server at /playground. The page needs the extra `playground`: pip
    install 'diffsight[playground]'.
    """
    if not is_installed():
        raise InvalidInput(
            "playground", "gradio is not installed", hint="install the extra: pip install 'diffsight[playground]'"
        )
    if not url.startswith(("http://", "https://")):
        raise InvalidInput("url", f"{url!r} is no URL", hint="give one such as http://127.0.0.1:8000")
    import uvicorn  # takes a second to import; --help does not need it

    app = Starlette(routes=[
        Route("/", lambda _: RedirectResponse(f"{PATH}/")),
        Mount(PATH, PlaygroundApp(url, public=True)),
    ])  # fmt: skip
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
    listening = config.bind_socket()
    typer.echo(f"diffsight: the playground of {url} is at http://{host}:{listening.getsockname()[1]}{PATH}")
    uvicorn.Server(config).run(sockets=[listening])
