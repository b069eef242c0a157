"""What a pool says of a source: base, task, rows, settings, scores, versions, and a hash of every file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tasksel.errors import UserError
from tasksel.storage.atomic import read_json
from tasksel.tasks.task import Task


class Card(BaseModel):
    """What must be known of a source; other fields are its owner's.

    Attributes:
        adapter: the adapter's name inside its files. base: name and fingerprint of the model it was trained on.
        data: fingerprint of the rows. rows: the cap that they were drawn under, by `seed`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    adapter: str
    base: dict[str, str]
    task: Task | None = None
    data: str | None = None
    rows: int | None = None
    seed: int = 0


AnyCard = TypeVar("AnyCard", bound=Card)


def read_card(path: Path, kind: type[AnyCard]) -> AnyCard:
    """A card.

    Raises:
        UserError: broken JSON or wrong fields.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: not a source's card ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error
