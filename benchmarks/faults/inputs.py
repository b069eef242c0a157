"""Malformed inputs of every command: options, configurations, task files, rows, adapters, stored records; generated from their schemas.

An input that is certainly wrong must be refused in one line; any other must not end in a traceback. A stored record that was changed may also
be read, if everything that is shown stays the same.
"""

from __future__ import annotations

import inspect
import json
import shutil
import time
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies

from benchmarks.faults.commands import READERS, WRITERS, Command
from benchmarks.faults.kills import one_host
from benchmarks.faults.mutations import Case, as_text, broken_text, changes_of, drawn
from benchmarks.faults.trial import attempt, command
from benchmarks.faults.verdict import Form, Row, judge, refused
from benchmarks.faults.world import place_of

LIMIT = 30.0
TASK_SCHEMA = {
    "properties": {
        "name": {"type": "string"}, "kind": {"type": "string"}, "metric": {"type": "string"}, "suite": {"type": "string"}, "label_field": {"type": "string"},
        "text_fields": {"type": "array", "items": {"type": "string"}}, "label_names": {"type": "array"}, "num_choices": {"type": "integer"},
    }
}  # fmt: skip
ADAPTER_SCHEMA = {
    "properties": {
        "model_type": {"type": "string"}, "model_name": {"type": "string"}, "name": {"type": "string"}, "hidden_size": {"type": "integer"},
        "config": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {
            "architecture": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "non_linearity": {"type": "string"}, "reduction_factor": {"anyOf": [{"type": "number"}, {"type": "object"}]}}}]},
    }
}  # fmt: skip
MATRIX_SCHEMA = {
    "items": {"properties": {
        "target": {"type": "string"}, "source": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "method": {"type": "string"}, "seed": {"type": "integer"}, "metric": {"type": "string"},
        "score": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "dev": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "steps": {"type": "integer"}, "seconds": {"type": "number"},
    }}
}  # fmt: skip
# the cheapest whole command line of every command, whose options are replaced one at a time
LINES = {
    "tasksel ls": READERS["tasksel ls"], "tasksel show": Command("", "tasksel show rows.csv --text body", ("rows.csv",)),
    "tasksel rank": READERS["rank by random"], "tasksel evaluate": READERS["evaluate, stored"], "tasksel predict-gain": READERS["predict-gain, stored"],
    "tasksel embed": WRITERS["embed"], "tasksel index build": WRITERS["index build"], "tasksel index nearest": READERS["index nearest"],
    "scalearn train-source": WRITERS["train-source"], "scalearn pool ls": READERS["pool ls"], "scalearn pool show": READERS["pool show"],
    "scalearn pool add": WRITERS["pool add"], "scalearn pool verify": READERS["pool verify"], "scalearn transfer": WRITERS["transfer"],
    "scalearn explain": READERS["explain, printed"], "scalearn predict": READERS["predict, printed"], "scalearn export": WRITERS["export"],
    "scalearn push": READERS["push, planned"], "scalearn compare": READERS["compare, planned"], "scalearn report": READERS["report, printed"],
    "scalearn measure-matrix": READERS["measure-matrix, planned"], "scalearn doctor": READERS["doctor"],
}  # fmt: skip
NAMES = (
    "by",
    "method",
    "suite",
    "task",
    "sources",
    "data",
    "base",
    "set",
    "also",
    "targets",
    "target",
    "overwrite",
)  # of something known
UNUSED = {  # by these command lines, so that a value of them may be anything
    "tasksel show": ("data",), "tasksel evaluate": ("data", "base"), "tasksel predict-gain": ("data", "base"), "scalearn transfer": ("by",), "scalearn explain": ("method",),
}  # fmt: skip
NUMBERS_AT_LEAST_1 = (
    "rows",
    "top",
    "k",
    "jobs",
    "recipe.epochs",
    "recipe.batch",
    "recipe.max-length",
    "recipe.micro-batch",
    "recipe.max-steps",
)


@dataclass(frozen=True)
class Kind:
    """A kind of input: what it is written to, which command reads it, and a strategy of cases.

    Attributes:
        stored: whether it is a record of ours, of which any change that shows must be refused.
    """

    name: str
    line: str
    parts: tuple[str, ...]
    cases: Callable[[Path], Any]
    trials: int
    stored: bool = False


