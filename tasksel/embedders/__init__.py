"""Task embedders by name, one method a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tasksel.embedders.connectivity import Connectivity
from tasksel.embedding import Embedder
from tasksel.errors import unknown

EMBEDDERS: dict[str, Callable[..., Embedder]] = {"connectivity": Connectivity}


def get_embedder(name: str, **settings: Any) -> Embedder:
    """The embedder of that name.

    Raises:
        UserError: unknown name or setting (with the nearest one).
    """
    if name not in EMBEDDERS:
        raise unknown("embedder", name, EMBEDDERS)
    known = inspect.signature(EMBEDDERS[name]).parameters
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of '{name}'", setting, known)
    return EMBEDDERS[name](**settings)
