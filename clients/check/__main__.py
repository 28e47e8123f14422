"""`python -m clients.check` generates clients by four generators, compiles them, and calls a real server with each.

The generators are in a folder of their own, with a Python and a Node environment; they are not installed beside
diffsight. The last line counts generators and calls.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import running_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "openapi" / "openapi.json"
PICTURE = ROOT / "docs" / "images" / "seven.png"
PYTHON = ("openapi-python-client", "openapi-generator")
NODE = ("hey-api", "openapi-fetch")


class CheckFailed(Exception):
    """A failed step."""


def run(command: Sequence[str | Path], folder: Path, *, path: Path | None = None) -> str:
    """The output of a command. path: a folder to find Python packages and commands in. Raises CheckFailed."""
    environment = dict(os.environ)
    if path is not None:
        environment |= {"PYTHONPATH": str(folder), "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise CheckFailed(f"{shown} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def prepare_python(work: Path) -> Path:
    """The folder of commands of an environment with the generators for Python."""
    commands = work / "venv" / "bin"
    if not (work / "venv" / "complete").exists():
        run([sys.executable, "-m", "venv", work / "venv"], work)
        run([commands / "python", "-m", "pip", "install", "-qq", "-r", HERE / "requirements.txt"], work)
        (work / "venv" / "complete").touch()
    return commands


def generate_python(work: Path, commands: Path, generator: str) -> None:
    """Generate and compile a client for Python."""
    package = f"generated_by_{generator.replace('-', '_')}"
    shutil.rmtree(work / package, ignore_errors=True)
    if generator == "openapi-python-client":
        arguments: list[str | Path] = ["generate", "--path", DOCUMENT, "--output-path", work / package]
        arguments += ["--meta", "none"]
        run([commands / generator, *arguments, "--fail-on-warning"], work, path=commands)
    else:
        java: list[str | Path] = ["-i", DOCUMENT, "-g", "python", "-o", work / "java", "--package-name", package]
        run([commands / "openapi-generator-cli", "generate", *java], work, path=commands)
        shutil.move(work / "java" / package, work / package)
    run([commands / "python", "-m", "compileall", "-qq", work / package], work)


def generate_node(work: Path) -> None:
    """Generate both clients for TypeScript, and compile them with the programs that call them, in strict mode."""
    if shutil.which("npm") is None:
        raise CheckFailed("npm is not installed: apt-get install nodejs npm")
    for name in ("package.json", "tsconfig.json", "hey-api.ts", "openapi-fetch.ts"):
        shutil.copy(HERE / name, work / name)
    run(["npm", "install", "--no-audit", "--no-fund", "--silent"], work)
    run(["npx", "openapi-ts", "-i", DOCUMENT, "-o", "hey", "-c", "@hey-api/client-fetch"], work)
    # A request may leave out an option with a default.
    run(["npx", "openapi-typescript", DOCUMENT, "--default-non-nullable", "false", "-o", "schema/schema.ts"], work)
    run(["npx", "tsc", "-p", "."], work)


def count(printed: str, generator: str) -> tuple[int, int]:
    """Calls and failures in the output of a program, which is printed again. Raises CheckFailed for no calls."""
    lines = [line for line in printed.splitlines() if line.startswith(("ok ", "FAILED "))]
    for line in lines:
        print(f"{generator}: {line}")
    if not lines:
        raise CheckFailed(f"{generator} made no calls")
    return len(lines), sum(line.startswith("FAILED ") for line in lines)


def main() -> None:
    """Check the named generators, or all."""
    parser = argparse.ArgumentParser(prog="python -m clients.check", description=__doc__)
    parser.add_argument("generators", nargs="*", choices=[[], *PYTHON, *NODE], help="generators to check; default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "clients-check", help="where clients are generated")
    arguments = parser.parse_args()
    chosen, work = arguments.generators or [*PYTHON, *NODE], arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    commands = prepare_python(work) if set(chosen) & set(PYTHON) else work
    for generator in (name for name in PYTHON if name in chosen):
        generate_python(work, commands, generator)
    if set(chosen) & set(NODE):
        generate_node(work)
    calls = failures = 0
    with running_server() as server:
        for generator in chosen:
            program = f"call_{generator.replace('-', '_')}.py"
            if generator in PYTHON:
                for name in (program, "table.py"):
                    shutil.copy(HERE / name, work / name)
                printed = run([commands / "python", program, server.url, PICTURE], work, path=commands)
            else:
                printed = run(["npx", "tsx", f"{generator}.ts", server.url, PICTURE], work)
            made, failed = count(printed, generator)
            calls, failures = calls + made, failures + failed
    print(f"{len(chosen)} generators, {calls} calls, {failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