def file_cases(path: str, value: Any, schema: dict[str, Any] | None = None, *, dump: Callable[[Any], str] = as_text, closed: bool = True) -> Any:  # fmt: skip
    """A strategy of cases of a JSON or YAML file: changed by its schema, or broken as text."""

    def of_change(change: tuple[Any, str, bool]) -> Case:
        text = dump(change[0])
        return Case(change[1], ((path, text.encode("utf-8", "surrogatepass")),), wrong=change[2])

    def of_text(change: tuple[bytes, str]) -> Case:
        return Case(change[1], ((path, change[0]),))

    changes = changes_of(value, schema, closed=closed).map(of_change)
    return strategies.one_of(changes, changes, changes, broken_text(dump(value)).map(of_text))


def row_cases(path: str, rows: list[Any], schema: dict[str, Any] | None = None) -> Any:
    """A strategy of cases of a file of rows: one row changed, or the text broken."""

    def dump(value: Any) -> str:
        return "".join(json.dumps(row) + "\n" for row in (value if isinstance(value, list) else [value]))

    return file_cases(path, rows, schema, dump=dump, closed=False)


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _stored_cases(root: Path, pattern: str) -> Any:
    """A strategy of cases of the first stored file of a pattern."""
    path = str(sorted(root.glob(pattern))[0].relative_to(root))
    return row_cases(path, _rows(root / path)) if path.endswith("l") else file_cases(path, _json(root, path))


def _json(root: Path, path: str) -> Any:
    return json.loads((root / path).read_text())


def kinds(root: Path) -> list[Kind]:
    """Every kind of file that a user or a store brings."""
    from scalearn.comparison.experiment_config import ExperimentConfig
    from scalearn.comparison.matrix_config import MatrixConfig

    def config(name: str, model: Any) -> Callable[[Path], Any]:
        value = yaml.safe_load((root / name).read_text())
        return lambda _: file_cases(
            name, value, model.model_json_schema(), dump=lambda part: yaml.safe_dump(part, allow_unicode=False)
        )

    def stored(name: str, pattern: str, reader: str | Command) -> Kind:
        read = READERS[reader] if isinstance(reader, str) else reader
        return Kind(name, read.line, read.parts, lambda _: _stored_cases(root, pattern), 50, stored=True)

    def rows(name: str, path: str, reader: str, schema: dict[str, Any] | None = None) -> Kind:
        read = READERS[reader]
        return Kind(name, read.line, read.parts, lambda _: row_cases(path, _rows(root / path), schema), 60)

    return [
        Kind("a comparison's configuration", READERS["compare, planned"].line, ("compare.yaml",), config("compare.yaml", ExperimentConfig), 150),
        Kind("a matrix's configuration", "scalearn measure-matrix matrix.yaml --out new --plan", ("matrix.yaml",), config("matrix.yaml", MatrixConfig), 120),
        Kind("task.json", "tasksel show reviews --data own", (), lambda _: file_cases("own/reviews/task.json", _json(root, "tasks/reviews/task.json"), TASK_SCHEMA, closed=False), 150),
        Kind("a task file", "tasksel show own.yaml", (), lambda _: file_cases("own.yaml", _task_file(root), _task_schema(), dump=yaml.safe_dump), 150),
        Kind("rows, JSONL", "tasksel show own.jsonl --text first", (), lambda _: row_cases("own.jsonl", _rows(root / "tasks/reviews/train.jsonl")), 120),
        Kind("rows, CSV", "tasksel show rows.csv --text body", ("rows.csv",), lambda _: broken_text((root / "rows.csv").read_text()).map(lambda drawn: Case(drawn[1], (("rows.csv", drawn[0]),))), 80),
        Kind("rows to predict", READERS["predict, printed"].line, READERS["predict, printed"].parts, lambda _: row_cases("new.jsonl", _rows(root / "new.jsonl")), 60),
        Kind("adapter_config.json", WRITERS["pool add"].line, ("pool", "outside"), lambda _: file_cases("outside/adapter_config.json", _json(root, "outside/adapter_config.json"), ADAPTER_SCHEMA, closed=False), 150),
        Kind("head_config.json", WRITERS["pool add"].line, ("pool", "outside"), lambda _: file_cases("outside/head_config.json", _json(root, "outside/head_config.json"), closed=False), 100),
        Kind("an adapter's weights", WRITERS["pool add"].line, ("pool", "outside"), _weight_cases, 60),
        stored("card.json", "pool/reviews/card.json", "pool ls"),
        stored("run.json", "result/run.json", "predict, printed"),
        stored("seed.json", "result/seed-0/seed.json", "explain, printed"),
        stored("scalearn.json", "export/scalearn.json", "predict by an export"),
        stored("index.json", "index/index.json", "index nearest"),
        stored("experiment.json", "run/experiment.json", "report, printed"),
        rows("rows.jsonl", "run/rows.jsonl", "report, printed"),
        rows("matrix.jsonl", "matrix/matrix.jsonl", "evaluate, stored", MATRIX_SCHEMA),
        rows("scores.jsonl", "matrix/scores.jsonl", "evaluate, stored"),
        rows("pairs.jsonl", "matrix/pairs.jsonl", "predict-gain, stored"),
        stored("a unit of a store", "run/store/units/*.json", Command("", "scalearn compare compare.yaml --out run --plan", ("compare.yaml", "run"))),
    ]  # fmt: skip


