"""The service on two replicas, one of which is killed under load: every answer is right, or asks for a retry."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from benchmarks.mixed_load import free_port
from tests.cluster.local_cluster import LocalCluster, two_nodes
from tests.cluster.routing_check import check_routing
from tests.soak.hostile import form
from tests.soak.storm import UsualRequest, is_equal, pictures, usual_requests

_SECONDS = 900.0
_MOST_WAITING = 1000
_LARGE = 8
"""Requests of 800 rows each: a replica lets one wait, and refuses the next."""
_LOOKS = 20
"""So many requests that two replicas share them almost certainly."""


def check_serve(folder: Path, requests: int, clients: int) -> str:
    """The figures in one line. Raises AssertionError if a check fails."""
    with (
        two_nodes(folder, {"JOBS__POLL_SECONDS": "0.2", "ENGINE__MAX_WAITING_ROWS": _MOST_WAITING}) as cluster,
        served(cluster) as url,
        httpx2.Client(base_url=url, timeout=300) as client,
    ):
        usual = [*usual_requests(0)[:8], concept_request(make_concept(client))]
        references = [ask(client, request).json() for request in usual]
        behind = [pid for pid in cluster.workers() if os.getpriority(os.PRIO_PROCESS, pid) > 0]
        assert not behind, f"{len(behind)} workers give way to every other program"
        both = replicas_of(client)
        assert len(both) == 2, f"{len(both)} replicas answered"
        wait_for_metrics(cluster)
        events = check_stream(client)
        check_upload(client)
        refused = asyncio.run(overload(url))
        wait_until_idle(client)
        check_routing(client, lambda: ask(client, usual[0]))
        statuses, killed_after = asyncio.run(storm(url, cluster, usual, references, requests, clients))
        after = ask(client, usual[-1])
        assert is_equal(after.json(), references[-1]), "the concept gives something else"
    lost = statuses.pop(503, 0)
    assert set(statuses) == {200}, statuses
    return (
        f"{requests} requests of {clients} clients, a replica killed after {killed_after}: {statuses[200]} right, "
        f"{lost} 503 with Retry-After; {refused} of {_LARGE} large ones 429, the others dropped as they hung up; "
        f"a stream of {events} events, an upload, a concept found by both replicas, "
        "a model used where it is held"
    )


@contextmanager
def served(cluster: LocalCluster) -> Iterator[str]:
    """The address of the service on the cluster, ready."""
    port = free_port()
    command = [sys.executable, "-m", "diffsight", "serve", "--ray", cluster.address, "--replicas", "2"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = list(takewhile(lambda line: "ready" not in line, process.stdout))
        assert process.poll() is None, f"the service ended: {lines}"
        url = f"http://127.0.0.1:{port}"
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(120)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()


def ask(client: httpx2.Client, request: UsualRequest) -> httpx2.Response:
    """The answer, which must have status 200."""
    answer = client.post(request.path, content=request.body, headers={"Content-Type": request.content_type})
    assert answer.status_code == 200, f"{request.path}: {answer.status_code} {answer.text[:500]}"
    return answer


def replicas_of(client: httpx2.Client) -> set[str]:
    """The line of `/metrics` in which each replica says when it began to count."""
    replicas = set[str]()
    for _ in range(_LOOKS):
        text = client.get("/metrics").text
        replicas |= {line for line in text.splitlines() if line.startswith("diffsight_batch_rows_created")}
    return replicas


def wait_for_metrics(cluster: LocalCluster) -> None:
    """Return when both nodes together export the figures of both replicas."""
    started = time.monotonic()
    while cluster.metrics().count("ray_diffsight_queue_rows{") < 2:
        assert time.monotonic() - started < _SECONDS, "Ray does not export the replicas' metrics"
        time.sleep(1.0)


def make_concept(client: httpx2.Client) -> str:
    """A concept that one replica created, and that both replicas find at once."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[20:40, 20:44] = (220, 40, 30)
    mask = np.where(pixels.any(axis=2, keepdims=True), 255, 0).astype(np.uint8).repeat(3, axis=2)
    images, masks = ([_base64(picture)] for picture in (pixels, mask))
    answer = client.post("/v1/concepts", json={"name": "red", "images": images, "masks": masks})
    assert answer.status_code == 201, answer.text
    concept: str = answer.json()["id"]
    for _ in range(_LOOKS):
        assert client.get(f"/v1/concepts/{concept}").status_code == 200, "a replica does not know the concept"
    return concept


