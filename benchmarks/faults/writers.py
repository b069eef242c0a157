"""Two writers: two processes write one place again and again while a third reads it; none fails, and the reader never misses what was there.

A write or a read is a trial. A reader that sees what neither writer wrote counts as silent; one that finds nothing where something was, as lost;
one that had begun to read what was then replaced may say so in one line.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.commands import COMPARE, FEW, numbers_in
from benchmarks.faults.kills import one_host
from benchmarks.faults.trial import Ended, attempt, command
from benchmarks.faults.verdict import Form, Row, refused
from benchmarks.faults.world import RECIPE, place_of


@dataclass(frozen=True)
class Place:
    """A kind of place that two may write.

    Attributes:
        write: (who, number) -> writes once. read: gives what is there. valid: whether that is what a writer wrote.
        times: how often each writes, in the long form.
    """

    name: str
    prepare: Callable[[], tuple[Callable[[int, int], Any], Callable[[], Any]]]
    valid: Callable[[Any], bool]
    times: int = 100
    parts: tuple[str, ...] = ()


def one_file() -> tuple[Callable[[int, int], Any], Callable[[], Any]]:
    """One JSON file, as a store keeps units and rankings."""
    from tasksel.storage.atomic import read_json, write_json

    path = Path("units/unit.json")
    return lambda who, number: write_json(path, {"who": who, "twice": [who] * 2000}), lambda: read_json(path)


def appended_rows() -> tuple[Callable[[int, int], Any], Callable[[], Any]]:
    """A file of rows, as a matrix grows."""
    from tasksel.evaluation.transfer_matrix import MatrixRecord, read_matrix
    from tasksel.storage.jsonl import append_row

    path = Path("matrix.jsonl")
    same = {"source": None, "method": "single-adapter", "metric": "accuracy", "dev": 0.5, "steps": 1, "seconds": 1.0}

    def write(who: int, number: int) -> None:
        append_row(path, MatrixRecord(target=f"task{who}", seed=number, score=0.5, **same))  # type: ignore[arg-type]

    return write, lambda: len(read_matrix(path).rows)


def pool_entry() -> tuple[Callable[[int, int], Any], Callable[[], Any]]:
    """An entry of a pool, replaced again and again."""
    import torch

    from tasksel.adapters.pool import AdapterPool
    from tasksel.model.adapter_config import SEQ_BN

    pool = AdapterPool("pool", base=str(Path("base").resolve()))
    models: dict[int, Any] = {}

    def write(who: int, number: int) -> None:
        if who not in models:
            models[who] = pool.base.model()
            models[who].add_adapter("entry", SEQ_BN)
            for key, parameter in models[who].named_parameters():
                if ".adapters." in key:
                    parameter.data = torch.full_like(parameter, float(who + 1))
        pool.store(models[who], "entry", name="entry", key=f"{who}")

    def read() -> Any:
        source = AdapterPool("pool", base=pool.base)["entry"]
        values = {float(part.up.mean()) for part in source.bottlenecks().values()}
        return [int(source.card.key), sorted(values)]

    return write, read


def embedding_file() -> tuple[Callable[[int, int], Any], Callable[[], Any]]:
    """An embedding."""
    import numpy as np

    from tasksel.embeddings.base import TaskEmbedding

    path = Path("embeddings/one.safetensors")
    made = {"task": "t", "method": "text", "base": "b", "key": "text", "seconds": 0.1}

    def write(who: int, number: int) -> None:
        TaskEmbedding({"vector": np.full(5000, who, dtype=np.float32)}, {**made, "seed": who}).save(path)

    def read() -> Any:
        stored = TaskEmbedding.load(path)
        return [stored.provenance["seed"], sorted(set(stored.arrays["vector"].tolist()))]

    return write, read


def index_folder() -> tuple[Callable[[int, int], Any], Callable[[], Any]]:
    """An index."""
    import numpy as np

    from tasksel.embeddings.index import EmbeddingIndex

    folder, indexes = Path("index"), {}
    for who in (0, 1):
        indexes[who] = EmbeddingIndex("dense", 16)
        indexes[who].add([f"task{who}"] * 1, np.full((1, 16), who + 1.0, dtype=np.float32))

    def read() -> Any:
        return list(EmbeddingIndex.load(folder).nearest(np.ones(16, dtype=np.float32), 1)[0])

    return lambda who, number: indexes[who].save(folder), read


def by_command(line: str, output: str) -> Callable[[], tuple[Callable[[int, int], Any], Callable[[], Any]]]:
    """A command that both run at once, each time in an empty place; what it leaves is read when both have ended."""
    return lambda: ((lambda who, number: command(line)), (lambda: numbers_in(Path(output))))


PLACES = (
    Place("one file (a unit of a store)", one_file, lambda got: got["twice"] == [got["who"]] * 2000),
    Place("rows of a matrix", appended_rows, lambda got: got > 0),
    Place("an entry of a pool", pool_entry, lambda got: got[1] == [float(got[0] + 1)], 100, ("pool",)),
    Place("an embedding", embedding_file, lambda got: got[1] == [got[0]]),
    Place("an index", index_folder, lambda got: got in (["task0"], ["task1"])),
)
TOGETHER = {  # commands that two start at once: what both leave
    "transfer": (f"scalearn transfer claims --pool pool --sources reviews trips --seeds 0 1 --out out {FEW}", "out", ("pool",), 6),
    "train-source": (f"scalearn train-source reviews claims --pool new --base base --data tasks --rows 32 {RECIPE}", "new", (), 6),
    "pool add": ("scalearn pool add outside --pool pool --name plain", "pool", ("pool", "outside"), 6),
    "rank": ("tasksel rank claims --data tasks --rows 32 --pool pool --by weights --cache-dir kept", "pool", ("pool",), 6),
    "embed": ("tasksel embed claims --data tasks --rows 32 --base base --by text --out embeddings", "embeddings", (), 6),
    "index build": ("tasksel index build embeddings/reviews.safetensors embeddings/trips.safetensors --out new", "new", ("embeddings",), 6),
    "export": ("scalearn export result --out new-export", "new-export", ("result",), 6),
    "compare, one store": (COMPARE, "store", ("compare.yaml",), 4),
    "measure-matrix": ("scalearn measure-matrix matrix.yaml --targets.tasks reviews claims --targets.seeds 0 --out measured", "measured", ("matrix.yaml",), 3),
}  # fmt: skip


def writers(root: Path, form: Form, done: Callable[[str], Row | None]) -> Iterator[Row]:
    """A row per kind of place, and one per command that two start at once."""
    for place in PLACES[:: 3 if form.short else 1]:
        yield done(place.name) or _contended(root, place, 15 if form.short else form.of(place.times))
    for name, (line, output, parts, times) in list(TOGETHER.items())[: 0 if form.short else None]:
        full = f"twice at once: {name}"
        yield done(full) or _together(root, full, line, output, parts, form.of(times))


def _contended(root: Path, place: Place, times: int) -> Row:
    """Two children write, one reads until both have ended."""
    row, begun = Row("two writers", place.name), time.perf_counter()
    folder = place_of(root, root.parent / "writers", *place.parts)
    children = [_fork(lambda who=who: _writes(place, who, times), folder, f"writer-{who}") for who in (0, 1)]
    reader = _fork(lambda: _reads(place, folder), folder, "reader")
    for child in children:
        os.waitpid(child, 0)
    (folder / "ended").touch()
    os.waitpid(reader, 0)
    for name in ("writer-0", "writer-1", "reader"):
        notes = (folder / f"{name}.txt").read_text().splitlines() if (folder / f"{name}.txt").is_file() else []
        for note in notes or ["traceback\tit said nothing"]:
            verdict, _, what = note.partition("\t")
            row.count(verdict, f"{name}: {what}")
    shutil.rmtree(folder)
    row.seconds = time.perf_counter() - begun
    return row


def _fork(life: Callable[[], list[str]], folder: Path, name: str) -> int:
    """A child that writes down how each of its trials ended."""
    child = os.fork()
    if not child:
        try:
            os.chdir(folder)
            notes = life()
            (folder / f"{name}.txt").write_text("\n".join(notes))
        finally:
            os._exit(0)
    return child


def _ended(call: Callable[[], Any]) -> tuple[str, Any]:
    """One trial in this process: "harmless" with its value, or what it ended in."""
    from tasksel.errors import UserError

    try:
        return "harmless", call()
    except UserError as error:
        return "one-line", str(error)
    except BaseException as error:  # noqa: BLE001  what a user would see
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {error} ({Path(place.filename).name})"


def _writes(place: Place, who: int, times: int) -> list[str]:
    """One writer's trials."""
    write, _ = place.prepare()
    ended = [_ended(lambda number=number: write(who, number)) for number in range(times)]
    return [f"{verdict}\t{what if verdict != 'harmless' else ''}".replace("\n", " ") for verdict, what in ended]