SHORT = {"a comparison's configuration": 8, "task.json": 12, "adapter_config.json": 5, "rows, JSONL": 10}


def _task_file(root: Path) -> Any:
    """A task file that describes the reviews."""
    from tasksel import get_task

    fields = get_task("reviews", data=root / "tasks").model_dump(mode="json", exclude_defaults=True)
    return {**fields, "source": {"type": "files", **fields["source"]}}


def _task_schema() -> dict[str, Any]:
    from tasksel import Task

    return Task.model_json_schema()


def _weight_cases(root: Path) -> Any:
    """A strategy of adapters whose weights are of another shape, type or name, or no numbers."""
    import numpy as np
    from safetensors.numpy import load_file, save

    tensors = load_file(root / "outside/adapter.safetensors")

    def as_case(drawn: tuple[str, str]) -> Case:
        name, act = drawn
        new = dict(tensors)
        array = new[name]
        with np.errstate(all="ignore"):
            if act == "renamed":
                new[f"{name}.nonsense"] = new.pop(name)
            elif act == "left out":
                del new[name]
            else:
                new[name] = {
                    "NaN": array * np.nan, "infinite": array * np.inf, "integers": array.astype(np.int64), "double": array.astype(np.float64), "half": array.astype(np.float16),
                    "turned": np.ascontiguousarray(array.T[..., None]), "empty": array[:0], "a row less": array[:-1], "booleans": array > 0,
                }[act]  # fmt: skip
        wrong = act not in ("half", "double")
        return Case(f"{name} {act}", (("outside/adapter.safetensors", save(new)),), wrong=wrong)

    acts = (
        "renamed",
        "left out",
        "NaN",
        "infinite",
        "integers",
        "double",
        "half",
        "turned",
        "empty",
        "a row less",
        "booleans",
    )
    return strategies.tuples(strategies.sampled_from(sorted(tensors)), strategies.sampled_from(acts)).map(as_case)


def option_cases(name: str, line: Command) -> Any:
    """A strategy of command lines: one option of the command, read from its signature, with a value that it may not have."""
    options = [
        choice for option, hint in options_of(name) for choice in _bad_values(option, hint, UNUSED.get(name, ()))
    ]
    options += [(("--nonsense",), True), (("--nonsense", "1"), True), (("a", "b", "c", "d", "e\udcff"), False)]

    def as_case(drawn: tuple[tuple[str, ...], bool]) -> Case:
        words, wrong = drawn
        rest = line.line.split()
        if words[0] in rest:
            at = rest.index(words[0])
            end = next((i for i in range(at + 1, len(rest)) if rest[i].startswith("--")), len(rest))
            rest[at:end] = []
        return Case(" ".join(word[:40] for word in words), words=(*rest, *words), wrong=wrong)

    return strategies.sampled_from(options).map(as_case)


