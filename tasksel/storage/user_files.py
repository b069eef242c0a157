"""YAML and JSON that users write, read within bounds: no tag that makes an object, no depth, alias or size without end.

    task files, task.json, configurations      `read_fields`: the mapping in a file
    name=value on a command line               `parse_yaml`: one value

JSON is read as JSON: YAML's reader takes an emoji that JSON escapes for two broken characters.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tasksel.errors import UserError, one_line
from tasksel.storage.user_path import user_path

MEGABYTES = 1  # of a file; the largest catalogue has 0.02
DEPTH = 50
NODES = 100_000  # values, each alias counted as what it stands for
TOO_DEEP = f"nested more than {DEPTH} deep, or in itself"


def read_fields(path: str | Path, what: str = "a configuration") -> dict[str, Any]:
    """The mapping in a YAML file, or a JSON file by its ending.

    Args:
        what: what the file should hold, for the error.

    Raises:
        UserError: no such file, no text, broken YAML or JSON (each with its line), a key that stands twice, something else than a
            mapping with text as keys, or one beyond the bounds.
    """
    path = user_path(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file (a folder, pipe or device); {what} is one")
        if path.stat().st_size > MEGABYTES * 2**20:
            raise UserError(f"{path}: larger than {MEGABYTES} MB: not {what}")
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"no file {path}") from error
    except UserError:
        raise
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or one_line(error)})") from error
    fields = parse_json(text, path) if path.suffix.lower() == ".json" else parse_yaml(text, path)
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise UserError(f"{path}: {what} is a mapping (name: value), given {fields!r:.60}")
    return fields


def parse_yaml(text: str, where: str | Path) -> Any:
    """The value in a YAML text.

    Raises:
        UserError: `where` and the line of what is broken, doubled or beyond the bounds.

    >>> parse_yaml("rows: [1, 2]", "a.yaml")
    {'rows': [1, 2]}
    >>> parse_yaml("a: &a [*a]", "a.yaml")
    Traceback (most recent call last):
    tasksel.errors.UserError: a.yaml:1: nested more than 50 deep, or in itself
    """
    if len(text) > MEGABYTES * 2**20:
        raise UserError(f"{where}: larger than {MEGABYTES} MB")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        loader.count(node)
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else str(where)
        problem = getattr(error, "problem", None) or one_line(error)
        raise UserError(f"{place}: {problem if isinstance(error, _Bounds) else f'broken YAML ({problem})'}") from error
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:  # a date such as 2024-13-45
        raise UserError(f"{where}: broken YAML ({one_line(error)})") from error
    if depth_of(value) > DEPTH:  # by aliases of aliases
        raise UserError(f"{where}: {TOO_DEEP}")
    return whole_characters(value)


def parse_json(text: str, where: str | Path) -> Any:
    """The value in a JSON text, within the bounds of `parse_yaml`.

    Raises:
        UserError: as `parse_yaml`.
    """
    try:
        value = json.loads(text, object_pairs_hook=without_twins)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: broken JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a key twice; an integer of 5,000 digits; nested without end
        raise UserError(f"{where}: {TOO_DEEP if isinstance(error, RecursionError) else one_line(error)}") from error
    if depth_of(value) > DEPTH:
        raise UserError(f"{where}: {TOO_DEEP}")
    return whole_characters(value)


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object, none of which may stand twice.

    Raises:
        UserError: the key that does.
    """
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise UserError(f"'{twin:.60}' stands twice in an object; remove one")
    return values


def depth_of(value: Any) -> int:
    """How deep lists and mappings are nested: 0 for a text or a number.

    >>> depth_of({"a": [1, [2]]})
    3
    """
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [item for whole in level for item in (whole.values() if isinstance(whole, dict) else whole)]
    return depth


def whole_characters(value: Any) -> Any:
    """The value with each half of a surrogate pair, which no file and no tokenizer takes, as the replacement character.

    >>> whole_characters({"text": "half \\ud83d of a pair"})
    {'text': 'half � of a pair'}
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value


class _Bounds(yaml.MarkedYAMLError):
    """Valid YAML that is beyond the bounds."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses depth without end, keys that stand twice, and aliases that multiply."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEPTH:
            raise _Bounds(TOO_DEEP, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def count(self, root: yaml.Node) -> None:
        """Refuses a document that stands in itself, or whose aliases stand for too many values."""
        sizes: dict[int, int | None] = {}

        def size(node: yaml.Node) -> int:
            """The values that a node stands for, with what its aliases stand for."""
            if id(node) in sizes:
                known = sizes[id(node)]
                if known is None:
                    raise _Bounds(TOO_DEEP, node.start_mark)
                return known
            sizes[id(node)] = None
            inner = [] if isinstance(node, yaml.ScalarNode) else node.value
            total = 1 + sum(sum(map(size, item)) if isinstance(item, tuple) else size(item) for item in inner)
            if total > NODES:
                raise _Bounds(f"more than {NODES:,} values, with what its aliases stand for", node.start_mark)
            sizes[id(node)] = total
            return total

        size(root)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            twin = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if twin in seen and not key.tag.endswith(":merge"):
                raise _Bounds(f"'{key.value:.60}' stands twice; remove one", key.start_mark)
            seen |= {twin} - {None}
        return super().construct_mapping(node, deep)
