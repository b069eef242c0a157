"""What may be wrong with an input: values of another type or beyond their bounds, keys that are missing, unknown or given twice, broken text.

Every strategy is hypothesis's. Where a schema says which types a field has, a value of none of them is certainly wrong; of others it is only
asked that they end in no traceback.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis import seed as seeded
from hypothesis.configuration import set_hypothesis_home_dir

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**70, 1.5, float("nan"), float("inf"), "", "nonsense", "x" * 300, "a\x00b", "\ud800", "../../up",
    [], [[]], [None], ["nonsense", 1], {}, {"a": 1}, {"": None},
)  # fmt: skip
COUNTS = ("rows", "test_rows", "epochs", "batch", "micro_batch", "max_length", "max_steps", "sizes", "top")
BOUNDED = (*COUNTS, "lr", "patience", "seed", "seeds")
JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        what: in words. files: what is written, by path. words: further words of the command line, or all of it.
        wrong: whether it must be refused.
    """

    what: str
    files: tuple[tuple[str, bytes], ...] = ()
    words: tuple[str, ...] = ()
    wrong: bool = False


def drawn(strategy: Any, count: int, seed: int, home: Path) -> list[Any]:
    """The first examples that hypothesis generates under a seed."""
    found: list[Any] = []
    set_hypothesis_home_dir(home)

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and item below a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from paths_in(part, (*path, key))


def changed(value: Any, path: tuple[Any, ...], act: Callable[[Any, Any], None]) -> Any:
    """A copy of a JSON value, with the holder of a path changed by `act(holder, key)`."""
    new = copy.deepcopy(value)
    holder = new
    for key in path[:-1]:
        holder = holder[key]
    act(holder, path[-1])
    return new


def _put(part: Any) -> Callable[[Any, Any], None]:
    def act(holder: Any, key: Any) -> None:
        holder[key] = part

    return act


def _drop(holder: Any, key: Any) -> None:
    del holder[key]


def changes_of(value: Any, schema: dict[str, Any] | None = None, *, closed: bool = True) -> Any:
    """A strategy of (changed value, in words, whether it is certainly wrong).

    Args:
        schema: its JSON schema, where there is one: further keys are changed too, and wrong types are certain.
        closed: whether unknown keys are refused.
    """
    present = list(paths_in(value))
    known = {path: types_at(schema, path) for path in present} if schema else {}
    known |= {(name,): types_at(schema, (name,)) for name in (schema or {}).get("properties", {})}
    holders = [path for path in ((), *present) if isinstance(_at(value, path), dict)]

    def put(choice: tuple[tuple[Any, ...], Any]) -> tuple[Any, str, bool]:
        path, part = choice
        wrong = is_wrong(path, part, known.get(path))
        return changed(value, path, _put(part)), f"{_dotted(path)} = {part!r:.40}", wrong

    def drop(path: tuple[Any, ...]) -> tuple[Any, str, bool]:
        return changed(value, path, _drop), f"no {_dotted(path)}", False

    def add(path: tuple[Any, ...]) -> tuple[Any, str, bool]:
        free = (
            bool(path) and schema is not None and "additionalProperties" in str(schema)
        )  # a mapping of a user's names
        return (
            changed(value, (*path, "nonsense"), _put(1)),
            f"unknown key in {_dotted(path) or 'it'}",
            closed and not path and not free,
        )

    every = sorted({*present, *known}, key=str)
    puts = strategies.tuples(strategies.sampled_from(every), strategies.sampled_from(HOSTILE)).map(put)
    return strategies.one_of(
        puts, puts, puts, strategies.sampled_from(present).map(drop), strategies.sampled_from(holders).map(add)
    )


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def types_at(schema: dict[str, Any] | None, path: tuple[Any, ...]) -> frozenset[str] | None:
    """The JSON types that a schema allows at a path; None where it does not say."""
    definitions, nodes = (schema or {}).get("$defs", {}), _options(schema or {}, (schema or {}).get("$defs", {}))
    for key in path:
        below = []
        for node in nodes:
            if isinstance(key, int):
                below += _options(node.get("items", {}), definitions) if node.get("items") else []
            elif key in node.get("properties", {}):
                below += _options(node["properties"][key], definitions)
            elif isinstance(node.get("additionalProperties"), dict):
                below += _options(node["additionalProperties"], definitions)
        nodes = below
    types = {node["type"] for node in nodes if "type" in node}
    if "array" in types and path and path[-1] in ("by", "top", "own", "sizes"):
        return None  # one value may stand for a list of one
    return frozenset(types) or None


def _options(node: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """What a schema's node may be, references and alternatives resolved."""
    if "$ref" in node:
        return _options(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in node:
        return [option for part in node["anyOf"] for option in _options(part, definitions)]
    return [node]


def is_wrong(path: tuple[Any, ...], part: Any, types: frozenset[str] | None) -> bool:
    """Whether a value is certainly wrong: of no allowed type, or beyond the bounds that the field's name has."""
    name = next((key for key in reversed(path) if isinstance(key, str)), "")
    if name in BOUNDED and isinstance(part, int | float) and not isinstance(part, bool):
        beyond = name.startswith("seed") and part > 2**64
        return math.isnan(part) or part in (math.inf, -1) or (name in COUNTS and part == 0) or beyond
    if types is None or isinstance(part, bool):
        return False
    if isinstance(part, int) and {"labels", "label_names"} & set(map(str, path)):
        return False  # a whole number is the name that it spells
    given = JSON_TYPES[type(part)]
    return given not in types and not (given == "integer" and "number" in types)


def broken_text(text: str) -> Any:
    """A strategy of (bytes, in words): a text cut short, with bytes put in, or replaced."""
    raw = text.encode()
    put = strategies.sampled_from(
        (
            b"\xff",
            b"\x00",
            b'"',
            b"\n",
            b"\r",
            b"{",
            b"}",
            b",",
            b"\xef\xbb\xbf",
            b"&a *a",
            b"!!python/object:os.system ",
            b"\t",
        )
    )
    places = strategies.integers(0, len(raw))
    return strategies.one_of(
        places.map(lambda end: (raw[:end], f"cut at byte {end}")),
        strategies.tuples(places, put).map(lambda drawn: (raw[: drawn[0]] + drawn[1] + raw[drawn[0] :], f"{drawn[1]!r} at byte {drawn[0]}")),
        strategies.sampled_from(WHOLE).map(lambda named: (named[1], named[0])),
    )  # fmt: skip


def _laughs(levels: int) -> bytes:
    """YAML whose aliases multiply tenfold at each level."""
    lines = [
        f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10 if level else ["x"] * 10) + "]"
        for level in range(levels)
    ]
    return "\n".join(lines).encode()


WHOLE = (
    ("empty", b""), ("blank", b"\n\n"), ("a null", b"null"), ("a list", b"[1, 2]"), ("a number", b"7"), ("binary", bytes(range(256))), ("UTF-16", "name: ü\n".encode("utf-16")),
    ("deep brackets", b"[" * 20_000 + b"]" * 20_000), ("deep mappings", b'{"a": ' * 20_000 + b"1" + b"}" * 20_000), ("itself", b"name: &a [*a]\n"), ("aliases that multiply", _laughs(9)),
)  # fmt: skip


def as_text(value: Any) -> str:
    """JSON with NaN, infinity and lone surrogates as they may stand in a file."""
    return json.dumps(value, indent=1)
