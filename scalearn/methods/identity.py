"""What a key says of a transfer method: its name, and its settings where they are not those that the name had in version 0.1.

    scalearn                          "scalearn"
    a row of one's own, or changed    ["ties", {"class": "Ties", "version": 1, "density": 0.2, ...}]

The keys of version 0.1 hold the name alone. A row that is still as it was keeps them, so that what 0.1 stored is gone on with; whoever changes
a value or raises a version gets other keys, and nothing stored is taken for it.
"""

from __future__ import annotations

from typing import Any

from scalearn.methods.base import TransferMethod
from tasksel.storage.atomic import value_hash

# name -> value_hash of the settings that it had in version 0.1; changed only where a class gains a field whose default is what 0.1 did
RELEASED = {
    "head-only": "0afa6bf86bbd64da",
    "full": "be7a695e4e656cc9",
    "single-adapter": "8dcfdb7eccaf2e5b",
    "joint": "1ac61c8a951209c5",
    "compacter++": "1634814ffd96f2da",
    "sequential": "038536263f351d21",
    "scalearn": "4f66b7a51d3f565c",
    "scalearn-uniform": "bfa709aec3fe14ac",
    "scalearn++": "e28df703b6b0ae2c",
    "scalearn-uniform++": "3c48c198357113d6",
    "scalearn-mean": "f18b50e0169da790",
    "scalearn-softmax": "898cdfcaae9fc472",
    "average": "07f58cdb0ee8d30b",
    "fixed-grid": "ab70d7c9fd668934",
    "search": "345f3729c65873f2",
    "soup": "5c3d3c28dc2c951f",
    "soup-similarity": "d1d5c413f7bf100b",
    "fusion": "0c3fcd6b6aff9083",
}


def method_identity(method: TransferMethod) -> str | list[Any]:
    """What a key says of a method.

    >>> from scalearn import METHODS
    >>> method_identity(METHODS["scalearn"])
    'scalearn'

    Raises:
        UserError: a value by which a stored result cannot be known again; see `TransferMethod.settings`.
    """
    settings = method.settings()
    return method.name if RELEASED.get(method.name) == value_hash(settings) else [method.name, settings]
