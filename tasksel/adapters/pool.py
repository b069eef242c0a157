"""Sources that lie in a folder, one folder each: an adapter in the library's own format beside a `card.json`.

`scalearn` writes such pools, and says more in its cards; what is read of them here is the task, its rows, and the adapter's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasksel.adapters.card import Card, read_card
from tasksel.adapters.checkpoint import Trained
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.storage.atomic import PARTIAL
from tasksel.tasks.task import Task


@dataclass(frozen=True)
class StoredSource:
    """One source of a folder of sources: a `tasksel.selection.candidate.Candidate`.

    Attributes:
        told: its task, where the caller says that its data lies elsewhere now than the card has it.
    """

    folder: Path
    card: Card
    told: Task | None = None

    @property
    def name(self) -> str:
        """The name of its folder, which a user may change."""
        return self.folder.name

    @property
    def task(self) -> Task | None:
        """The task it was trained on, where that is known."""
        return self.told or self.card.task

    @property
    def rows(self) -> int | None:
        """The cap on the rows it was trained on."""
        return self.card.rows

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return self.card.seed

    @property
    def data(self) -> str | None:
        """The fingerprint of the rows it was trained on."""
        return self.card.data

    @cached_property
    def trained(self) -> Trained:
        """Its adapter and head."""
        return Trained(self.folder, self.card.adapter)

    def check_base(self, base: Base) -> None:
        """Refuses a source of another base.

        Raises:
            UserError: with both bases.
        """
        theirs = self.card.base
        if theirs.get("fingerprint") != base.fingerprint:
            raise UserError(
                f"source '{self.name}' in {self.folder.parent} was trained on base '{theirs.get('name')}' ({theirs.get('fingerprint')}), "
                f"not on '{base.name}' ({base.fingerprint}): use that base, or another pool"
            )


def cards_in(folder: Path) -> list[Path]:
    """The cards of a pool in name order; what is still being written is none of it."""
    return [path for path in sorted(folder.glob("*/card.json")) if not path.parent.name.startswith(PARTIAL)]


def stored_base(folder: Path) -> str | None:
    """The name of the base that the sources in a folder were trained on; None where there are none."""
    first = next(iter(cards_in(folder)), None)
    return read_card(first, Card).base.get("name") if first else None


def stored_sources(folder: Path, base: Base, *, tasks: dict[str, Task] | None = None) -> list[StoredSource]:
    """The sources in a folder, in name order.

    Args:
        tasks: by name, tasks whose data lies elsewhere now than a card says.

    Raises:
        UserError: no source there, a card that cannot be read, a source of another base.
    """
    found = [
        StoredSource(path.parent, read_card(path, Card), (tasks or {}).get(path.parent.name))
        for path in cards_in(folder)
    ]
    for source in found:
        source.check_base(base)
    if not found:
        raise UserError(f"no sources in {folder}: a pool has a folder with a card.json for each (scalearn pool ls)")
    return found
