"""The folder of a job of a cluster: its list and its results as Parquet files, part by part.

    job.json                    the command's order, and the number of images when the list is complete
    model.json                  weights and complete parameters of all results, written by the first warm actor
    items/000000.parquet        the list: a row an image, a row group a part
    results/000/00000012.parquet   the results of part 12: a row an image, in the order of the list

A part is an equal piece of the list. Its results have one path, and are put there by a rename. If a part is computed
again on another node, the same rows replace the old ones. So no image is there twice, and file names show which parts
are missing. The folder must be one that every node sees under the same path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backbones.errors import InvalidInput
from backbones.files import locked_folder, name_beside, replacing_path, write_json
from service.jobs.records import Item, Job, Outcome, Record
from service.jobs.sources import Source, list_items
from service.jobs.store import canonical

PARTS_A_FILE = 64
"""Parts of the list in one file."""
_PARTS_A_FOLDER = 1000
_FOOTERS_AT_ONCE = 16
_FAILED = b"diffsight.failed"
_ITEM = pa.schema([("position", pa.int64()), ("name", pa.string()), ("address", pa.string()), ("given", pa.string())])
_RESULT = pa.schema(
    [
        ("position", pa.int64()),
        ("name", pa.string()),
        ("given", pa.string()),
        ("key", pa.string()),
        ("result", pa.string()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a command.

    values: the task's parameters as in the command. part_images: images of each part. total: images of the list; None
    until it is complete.
    """

    task: str
    values: list[list[str]]
    source: dict[str, Any]
    part_images: int
    total: int | None = None

    @property
    def parts(self) -> int:
        """How many parts the list has."""
        return -(-(self.total or 0) // self.part_images)


@dataclass(frozen=True, slots=True)
class JobWeights:
    """The model and parameters of all results of a job. parameters: complete; they are part of each key."""

    model: str
    revision: str
    parameters: dict[str, Any]


class PartFolder:
    """The folder of one job. Every method blocks, and raises the disk's OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, order: Order) -> Order:
        """The job of this folder with its complete list: begun, or continued if the same command began it.

        Raises InvalidInput for a folder of another job, and for a source that can not be listed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked_folder(self.path):
            earlier = self.read_order()
            if earlier is not None and replace(earlier, total=None, part_images=order.part_images) != order:
                raise InvalidInput(
                    "--out",
                    f"{self.path} holds the results of another command",
                    hint="name another folder, or give the command with which this one was begun",
                )
            if earlier is None:
                write_json(self.path / "job.json", asdict(order))
            if earlier is None or earlier.total is None:
                earlier = replace(earlier or order, total=self._list(earlier or order))
                write_json(self.path / "job.json", asdict(earlier))
        return earlier

    def read_order(self) -> Order | None:
        """The order that this folder was begun with; None for a new folder. Raises InvalidInput for a damaged file."""
        about = self._read_json("job.json")
        return None if about is None else Order(**about)

    def agree(self, weights: JobWeights) -> None:
        """Store the weights of all results, or compare them with the stored ones.

        Raises InvalidInput if they differ.
        """
        place = self.path / "model.json"
        if not place.exists():
            beside = name_beside(place)
            write_json(beside, asdict(weights))
            try:
                os.link(beside, place)  # unlike a rename, it fails if another actor was faster
            except FileExistsError:
                pass
            finally:
                beside.unlink()
        first = self.read_weights()
        if first != weights:
            raise InvalidInput(
                "job",
                f"the results in {self.path} come from the model {first.model if first else ''!r} with weights "
                f"{first.revision if first else ''} and its parameters; this node has {weights.model!r} with "
                f"{weights.revision}",
                hint="give every node the same models and settings, or name another folder",
            )

    def read_weights(self) -> JobWeights | None:
        """The weights of the results; None before the first result."""
        about = self._read_json("model.json")
        return None if about is None else JobWeights(**about)

    def items(self, part: int) -> list[Item]:
        """The images of a part."""
        number, group = divmod(part, PARTS_A_FILE)
        with pq.ParquetFile(self.path / f"items/{number:06d}.parquet") as file:
            rows = file.read_row_group(group).to_pylist()
        return [Item(row["position"], row["name"], row["address"], json.loads(row["given"])) for row in rows]

    def find_missing(self, parts: int) -> tuple[list[int], list[int]]:
        """Parts that have no results, and those in whose results an image failed."""
        failed = self.count_failures(parts)
        return [part for part in range(parts) if part not in failed], [part for part, count in failed.items() if count]

    def count_failures(self, parts: int) -> dict[int, int]:
        """How many images failed, by part that has results. Only names and footers of files are read."""
        there = {int(path.stem) for path in (self.path / "results").glob("*/*.parquet") if path.stem.isdecimal()}
        present = sorted(there & set(range(parts)))
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
            return dict(zip(present, threads.map(count_failed, map(self.place, present)), strict=True))

    def place(self, part: int) -> Path:
        """Where the results of a part are."""
        return self.path / f"results/{part // _PARTS_A_FOLDER:03d}/{part:08d}.parquet"

    def write(self, part: int, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        """Keep the results of a part, whole. Each outcome of an image that did not fail has its result."""
        rows = [
            {
                "position": item.position,
                "name": item.name,
                "given": canonical(item.given),
                "key": outcome.key,
                "result": outcome.result,
                "error": outcome.error,
            }
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        failed = sum(bool(outcome.error) for outcome in outcomes)
        schema = _RESULT.with_metadata({_FAILED: str(failed).encode()})
        place = self.place(part)
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(place) as beside:
            pq.write_table(pa.Table.from_pylist(rows, schema), beside, compression="zstd")

    def outcomes(self, part: int) -> dict[int, Outcome]:
        """The images of a part that have results, by position; none where the part has none."""
        if not self.place(part).exists():
            return {}
        rows = pq.read_table(self.place(part)).to_pylist()
        return {
            row["position"]: Outcome(row["position"], row["key"], row["result"]) for row in rows if not row["error"]
        }

    def records(self, parts: int, *, status: str = "done") -> Iterator[Record]:
        """The results in the order of the list, a part in memory at a time. status: done or failed."""
        for part in range(parts):
            for row in pq.read_table(self.place(part)).to_pylist():
                if bool(row["error"]) == (status == "failed"):
                    result = json.loads(row["result"]) if row["result"] else None
                    given = json.loads(row["given"])
                    yield Record(row["position"], row["name"], given, row["key"], result, row["error"])

    def job(self, order: Order, failed: int) -> Job:
        """The finished job, for the formats of results."""
        weights = self.read_weights() or JobWeights("", "", {})
        created = (self.path / "job.json").stat().st_mtime
        total = order.total or 0
        return Job(
            "",
            order.task,
            weights.parameters,
            order.source,
            local=True,
            created=created,
            updated=created,
            resumed=created,
            status="done",
            revision=weights.revision,
            model=weights.model,
            listed=True,
            total=total,
            done=total - failed,
            failed=failed,
        )

    def _list(self, order: Order) -> int:
        """Write the list of the source. Returns how many images it has."""
        folder = self.path / "items"
        folder.mkdir(exist_ok=True)
        items = list_items(Source.model_validate(order.source))
        total = number = 0
        while chunk := list(islice(items, order.part_images * PARTS_A_FILE)):
            rows = [{**_row(item), "given": canonical(item.given)} for item in chunk]
            with replacing_path(folder / f"{number:06d}.parquet") as beside:
                pq.write_table(pa.Table.from_pylist(rows, _ITEM), beside, row_group_size=order.part_images)
            number += 1
            total += len(chunk)
        return total

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            about: dict[str, Any] = json.loads((self.path / name).read_bytes())
            return about
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InvalidInput(
                "--out", f"{self.path / name} is damaged: {error}", hint="name another folder"
            ) from error


def count_failed(path: Path) -> int:
    """Images that failed in a file of results, by its footer."""
    return int((pq.read_schema(path).metadata or {}).get(_FAILED, b"0"))


def _row(item: Item) -> Mapping[str, Any]:
    return {"position": item.position, "name": item.name, "address": item.address}