def concept_request(concept: str) -> UsualRequest:
    """A few-shot request that names the concept."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:30, 30:60] = (220, 40, 30)
    body = httpx2.Request("POST", "http://x", json={"image": _base64(pixels), "concepts": [concept]})
    return UsualRequest("/v1/segmentation/few-shot", body.read(), "application/json")


def check_stream(client: httpx2.Client) -> int:
    """The number of events of a streaming answer; they arrive one by one."""
    request = usual_requests(0)[1]
    headers = {"Content-Type": request.content_type, "Accept": "text/event-stream"}
    with client.stream("POST", request.path, content=request.body, headers=headers) as answer:
        assert answer.status_code == 200
        events = [line for line in answer.iter_lines() if line.startswith("event:")]
    assert events[-1].endswith("answer"), events
    return len(events)


def check_upload(client: httpx2.Client) -> None:
    """One replica starts a job of an uploaded picture, and both replicas report it."""
    pixels = np.random.default_rng(1).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    answer = client.post("/v1/jobs", data={"task": "features"}, files={"file": ("a.png", file.getvalue())})
    assert answer.status_code == 201, answer.text
    started = time.monotonic()
    while (job := client.get(f"/v1/jobs/{answer.json()['id']}").json())["status"] not in ("done", "failed"):
        assert time.monotonic() - started < _SECONDS, "the job does not end"
        time.sleep(0.2)
    assert (job["status"], job["done"]) == ("done", 1), job


async def overload(url: str) -> int:
    """How many of several large requests are refused at once with Retry-After. The client closes the others."""
    labels = [("labels", "", f"thing {number}".encode()) for number in range(40)]
    picture = pictures(1, 7)[0]
    body, kind = form([("image", "a.png", picture), ("schedule", "", b'{"n_samples":[20],"to_keep":[1]}'), *labels])
    async with httpx2.AsyncClient(base_url=url, timeout=300) as client:
        tasks = [
            asyncio.create_task(client.post("/v1/classify/zero-shot", content=body, headers={"Content-Type": kind}))
            for _ in range(_LARGE)
        ]
        refused = 0
        try:
            for done in asyncio.as_completed(tasks):
                answer = await done
                assert answer.status_code in (200, 429), f"{answer.status_code} {answer.text[:500]}"
                refused += answer.status_code == 429
                if answer.status_code == 429:
                    assert int(answer.headers["retry-after"]) >= 1
                if refused >= _LARGE // 2:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert refused, "no replica refused anything"
    return refused


def wait_until_idle(client: httpx2.Client) -> None:
    """Return when no replica has work; rows of disconnected clients were dropped."""
    started = time.monotonic()
    while True:
        texts = [client.get("/metrics").text for _ in range(_LOOKS)]
        if all("\ndiffsight_open_requests 0.0" in text for text in texts):
            break
        assert time.monotonic() - started < _SECONDS, "requests of clients that hung up do not end"
    dropped = [float(value) for text in texts for value in re.findall(r"\ndiffsight_cancelled_total (\S+)", text)]
    assert max(dropped) > 0, "nothing was dropped"


async def storm(
    url: str, cluster: LocalCluster, usual: list[UsualRequest], references: list[Any], requests: int, clients: int
) -> tuple[Counter[int], int]:
    """Statuses of so many requests, and how many were answered when a replica was killed."""
    chance, statuses, waiting = random.Random(0), Counter[int](), iter(range(requests))
    killed_after = 0

    async def ask_again(client: httpx2.AsyncClient) -> None:
        nonlocal killed_after
        for _ in waiting:
            place = chance.randrange(len(usual))
            request = usual[place]
            answer = await client.post(
                request.path, content=request.body, headers={"Content-Type": request.content_type}
            )
            statuses[answer.status_code] += 1
            if answer.status_code == 503:
                assert answer.headers.get("retry-after"), answer.text
                assert answer.json()["type"].startswith("/problems/"), answer.text
                await asyncio.sleep(0.2)
            else:
                assert answer.status_code == 200, f"{request.path}: {answer.status_code} {answer.text[:500]}"
                assert is_equal(answer.json(), references[place]), f"{request.path} gives something else"
            if not killed_after and statuses.total() >= requests // 3:
                killed_after = statuses.total()
                os.kill(cluster.workers("ServeReplica")[0], signal.SIGKILL)

    async with httpx2.AsyncClient(base_url=url, timeout=300) as client, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask_again(client))
    return statuses, killed_after


def _base64(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
