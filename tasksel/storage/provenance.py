"""Provenance: the package versions and the command line that produced a stored result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys

NOT_INSTALLED = "not installed"
PACKAGES = ("scalearn", "torch", "transformers", "adapters", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a result; `adapters`, which decides none, says which line is in use.

    >>> sorted(versions())[:2]
    ['accelerate', 'adapters']
    """
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = NOT_INSTALLED
    return installed


def command() -> str:
    """The command line of this process. It may hold paths of this machine, so it stays in a run's own folder and is never published."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    launch = [] if precision == "no" else ["accelerate", "launch", "--mixed_precision", precision, "-m"]
    return shlex.join([*launch, "scalearn", *sys.argv[1:]])
