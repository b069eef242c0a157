"""Flips: a bit of a stored file turns, or the file is cut short; whoever reads it shall see the same, or say one line.

A file's reader is a command that shows what is in it, or a function that gives all of it as JSON. Half of the flips of a file of weights hit its header.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.commands import READERS
from benchmarks.faults.trial import attempt, command
from benchmarks.faults.verdict import Form, Row, judge
from benchmarks.faults.world import place_of

HEADER = 4096
CUT = 0.1  # the share of trials in which the file is cut short instead


def pool_card(place: Path) -> Any:
    """All of a pool's cards, and the projections of its sources."""
    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(place / "pool")
    pool.verify()
    return {source.name: [source.card.model_dump(mode="json"), _digest(source.bottlenecks())] for source in pool}


def pool_head(place: Path) -> Any:
    """A source's adapter and head as they run: the hidden state and the logits of one sentence."""
    import torch

    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(place / "pool")
    return _logits(pool, torch)


def _logits(pool: Any, torch: Any) -> str:
    """What a source says of one sentence."""
    model = pool["reviews"].trained.model(pool.base)
    encoded = pool.base.tokenizer("a warm soup", return_tensors="pt")
    with torch.no_grad():
        return _digest(model(**encoded).logits)


def result_numbers(place: Path) -> Any:
    """All that a result says: its record, its seeds, its omegas and its predictions."""
    from scalearn.results.result import TransferResult

    result = TransferResult.load(place / "result")
    result.verify()
    seeds = {seed: entry.model_dump(mode="json") for seed, entry in result.seeds.items()}
    predicted = result.predict([("a warm soup", "it was cold")])
    omegas = [_digest(result.omega(seed=seed)) for seed in result.seeds]
    return [result.run.model_dump(mode="json"), seeds, omegas, _digest(predicted)]


def run_rows(place: Path) -> Any:
    """All that a comparison's folder says."""
    from scalearn import load_run

    run = load_run(place / "run")
    rows = [row.model_dump(mode="json") for row in (*run.rows, *run.rankings)]
    return [run.config, run.planned, run.missing, rows]


def stored_units(place: Path) -> Any:
    """The finished units and rankings of a store, as the same comparison takes them up."""
    from scalearn.comparison.experiment import Experiment
    from scalearn.comparison.plan import Plan

    plan = Plan(Experiment.from_yaml(place / "compare.yaml"), place / "run")
    return [[record.model_dump(mode="json") for record in (*plan.rows(), *plan.rankings())], str(plan)]


def matrix_rows(place: Path) -> Any:
    """The rows of a measured matrix."""
    from tasksel import read_matrix

    return [repr(row) for row in read_matrix(place / "matrix").rows]


def matrix_goes_on(place: Path) -> Any:
    """What a measurement that goes on from its provenance has left to do."""
    from scalearn.comparison.matrix_config import MatrixConfig
    from scalearn.comparison.measure_matrix import MatrixMeasurement

    measurement = MatrixMeasurement(MatrixConfig.from_yaml(place / "matrix.yaml"), place / "matrix")
    measurement.run()
    return [str(unit) for unit in measurement.todo()]


def matrix_scores(place: Path) -> Any:
    """The selectors' scores beside a matrix."""
    from tasksel.evaluation.score_records import read_scores

    return [repr(row) for row in read_scores(place / "matrix" / "scores.jsonl")]


def matrix_pairs(place: Path) -> Any:
    """The features of pairs beside a matrix."""
    from tasksel.gain.pair_features import read_pair_features

    return {repr(key): repr(row) for key, row in read_pair_features(place / "matrix" / "pairs.jsonl").items()}


def embedding(place: Path) -> Any:
    """A stored embedding."""
    from tasksel.embeddings.base import TaskEmbedding

    stored = TaskEmbedding.load(place / "embeddings" / "reviews.safetensors")
    return [stored.provenance, {name: _digest(array) for name, array in stored.arrays.items()}]


def pool_embedding(place: Path) -> Any:
    """A ranking by embeddings that the pool keeps."""
    return command("tasksel rank claims --data tasks --rows 32 --pool pool --by text --cache-dir kept")


def nearest(place: Path) -> Any:
    """The tasks of an index nearest to each stored embedding, with their scores."""
    from tasksel.embeddings.base import TaskEmbedding
    from tasksel.embeddings.index import EmbeddingIndex

    index = EmbeddingIndex.load(place / "index")
    queries = [TaskEmbedding.load(path) for path in sorted((place / "embeddings").glob("*.safetensors"))]
    return [
        repr(index),
        [[names, scores.tolist()] for names, scores in (index.nearest(query, len(index))[:2] for query in queries)],
    ]


def base_weights(place: Path) -> Any:
    """What a source says on a copy of the base that its pool was trained on."""
    import torch

    from tasksel.adapters.pool import AdapterPool

    return _logits(AdapterPool(place / "pool", base=str(place / "own-base")), torch)


def _digest(value: Any) -> str:
    """A hash of an array, a tensor, or a nest of them."""
    import numpy as np

    if isinstance(value, dict):
        return hashlib.sha256(
            "".join(f"{key}{_digest(part)}" for key, part in sorted(value.items())).encode()
        ).hexdigest()
    if hasattr(value, "__dict__") and not hasattr(value, "shape"):
        return _digest({name: part for name, part in vars(value).items() if part is not None})
    if isinstance(value, list | tuple):
        return hashlib.sha256("".join(map(_digest, value)).encode()).hexdigest()
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()


@dataclass(frozen=True)
class Target:
    """A kind of file: where it lies, what reads it, how many trials it gets in the long form."""

    path: str
    reader: str | Callable[[Path], Any]
    parts: tuple[str, ...]
    trials: int = 90


