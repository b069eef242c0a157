"""What a pool entry says of itself: base, task, rows, settings, scores, versions, and a hash of every file."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys

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
