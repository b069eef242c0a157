"""A path as its user wrote it, with `~` as the home folder: the one place where `~` is expanded."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path, with a leading `~` or `~name` as that user's home folder; one of an unknown user stays as it is.

    >>> user_path("data/reviews.csv").as_posix()
    'data/reviews.csv'
    >>> user_path("~/reviews.csv") == Path.home() / "reviews.csv"
    True
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  pathlib's own raises for an unknown user, as in "~$draft.csv"
