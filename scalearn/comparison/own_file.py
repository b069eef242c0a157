"""A user's own file in a configuration, as a value: its path, and for a data file its columns and what they hold.

    files:
      reviews: {path: reviews.csv, text: body, label: stars}      columns and kind as in `Task.from_file`
      refunds: refund.yaml                                        a task file says them itself
    sources: {tasks: [sentiment_films, reviews]}

Paths are relative to the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BeforeValidator

from tasksel.storage.frozen import Frozen
from tasksel.storage.user_path import user_path


class OwnFile(Frozen):
    """A data file with its columns, or a task file.

    Attributes:
        path: of the file. text, label, kind, metric, labels, choices, validation, separator, encoding, max_new_tokens: of a data file,
            as in `Task.from_file`.
    """

    path: str
    text: str | tuple[str, ...] = ()
    label: str | tuple[str, ...] = "label"
    kind: str | None = None
    metric: str | None = None
    labels: tuple[str, ...] | None = None
    choices: str | tuple[str, ...] | None = None
    validation: str | None = None
    separator: str | None = None
    encoding: str | None = None
    max_new_tokens: int | None = None


def as_file(value: Any) -> Any:
    """A path alone as the fields of an `OwnFile`; anything else as it is.

    >>> as_file("refund.yaml")
    {'path': 'refund.yaml'}
    """
    return {"path": value} if isinstance(value, str) else value


Files = tyro.conf.Suppress[
    dict[str, Annotated[OwnFile, BeforeValidator(as_file)]]
]  # no option: a mapping of names that nobody types


def files_beside(path: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration file with the paths of its own files relative to it.

    >>> files_beside(Path("runs/mine.yaml"), {"files": {"a": {"path": "a.csv", "text": "body"}}})["files"]["a"]["path"]
    'runs/a.csv'
    """
    files = fields.get("files")
    if not isinstance(files, dict):
        return dict(fields)
    moved = {name: as_file(file) for name, file in files.items()}
    for name, file in moved.items():
        if isinstance(file, dict):
            paths = {key: file[key] for key in ("path", "validation") if isinstance(file.get(key), str)}
            moved[name] = file | {key: (path.parent / user_path(value)).as_posix() for key, value in paths.items()}
    return {**fields, "files": moved}
