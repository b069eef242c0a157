"""JSON that carries a hash of itself, so that a value that was altered on the disk is refused in one line and never used.

    {"format": 2, … the value …, "hash": "9128f6500813dc56"}        the hash: `value_hash` of all the rest, the format too

Version 0.1 wrote the value alone, without a format or with format 1, and that is still read. An altered or lost "hash" does not pass for that
form: "format" 2 asks for it, and readers refuse keys that they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tasksel.errors import UserError
from tasksel.storage.atomic import read_json, value_hash, write_json
from tasksel.storage.frozen import Frozen

FORMAT = 2  # of values with a hash; 1, or none: version 0.1's, without one
HASH = "hash"
Kind = TypeVar("Kind", bound=Frozen)


def with_hash(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its format and its hash.

    >>> with_hash({"seeds": [0, 1]})
    {'format': 2, 'seeds': [0, 1], 'hash': 'ac6dbd9aea6079c9'}
    """
    plain = json.loads(json.dumps(value))  # a number as a key becomes text, as it will be when it is read
    whole = {"format": FORMAT} | plain | {"format": FORMAT}
    return {**whole, HASH: value_hash(whole)}


def without_hash(value: Any, where: str) -> Any:
    """The value that `with_hash` was given, checked; one of version 0.1, or what is no object, as it is.

    Args:
        where: the file, and the line of it, for the errors.

    Raises:
        UserError: another hash, or none where the format asks for one; a newer format.

    >>> without_hash({"seeds": [0, 1]}, "result.json")
    {'seeds': [0, 1]}
    """
    if not isinstance(value, dict):
        return value
    rest = {name: part for name, part in value.items() if name != HASH}
    form = rest.get("format", 1)
    if isinstance(form, int) and form > FORMAT:
        raise UserError(
            f"{where}: written by a newer version (format {form}, this one reads {FORMAT}): upgrade scalearn, or choose another place"
        )
    if value[HASH] != value_hash(rest) if HASH in value else form != 1:
        raise altered(where)
    return {name: part for name, part in rest.items() if name != "format"} if form == FORMAT else rest


def altered(where: str) -> UserError:
    """The error for a file that is not as it was stored."""
    return UserError(f"{where} is cut short or altered: restore it, or delete it and run again")


def write_hashed(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object with its hash, as indented JSON, atomically."""
    write_json(path, with_hash(value))


def read_hashed(path: Path) -> Any:
    """The value in a file that `write_hashed`, or version 0.1, wrote.

    Raises:
        UserError: see `read_json` and `without_hash`.
    """
    return without_hash(read_json(path), str(path))


def read_record(path: Path, kind: type[Kind], what: str) -> Kind:
    """The record in a file that `write_hashed`, or version 0.1, wrote.

    Args:
        what: it is, for the errors ("a source's card").

    Raises:
        UserError: see `read_hashed`; fields other than the record's.
    """
    return parse_record(read_hashed(path), kind, str(path), what)


def parse_record(value: Any, kind: type[Kind], where: str, what: str) -> Kind:
    """A record from a JSON value; see `read_record`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"])) or "value"
        raise UserError(f"{where}: not {what} ({path}: {first['msg']})") from error
    except UserError as error:  # of a task in it
        raise UserError(f"{where}: not {what} ({error})") from error