TARGETS = (
    Target("pool/reviews/card.json", pool_card, ("pool",), 120),
    Target("pool/reviews/adapter_config.json", pool_card, ("pool",)),
    Target("pool/reviews/adapter.safetensors", pool_card, ("pool",)),
    Target("pool/reviews/head_config.json", pool_head, ("pool",)),
    Target("pool/reviews/model_head.safetensors", pool_head, ("pool",)),
    Target("pool/reviews/embeddings/*.safetensors", pool_embedding, ("pool",)),
    Target("result/run.json", result_numbers, ("result",), 120),
    Target("result/sources.safetensors", result_numbers, ("result",)),
    Target("result/seed-0/seed.json", result_numbers, ("result",), 120),
    Target("result/seed-0/state.safetensors", result_numbers, ("result",)),
    Target("result/result.json", result_numbers, ("result",), 30),
    Target("result/run.json (explain)", "explain, printed", ("result",), 15),
    Target("export/scalearn.json", "predict by an export", ("export", "new.jsonl"), 120),
    Target("export/adapter_config.json", "predict by an export", ("export", "new.jsonl")),
    Target("export/head_config.json", "predict by an export", ("export", "new.jsonl")),
    Target("export/adapter.safetensors", "predict by an export", ("export", "new.jsonl")),
    Target("export/model_head.safetensors", "predict by an export", ("export", "new.jsonl")),
    Target("embeddings/reviews.safetensors", embedding, ("embeddings",), 120),
    Target("index/index.json", nearest, ("index", "embeddings")),
    Target("index/names.json", nearest, ("index", "embeddings"), 40),
    Target("index/rows.faiss", nearest, ("index", "embeddings")),
    Target("run/experiment.json", run_rows, ("run",)),
    Target("run/rows.jsonl", run_rows, ("run",), 120),
    Target("run/store/units/*.json", stored_units, ("run", "compare.yaml"), 120),
    Target("run/store/sources/*/seed-0/reviews/card.json", stored_units, ("run", "compare.yaml"), 60),
    Target("matrix/matrix.jsonl", matrix_rows, ("matrix",), 120),
    Target("matrix/provenance.json", matrix_goes_on, ("matrix", "matrix.yaml")),
    Target("matrix/scores.jsonl", matrix_scores, ("matrix",)),
    Target("matrix/pairs.jsonl", matrix_pairs, ("matrix",)),
    Target("own-base/model.safetensors", base_weights, ("pool",)),
    Target("own-base/config.json", base_weights, ("pool",), 60),
)
SHORT = {
    "pool/reviews/card.json": 8,
    "result/seed-0/seed.json": 4,
    "embeddings/reviews.safetensors": 8,
    "index/index.json": 6,
    "result/seed-0/state.safetensors": 4,
}


def flips(root: Path, form: Form, done: Callable[[str], Row | None]) -> Iterator[Row]:
    """A row per kind of file."""
    for target in TARGETS:
        trials = SHORT.get(target.path, 0) if form.short else form.of(target.trials)
        if trials:
            row = done(target.path)
            yield row if row else _flipped(root, target, trials, form.seed)


def _flipped(root: Path, target: Target, trials: int, seed: int) -> Row:
    """Tries one kind of file; every trial begins with the file as it was."""
    row, draw, begun = Row("flips", target.path), random.Random(f"{seed} {target.path}"), time.perf_counter()
    place = place_of(root, root.parent / "flip", *target.parts)
    if target.path.startswith("own-base"):
        _copy_base(root, place)
    read = READERS[target.reader] if isinstance(target.reader, str) else target.reader
    call = (lambda: read()) if isinstance(target.reader, str) else (lambda: read(place))  # type: ignore[operator, call-arg, arg-type]
    attempt(call, place)  # what is computed when first asked for is there
    file = next(iter(sorted(place.glob(target.path.split(" ")[0]))))
    original = file.read_bytes()
    plain, again = attempt(call, place), attempt(call, place)
    if plain.code != 0 or (plain.value, plain.out) != (again.value, again.out):
        raise RuntimeError(f"{target.path}: unharmed, exit code {plain.code}\n{plain.out}{again.out}{plain.err}")
    for _ in range(trials):
        harmed, what = _harmed(original, draw, rows=file.suffix == ".jsonl")
        file.write_bytes(harmed)
        ended = attempt(call, place)
        row.count(judge(ended, [plain.value, plain.out], [ended.value, ended.out]), f"{what}: {ended.last}")
        file.write_bytes(original)
    row.seconds = time.perf_counter() - begun
    return row


def _harmed(original: bytes, draw: random.Random, *, rows: bool) -> tuple[bytes, str]:
    """The bytes with one bit turned, or cut short; and which. Rows are not cut between two: that is the file as it was earlier."""
    if draw.random() < CUT:
        length = draw.randrange(len(original))
        while rows and (length == 0 or b"\n" in original[length - 1 : length + 1]):
            length = draw.randrange(len(original))
        return original[:length], f"cut to {length} of {len(original)} bytes"
    header = min(HEADER, len(original))
    byte = draw.randrange(header if draw.random() < 0.5 else len(original))
    bit = draw.randrange(8)
    harmed = bytearray(original)
    harmed[byte] ^= 1 << bit
    around = original[max(0, byte - 12) : byte + 12].decode("utf-8", "replace")
    return bytes(harmed), f"byte {byte} of {len(original)}, bit {bit}, in {around!r}"


def _copy_base(root: Path, place: Path) -> None:
    import shutil

    shutil.copytree(root / "base", place / "own-base")
