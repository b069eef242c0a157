"""What a process on another machine does for a comparison: it says what it is, loads the base once, and does pieces by their names.

    Remote               what it is told, by the machine that shares the work
    probe(text)          versions, and whether the store and the driver's folder are the same ones there; imports nothing heavy
    RemoteWorker         one process with its share of the machine; `start` loads, `do` does one piece

Strings alone go there and come back: JSON, and names of pieces.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksel.storage.provenance import versions

SETTINGS = ("ACCELERATE_MIXED_PRECISION", "HF_", "TRANSFORMERS_", "SCALEARN_")  # of the environment, or how they begin
COMPARED = ("scalearn", "torch", "transformers", "python")  # what may not differ between two machines of one table


@dataclass(frozen=True)
class Remote:
    """What a worker on another machine needs, as strings.

    Attributes:
        make: "module:function", which gives the function from a piece's name to its outcome, as text. settings: its arguments.
        read: a piece and that text as the outcome, here.
        store: the folder that all machines share.
    """

    make: str
    settings: tuple[str, ...]
    read: Callable[[Any, str], Any]
    store: Path


def settings_here() -> dict[str, str]:
    """What of the environment decides what is loaded and computed."""
    return {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}


def versions_here() -> dict[str, str]:
    """The versions that must agree: public ones (a CPU's torch is that of a GPU), of Python the first two numbers.

    >>> sorted(versions_here())
    ['python', 'scalearn', 'torch', 'transformers']
    """
    public = {name: version.partition("+")[0] for name, version in versions().items() if name in COMPARED}
    return {**public, "python": ".".join(public["python"].split(".")[:2])}


def probe(text: str) -> str:
    """What this machine is, as JSON: its name and versions, and what it sees of the driver's store.

    Args:
        text: JSON of the store's folder, and of the file in it with its content that the driver wrote a moment ago.

    The answer's `problem` is empty where the store is the same here and can be written.
    """
    asked = json.loads(text)
    question = Path(asked["folder"]) / asked["file"]
    problem = ""
    try:
        if question.read_text() != asked["content"]:
            problem = "has another folder of that name"
        else:
            answer = question.with_name(f"{question.name}-{socket.gethostname()}-{os.getpid()}")
            answer.write_text(asked["content"])
    except FileNotFoundError:
        problem = "does not see it"
    except OSError as error:
        problem = (
            f"cannot write there ({error.strerror})" if question.is_file() else f"cannot read it ({error.strerror})"
        )
    return json.dumps({"host": socket.gethostname(), "versions": versions_here(), "problem": problem})


class RemoteWorker:
    """One worker process of a cluster."""

    def __init__(self) -> None:
        self._act: Callable[[str], str] | None = None

    def start(self, text: str) -> str:
        """Loads what pieces need, and says where this is.

        Args:
            text: JSON of "make" (module:function, which gives the function that does one piece), its "settings", the driver's folder and
                environment, the number of threads, and whether this worker has a share of a GPU.
        """
        start = json.loads(text)
        for name in settings_here():
            os.environ.pop(name)
        os.environ |= start["environment"]
        with contextlib.suppress(OSError):  # no such folder here; then what is named relative to it is named as missing
            os.chdir(start["cwd"])
        from tasksel.display import progress

        progress.write_no_phases()
        module, function = start["make"].split(":")
        self._act = getattr(importlib.import_module(module), function)(*start["settings"])
        return json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "device": _device(start["threads"], gpu=start["gpu"])}
        )

    def sign(self) -> str:
        """A sign of life."""
        return ""

    def do(self, name: str) -> str:
        """Does a piece; gives JSON of its outcome and of the lines that it said."""
        assert self._act is not None
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            outcome = self._act(name)
        return json.dumps({"outcome": outcome, "said": [line for line in said.getvalue().splitlines() if line.strip()]})


def _device(threads: int, *, gpu: bool) -> str:
    """What this process computes on, once it has its share of the threads.

    Raises:
        UserError: it has a share of a GPU, which its torch does not see.
    """
    if not gpu and "torch" not in sys.modules:
        return "cpu"
    import torch

    from tasksel.errors import UserError

    torch.set_num_threads(threads)
    if gpu and not torch.accelerator.is_available():
        host = socket.gethostname()
        raise UserError(
            f"{host} has a GPU, and its torch {torch.__version__} does not see it: install one there that does"
        )
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def answers(folder: Path, file: str) -> list[Path]:
    """What `probe` wrote there, on whichever machine."""
    return sorted(folder.glob(f"{file}-*"))


def differing(there: dict[str, Any], here: dict[str, str]) -> list[str]:
    """What differs between two machines' versions, in words.

    >>> differing({"torch": "2.6.0", "python": "3.11"}, {"torch": "2.13.0", "python": "3.11"})
    ['torch 2.6.0 there, 2.13.0 here']
    """
    return [
        f"{name} {there.get(name)} there, {version} here"
        for name, version in here.items()
        if there.get(name) != version
    ]
