"""What a pool entry says of itself: base, task, rows, settings, scores, versions, and a hash of every file."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from pydantic import Field, ValidationError

from tasksel.errors import UserError
from tasksel.storage import read_json
from tasksel.task import Frozen, Task
from tasksel.training import Recipe

PACKAGES = ("scalearn", "torch", "transformers", "adapters", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """The versions that made something."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class Card(Frozen):
    """One entry's card.

    Attributes:
        key: hash of all that decided the weights. adapter: the adapter's name inside its files.
        data: fingerprint of the rows. rows: the cap that they were drawn under. files: sha256 by file name.
    """

    name: str
    key: str
    base: dict[str, str]
    adapter: str
    task: Task | None = None
    data: str | None = None
    rows: int | None = None
    seed: int = 0
    recipe: Recipe | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    origin: str = "trained here"
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]


def read_card(path: Path) -> Card:
    """A card.

    Raises:
        UserError: broken JSON or wrong fields.
    """
    try:
        return Card.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: not a pool card ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error
