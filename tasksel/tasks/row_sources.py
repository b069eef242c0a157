"""Where a task's rows come from: the hub, local files, or the generated suite. Values only: no file is read here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

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
    """Local data files by split: one, a pattern of shards (`data/train-*.jsonl`), a folder, or a list of those.

    `separator` and `encoding` are as in `tasksel.tasks.files.read_rows`; what is not said is left out of the stored form.
    """

    type: Literal["files"] = "files"
    files: dict[str, str | tuple[str, ...]]
    separator: str | None = None
    encoding: str | None = None

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the options that nobody set, so that a task has the fingerprint that it had before there were any."""
        return {name: value for name, value in handler(self).items() if value is not None}


class BuiltinSource(Frozen):
    """A task of the generated suite (`tasksel.tasks.builtin`), generated from its seed."""

    type: Literal["builtin"] = "builtin"
    seed: int = 0
