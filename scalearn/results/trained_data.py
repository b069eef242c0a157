"""The rows that a stored result was trained on and scored by, read again and compared with what it remembers of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasksel.errors import UserError
from tasksel.tasks.load import Data, load_data

if TYPE_CHECKING:
    from scalearn.results.result import TransferResult


def trained_data(result: TransferResult, seed: int) -> Data:
    """The rows that a seed was trained on and scored by.

    Raises:
        UserError: data that is missing or has changed.

    >>> len(trained_data(result, seed=0).test)  # doctest: +SKIP
    200
    """
    data = load_data(result.task, rows=result.run.rows, seed=seed)
    if data.fingerprint != result.seeds[seed].data:
        raise UserError(
            f"{result.folder}: the data of '{result.task.name}' has changed since it was trained on; "
            "restore the files, or run the transfer again"
        )
    return data
