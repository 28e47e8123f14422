"""`diffsight serve --ray`: the service on Ray Serve, with several replicas behind one address."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import suppress

import typer

from backbones.errors import InvalidInput
from service.cluster.ray_package import connect, count_gpus, count_nodes, wants_gpu
from service.errors import NotReady
from service.settings.loader import Settings

AUTO = "auto"


def serve_on_cluster(settings: Settings, address: str, replicas: str) -> None:
    """Serve until a signal. address: of Ray. replicas: a number, or `auto`.

    Raises InvalidInput for a wrong value of either, and NotReady if the replicas do not start.
    """
    count = read_replicas(replicas)
    if settings.port == 0:
        raise InvalidInput("port", "Ray's proxies listen on the same port on every machine", hint="choose a --port")
    ray = connect(address)
    from ray import serve

    from service.cluster.ray_serve import NAME, ServeOptions, build

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        on_gpu = wants_gpu(settings.device, count_gpus(ray))
        most = count_gpus(ray) if on_gpu else count_nodes(ray)
        options = ServeOptions(replicas=count, most_replicas=max(1, most), gpus=int(on_gpu))
        serve.start(http_options={"host": settings.host, "port": settings.port}, proxy_location="EveryNode")
        typer.echo(f"diffsight: {count or f'1 to {options.most_replicas}'} replicas on Ray {address}, opening ...")
        try:
            serve.run(build(settings, options), name=NAME, route_prefix="/")
        except RuntimeError as error:
            raise NotReady(
                f"the replicas did not start: {error}", hint="`serve status` and their logs say why"
            ) from None
        typer.echo(f"diffsight: ready: http://{settings.host}:{settings.port}")
        wait_for_signal()
        typer.echo("diffsight: stopping")
    finally:
        with suppress(Exception):  # the cluster may be gone already
            serve.shutdown()
        ray.shutdown()
    typer.echo("diffsight: stopped")


def read_replicas(text: str) -> int | None:
    """The number of replicas; None for `auto`. Raises InvalidInput for anything else."""
    if text == AUTO:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInput("--replicas", f"{text!r} is no number of replicas", hint="say 1 or more, or auto")
    return int(text)


def wait_for_signal() -> None:
    """Return at Ctrl-C or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(1.0):  # an unbounded wait would block signals
        pass
