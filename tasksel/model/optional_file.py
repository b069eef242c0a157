"""A file of a base that may be missing: of its folder, or of the hub's repository."""

from __future__ import annotations

from pathlib import Path

from transformers.utils import cached_file


def optional_file(path: str, name: str, revision: str | None) -> Path | None:
    """Where a file of a model lies; None where it has none of that name, or it cannot be fetched.

    Args:
        path: a folder or a hub id. name: of the file, below it. revision: of the hub id.

    >>> optional_file("models/llama-8b", "model.safetensors", None)  # doctest: +SKIP
    PosixPath('models/llama-8b/model.safetensors')
    """
    file = cached_file(
        path,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return Path(file) if file else None
