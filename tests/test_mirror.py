"""Tests lie at the path of what they test: `service/jobs/store.py` in `tests/service/jobs/test_store.py`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("backbones", "heads", "service", "diffsight", "training", "playground", "clients/python")
LEAST_SHARE = 0.9

DATA = "declarations alone"
WIRING = "one line of wiring"
GENERATED = "generated, and compared with the document in tests/clients/test_generate.py"
EXEMPT = {
    "clients/python/diffsight_client/async_operations.py": GENERATED,
    "clients/python/diffsight_client/models.py": GENERATED,
    "clients/python/diffsight_client/operations.py": GENERATED,
    "diffsight/cli/evaluate.py": WIRING,
    "diffsight/cli/fit.py": WIRING,
    "diffsight/cli/options.py": DATA,
    "diffsight/cli/predict.py": WIRING,
    "heads/results.py": DATA,
    "playground/panels/results.py": DATA,
    "service/errors.py": DATA,
    "service/jobs/migrations/env.py": "run by every test of the store",
    "service/jobs/migrations/versions/jobs_0001.py": "run by every test of the store",
    "service/jobs/tables.py": DATA,
    "service/library/library.py": WIRING,
    "service/state.py": WIRING,
    "service/tasks.py": DATA,
    "service/telemetry/usage.py": DATA,
    "service/version.py": WIRING,
}


def product_files() -> list[str]:
    """Modules that need a test file, by their path."""
    files = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if not file.name.startswith("__"))
    return sorted(path for file in files if (path := file.relative_to(ROOT).as_posix()) not in EXEMPT)


def mirror_of(path: str) -> Path:
    """The path of a module's tests."""
    folder, _, name = path.rpartition("/")
    return ROOT / "tests" / folder / f"test_{name}"


def test_nine_files_of_ten_have_their_tests_at_the_same_path() -> None:
    files = product_files()
    missing = [path for path in files if not mirror_of(path).is_file()]
    share = 1 - len(missing) / len(files)
    lines = "\n".join(missing)
    assert share >= LEAST_SHARE, f"{share:.0%} of {len(files)} files have tests at their path; not:\n{lines}"


def test_exempt_modules_exist_and_have_no_tests_of_their_own() -> None:
    missing = [path for path in EXEMPT if not (ROOT / path).is_file()]
    tested = [path for path in EXEMPT if mirror_of(path).is_file()]
    assert not missing + tested, f"take out of EXEMPT: {', '.join(missing + tested)}"
