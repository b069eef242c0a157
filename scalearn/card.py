"""What a pool entry says of itself: base, task, rows, settings, scores, versions, and a hash of every file."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys

from pydantic import ConfigDict, Field

from tasksel import stored
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


def command() -> str:
    """What was called to make something, in this run's own folder; never part of what is published."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    launch = [] if precision == "no" else ["accelerate", "launch", "--mixed_precision", precision, "-m"]
    return shlex.join([*launch, "scalearn", *sys.argv[1:]])


class Card(stored.Card):
    """One entry's card, as this package writes it: no unknown fields.

    Attributes:
        key: hash of all that decided the weights. files: sha256 by file name.
        epoch: of the checkpoint that was kept. peak_memory: bytes, the most held while training (`scalearn.memory`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    key: str
    recipe: Recipe | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    epoch: int | None = None
    peak_memory: int | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    origin: str = "trained here"
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]