def options_of(name: str) -> Iterator[tuple[str, Any]]:
    """The options of a command with their types; those of a recipe by their own names, positional arguments left out."""
    package, *rest = name.split()
    app = __import__(f"{package}.cli.main", fromlist=["app"]).app
    node = app
    for word in rest:
        node = node._commands[word]
    hints = typing.get_type_hints(node, include_extras=True)
    for parameter in inspect.signature(node).parameters:
        hint = hints[parameter]
        if "Positional" in repr(hint):
            continue
        named = next(
            (part.name for part in getattr(hint, "__metadata__", ()) if getattr(part, "name", None)), parameter
        )
        plain = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        fields = getattr(plain, "model_fields", None)
        if fields is None:
            yield f"--{named.replace('_', '-')}", plain
        elif parameter == "recipe":
            yield from ((f"--recipe.{key.replace('_', '-')}", field.annotation) for key, field in fields.items())


def _bad_values(option: str, hint: Any, unused: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """(words, whether they are certainly wrong) for an option of a type."""
    name, text = option.removeprefix("--"), str(hint)
    if "int" in text or "float" in text:
        yield from (((option, word), True) for word in ("x", "", "nan", "-1", "1e", "²"))
        if name in NUMBERS_AT_LEAST_1:
            yield (option, "0"), True
        if name in ("top", "jobs", "recipe.max-length", "seed", "seeds") or "seed" in name:
            yield (option, str(2**70)), name != "jobs"
        if "epochs" not in name:
            yield (option, "1000000"), False
        if "lr" in name or "loss" in name:
            yield from (((option, word), True) for word in ("inf", "-0.1"))
    elif hint is not bool:
        wrong = name in NAMES and name not in unused
        yield from (
            ((option, word), wrong and word not in ("base", "../.."))  # folders that are there
            for word in ("nonsense", "", "x" * 300, "../..", "\udcff", "/dev/null/x", "base", "rows.csv/x")
        )
    yield (option,), hint is not bool and "tuple" not in text


def inputs(root: Path, form: Form, done: Callable[[str], Row | None]) -> Iterator[Row]:
    """A row per kind of file, and one per command for its options."""
    home = root.parent / "hypothesis"
    for kind in kinds(root):
        trials = SHORT.get(kind.name, 0) if form.short else form.of(kind.trials)
        if trials:
            yield done(kind.name) or _row(root, kind, drawn(kind.cases(root), trials, form.seed, home))
    for name, line in list(LINES.items())[: 1 if form.short else None]:
        full = f"options of {name}"
        yield done(full) or _row(root, Kind(full, line.line, line.parts, lambda _: None, 0), drawn(option_cases(name, line), 8 if form.short else form.of(40), form.seed, home))  # fmt: skip


def _row(root: Path, kind: Kind, cases: list[Case]) -> Row:
    """Tries every case of a kind, each in the place as it was before."""
    row, begun, place = Row("malformed inputs", kind.name), time.perf_counter(), root.parent / "input"
    plain = None
    if kind.stored:
        plain = attempt(lambda: command(kind.line), place_of(root, place, *kind.parts)).out
    for case in cases:
        _prepare(root, place, kind)
        for path, raw in case.files:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(raw)
        line = list(case.words) or kind.line.split()
        ended = attempt(lambda line=line: command(line), place, fault=one_host, limit=LIMIT)
        verdict = judge(ended, plain, ended.out) if kind.stored else _verdict(ended, case)
        row.count(verdict, f"{case.what}: {ended.last if ended.code is not None else 'no end'}")
    shutil.rmtree(place, ignore_errors=True)
    row.seconds = time.perf_counter() - begun
    return row


def _prepare(root: Path, place: Path, kind: Kind) -> None:
    """The place of a kind of input, with a folder of tasks of its own where the case changes one."""
    place_of(root, place, *kind.parts)
    if "--data own" in kind.line:
        shutil.copytree(root / "tasks", place / "own")


def _verdict(ended: Any, case: Case) -> str:
    """Of an input that is certainly wrong, anything but a refusal is silent; others may be taken."""
    if refused(ended):
        return "one-line"
    if ended.code != 0 or "Traceback" in ended.err:
        return "traceback"
    return "silent" if case.wrong else "harmless"