def _reads(place: Place, folder: Path) -> list[str]:
    """The reader's trials: from the first time that something is there, until both writers have ended."""
    _, read = place.prepare()
    notes, seen = [], False
    while not (folder / "ended").exists():
        verdict, what = _ended(read)
        if verdict == "harmless":
            seen = True
            notes.append("harmless\t" if place.valid(what) else f"silent\t{what!r:.200}")
        elif seen:
            missed = verdict == "one-line" and "meanwhile" not in what
            notes.append(f"{'lost' if missed else verdict}\t{what}".replace("\n", " "))
        time.sleep(0.001)
    return notes or ["harmless\t"]


def _together(root: Path, name: str, line: str, output: str, parts: tuple[str, ...], times: int) -> Row:
    """Two start a command at once, in an empty place, several times; each run is a trial, and so is what both leave."""
    row, begun, place = Row("two writers", name), time.perf_counter(), root.parent / "writers"
    place_of(root, place, *parts)
    alone = attempt(lambda: command(line), place, fault=one_host)
    if alone.code != 0:
        raise RuntimeError(f"{line}: undisturbed, exit code {alone.code}\n{alone.out}{alone.err}")
    expected = numbers_in(place / output)
    for _ in range(times):
        place_of(root, place, *parts)
        ended: list[Ended] = []
        second = functools.partial(_append_attempt, ended, line, place)
        ended.append(attempt(lambda: command(line), place, also=second))
        for run in ended:
            row.count(*_run_verdict(run))
        numbers = numbers_in(place / output)
        left = next((key for key in expected if numbers.get(key) != expected[key]), "")
        row.count("lost" if left else "harmless", f"{left} differs from what one alone leaves")
    row.seconds = time.perf_counter() - begun
    return row


def _append_attempt(ended: list[Ended], line: str, place: Path) -> None:
    ended.append(attempt(lambda: command(line), place, fault=one_host))


def _run_verdict(run: Ended) -> tuple[str, str]:
    if refused(run):
        return "one-line", ""
    return ("harmless", "") if run.code == 0 and "Traceback" not in run.err else ("traceback", run.last)
