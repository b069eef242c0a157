"""What made a stored thing: the versions of all packages that decide a number, and the command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys

PACKAGES = ("scalearn", "torch", "transformers", "adapters", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """The versions that made something."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def command() -> str:
    """What was called to make something, in this run's own folder; never part of what is published."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    launch = [] if precision == "no" else ["accelerate", "launch", "--mixed_precision", precision, "-m"]
    return shlex.join([*launch, "scalearn", *sys.argv[1:]])
