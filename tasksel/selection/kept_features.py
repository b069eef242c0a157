"""What a source's model makes of a target's rows, kept in the target's folder, so that ranking the same rows again runs no model.

    <target's folder>/features/<key>.safetensors        key: of adapter, head, base, token ids, pooling and version

Stored as embeddings are: one file, written whole, with a hash of all it holds (`tasksel.embeddings.base`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import CONFIG, HEAD, HEAD_CONFIG
from tasksel.embeddings.base import TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.encoding import Encoded
from tasksel.model.pooling import Pooling
from tasksel.storage.atomic import file_hash, value_hash


@dataclass(frozen=True)
class SourceOutput:
    """What a source's model computes of a target's rows.

    Attributes:
        features: [n, d], or [n, choices, d]. probabilities: [n, Z], of the source's own classes. classes: [n], the likeliest one.
        seconds: of the forward pass.
    """

    features: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    seconds: float


def output_key(trained: AdapterCheckpoint, base: Base, encoded: Encoded, pooling: Pooling) -> str:
    """One word for everything that decides a source's output.

    >>> output_key(source.trained, base, encoded, "mean")  # doctest: +SKIP
    '0f6e5a4c1d2b3a49'
    """
    files = [trained.folder / name for name in (CONFIG, HEAD_CONFIG, HEAD)]
    others = [file_hash(path) if path.is_file() else None for path in files]
    types = encoded.types and [*encoded.types]
    made_of = [trained.fingerprint, others, base.fingerprint, [*encoded.ids], types, encoded.width, pooling]
    return value_hash([*made_of, version("scalearn")])


def read_output(path: Path) -> SourceOutput:
    """A stored output.

    Raises:
        UserError: a file that is cut short or altered.
    """
    try:
        stored = TaskEmbedding.load(path)
        arrays = [stored.arrays[name] for name in ("features", "probabilities", "classes")]
    except (UserError, KeyError) as error:
        raise UserError(f"{path} is cut short or altered: delete it and run again") from error
    features, probabilities, classes = arrays
    return SourceOutput(features, probabilities, classes, stored.provenance["seconds"])


def write_output(path: Path, output: SourceOutput, *, source: str, base: Base) -> None:
    """Stores an output, whole or not at all."""
    arrays = {"features": output.features, "probabilities": output.probabilities, "classes": output.classes}
    provenance = {"task": source, "method": "features", "base": base.name, "seconds": output.seconds}
    TaskEmbedding(arrays, provenance).save(path)
