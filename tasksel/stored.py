"""Sources that lie in a folder, one folder each: an adapter in the library's own format beside a `card.json`.

`scalearn` writes such pools; what is read of a card here is the task, its rows, and the adapter's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasksel.encoder import Base
from tasksel.errors import UserError
from tasksel.storage import PARTIAL, read_json
from tasksel.task import Task
from tasksel.trained import Trained


class Card(BaseModel):
    """What must be known of a source; other fields are its owner's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    adapter: str
    base: dict[str, str]
    task: Task | None = None
    data: str | None = None
    rows: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class StoredSource:
    """One source of a folder of sources: a `tasksel.subject.Candidate`."""

    folder: Path
    card: Card
    told: Task | None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def task(self) -> Task | None:
        """Its task, from where the caller says that the data lies, else as its card has it."""
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


def stored_base(folder: Path) -> str | None:
    """The name of the base that the sources in a folder were trained on; None where there are none."""
    first = next(iter(sorted(folder.glob("*/card.json"))), None)
    return str(read_json(first).get("base", {}).get("name")) if first else None


def stored_sources(folder: Path, base: Base, *, tasks: dict[str, Task] | None = None) -> list[StoredSource]:
    """The sources in a folder, in name order.

    Args:
        tasks: by name, tasks whose data lies elsewhere now than a card says.

    Raises:
        UserError: no source there, a card that cannot be read, a source of another base.
    """
    found = []
    for path in sorted(folder.glob("*/card.json")):
        if path.parent.name.startswith(PARTIAL):
            continue
        try:
            card = Card.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"{path}: not a source's card ({'.'.join(map(str, first['loc']))}: {first['msg']})"
            ) from error
        if card.base.get("fingerprint") != base.fingerprint:
            raise UserError(
                f"source '{path.parent.name}' in {folder} was trained on base {card.base}, not on '{base.name}' ({base.fingerprint})"
            )
        found.append(StoredSource(path.parent, card, (tasks or {}).get(path.parent.name)))
    if not found:
        raise UserError(f"no sources in {folder}: a pool has a folder with a card.json for each (scalearn pool ls)")
    return found
