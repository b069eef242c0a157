"""The commands that write and those that read, as trials call them, and the numbers that they leave in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.trial import command
from benchmarks.faults.world import RECIPE

FEW = f"--data tasks --rows 32 {RECIPE}"


@dataclass(frozen=True)
class Command:
    """A command in a place.

    Attributes:
        line: what is typed.
        parts: of the world, which it reads or goes on from.
        keeps: whether it stores work that the same command shall not do again; otherwise each run writes its output anew.
    """

    name: str
    line: str
    parts: tuple[str, ...] = ()
    keeps: bool = True

    def __call__(self) -> int:
        """Runs it in this process."""
        return command(self.line)


COMPARE = "scalearn compare compare.yaml --out run --store store"
WRITERS = {
    each.name: each
    for each in (
        Command("transfer", f"scalearn transfer claims --pool pool --sources reviews trips --seeds 0 1 --out out {FEW}", ("pool",)),
        Command("transfer of ranked sources", f"scalearn transfer claims --pool pool --by fisher --top 2 --out out {FEW}", ("pool",)),
        Command("train-source", f"scalearn train-source reviews claims --pool new --base base {FEW}"),
        Command("pool add", "scalearn pool add outside --pool pool --name plain --task reviews --data tasks", ("pool", "outside"), keeps=False),
        Command("rank", "tasksel rank claims --data tasks --rows 32 --pool pool --by weights --cache-dir kept", ("pool",)),
        Command("embed", "tasksel embed reviews claims --data tasks --rows 32 --base base --by text --out embeddings", keeps=False),
        Command("index build", "tasksel index build embeddings/reviews.safetensors embeddings/trips.safetensors --out new-index", ("embeddings",), keeps=False),
        Command("export", "scalearn export result --out new-export", ("result",), keeps=False),
        Command("predict", "scalearn predict result new.jsonl --out predicted.jsonl", ("result", "new.jsonl"), keeps=False),
        Command("explain", "scalearn explain result --out explained.json", ("result",), keeps=False),
        Command("report", "scalearn report run --out page", ("run",), keeps=False),
        Command("evaluate", "tasksel evaluate matrix --by text --pool matrix/pool --data tasks --rows 32 --seeds 1 --out judged", ("matrix",)),
        Command("predict-gain", "tasksel predict-gain matrix --pool matrix/pool --data tasks --rows 32 --seed 1 --out gain", ("matrix",)),
        Command("measure-matrix", "scalearn measure-matrix matrix.yaml --targets.tasks reviews claims --targets.seeds 0 --out measured", ("matrix.yaml",)),
        Command("measure-matrix, jobs 2", "scalearn measure-matrix matrix.yaml --targets.tasks reviews claims --targets.seeds 0 --out measured --jobs 2", ("matrix.yaml",)),
        Command("compare", COMPARE, ("compare.yaml",)),
        Command("compare, jobs 2", f"{COMPARE} --jobs 2", ("compare.yaml",)),
    )
}  # fmt: skip
READERS = {
    each.name: each
    for each in (
        Command("tasksel ls", "tasksel ls --data tasks"),
        Command("tasksel show", "tasksel show reviews --data tasks"),
        Command("index nearest", "tasksel index nearest index embeddings/claims.safetensors", ("index", "embeddings")),
        Command("rank by random", "tasksel rank claims --data tasks --by random"),
        Command("evaluate, stored", "tasksel evaluate matrix --by text logme", ("matrix",)),
        Command("predict-gain, stored", "tasksel predict-gain matrix --max-loss 0.5", ("matrix",)),
        Command("pool ls", "scalearn pool ls --pool pool", ("pool",)),
        Command("pool show", "scalearn pool show reviews --pool pool", ("pool",)),
        Command("pool verify", "scalearn pool verify --pool pool", ("pool",)),
        Command("predict, printed", "scalearn predict result new.jsonl", ("result", "new.jsonl")),
        Command("predict by an export", "scalearn predict export new.jsonl", ("export", "new.jsonl")),
        Command("explain, printed", "scalearn explain result", ("result",)),
        Command("report, printed", "scalearn report run", ("run",)),
        Command("push, planned", "scalearn push export --to me/it", ("export",)),
        Command("compare, planned", f"{COMPARE} --plan", ("compare.yaml",)),
        Command("measure-matrix, planned", "scalearn measure-matrix matrix.yaml --out matrix --plan", ("matrix.yaml", "matrix")),
        Command("doctor", "scalearn doctor --pool pool", ("pool",)),
    )
}  # fmt: skip

# what decides whether two runs gave the same numbers: no seconds, no memory, no hash of a file that holds those
NUMBERS = frozenset(
    [
        "score",
        "scores",
        "dev",
        "epoch",
        "steps",
        "omega",
        "names",
        "similarities",
        "adapters",
        "grid",
        "state_file",
        "sources_file",
        "prediction",
        "features",
        "target",
        "source",
        "method",
        "seed",
        "by",
        "size",
        "cosine",
        "layers",
        "without",
        "seeds",
    ]
)


def files_in(place: Path) -> list[Path]:
    """The files that a command left, but for links, temporary ones, locks and what is still being written or trained."""
    return [
        path
        for path in sorted(place.rglob("*"))
        if path.is_file()
        and not any(part in ("base", "tasks", "tmp") or part.startswith((".partial", ".training")) for part in path.relative_to(place).parts)
        and not path.name.startswith(".")  # a lock
    ]  # fmt: skip


def numbers_in(place: Path) -> dict[str, Any]:
    """The numbers and weights in a place by file: equal where two runs computed the same."""
    numbers: dict[str, Any] = {}
    for path in files_in(place):
        if path.suffix in READ:
            try:
                numbers[str(path.relative_to(place))] = READ[path.suffix](path)
            except Exception as error:  # noqa: BLE001  whatever a broken file gives
                numbers[str(path.relative_to(place))] = f"broken: {type(error).__name__}"
    return json.loads(json.dumps(numbers))


def _row_numbers(path: Path) -> list[Any]:
    """The numbers of each row; several jobs end in any order."""
    rows = [_numbers(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def weights_hash(path: Path) -> str:
    """A hash of the arrays in a safetensors file, without its metadata."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, array in sorted(load_file(path).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _numbers(value: Any) -> Any:
    """What of a JSON value decides whether two are equal."""
    if isinstance(value, dict):
        return {key: part if key in NUMBERS else _numbers(part) for key, part in value.items() if key in NUMBERS or isinstance(part, dict)}  # fmt: skip
    return value


READ: dict[str, Callable[[Path], Any]] = {
    ".safetensors": weights_hash,
    ".json": lambda path: _numbers(json.loads(path.read_text())),
    ".jsonl": _row_numbers,
    ".faiss": lambda path: hashlib.sha256(path.read_bytes()).hexdigest(),
}
DERIVED = ("rows.jsonl", "rankings.jsonl", "experiment.json", "provenance.json", "map.json", "result.json", "run.json")


def finished_in(place: Path) -> dict[str, str]:
    """What is finished in a place and shall not be computed again: a hash by file, and by whole line of a file of rows."""
    finished = {}
    for path in files_in(place):
        name = str(path.relative_to(place))
        if path.suffix == ".jsonl" and path.name not in DERIVED:
            lines = path.read_bytes().split(b"\n")[:-1]  # a line without its end is not whole
            finished |= {f"{name} row {hashlib.sha256(line).hexdigest()[:12]}": "" for line in lines}
        elif path.suffix in (".json", ".safetensors") and path.name not in DERIVED:
            finished[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return finished
