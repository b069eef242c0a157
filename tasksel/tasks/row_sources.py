"""Where a task's rows come from: the hub, local files, or the generated suite. Values only: no file is read here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasksel.storage.frozen import Frozen


class HubSource(Frozen):
    """A data set on the Hugging Face hub. `revision` is a branch, tag or commit; `folder` picks a subset by its path."""

    type: Literal["hub"] = "hub"
    path: str
    config: str | None = None
    folder: str | None = None
    revision: str | None = None
    splits: dict[str, str] = Field(default_factory=lambda: {"train": "train", "validation": "validation"})


class FileSource(Frozen):
    """Local CSV, TSV, JSONL or Parquet files, one per split."""

    type: Literal["files"] = "files"
    files: dict[str, str]


class BuiltinSource(Frozen):
    """A task of the generated suite (`tasksel.tasks.builtin`), generated from its seed."""

    type: Literal["builtin"] = "builtin"
    seed: int = 0
