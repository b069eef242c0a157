"""One of N commands that share a comparison by its store alone, such as the tasks of a Slurm array: `--shard I/N`.

units        dealt by the hash of their names: each shard has as many, give or take one, of every kind
what several shards need (sources, target adapters, rankings)      begun at another place by each, and put off while another is at it
RUN/shards/shards.json, RUN/shards/I.jsonl      N, and the finished rows of a shard
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from scalearn.comparison.experiment_config import Unit
from scalearn.comparison.records import SHARDS
from scalearn.comparison.steps import Step
from tasksel.errors import UserError
from tasksel.storage.atomic import value_hash
from tasksel.storage.frozen import Frozen
from tasksel.storage.hashed import read_record, write_hashed

MOST = 100_000
SHARDS_FILE = "shards.json"


class _Shards(Frozen):
    """`shards.json`: among how many commands a run is shared."""

    of: int


@dataclass(frozen=True)
class Shard:
    """A shard by its number, from 1, and their count.

    >>> Shard.parse("2/4")
    Shard(number=2, of=4)
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that I/N names.

        Raises:
            UserError: another form, or I beyond N.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= of <= MOST:
            raise UserError(
                f"--shard {text:.40}: give I/N with I from 1 to N, such as 1/4 (a Slurm array that counts from 0 has I - 1)"
            )
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def units(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of this shard, in the plan's order."""
        dealt = sorted(units, key=lambda unit: (unit.condition.method, str(unit.size), value_hash(str(unit))))
        own = set(dealt[self.number - 1 :: self.of])
        return [unit for unit in units if unit in own]

    def steps(
        self,
        steps: Sequence[Step],
        units: Sequence[Unit],
        needs: Callable[[Step], Iterable[Step]],
        also: Iterable[Step] = (),
    ) -> list[Step]:
        """The steps of this shard: its units, and what these need, which each shard begins at another place.

        Args:
            steps: the plan's, each after what it needs. units: of this shard. needs: see `steps.needs`. also: steps that every shard has.
        """
        own, wanted = set(units), set(also)
        for step in reversed(steps):
            if step.unit in own or step in wanted:
                wanted |= {step, *needs(step)}
        kept = [step for step in steps if step in wanted]
        shared = [[step for step in kept if step.kind == kind] for kind in ("source", "target-adapter", "rank")]
        return [*chain.from_iterable(map(self._turned, shared)), *(step for step in kept if step.unit)]

    def _turned(self, steps: list[Step]) -> list[Step]:
        start = (self.number - 1) * len(steps) // self.of
        return steps[start:] + steps[:start]

    def rows_file(self, out: Path) -> Path:
        """Where the finished rows of this shard are."""
        return out / SHARDS / f"{self.number}.jsonl"

    def claim(self, out: Path) -> None:
        """Records N in a run's folder.

        Raises:
            UserError: the run is shared among another number of commands.
        """
        path = out / SHARDS / SHARDS_FILE
        if not path.is_file():
            write_hashed(path, {"of": self.of})
        of = read_record(path, _Shards, "of a run that is shared").of
        if of != self.of:
            raise UserError(
                f"{out} is shared among {of} commands, and this is --shard {self}: give I/{of}; to share what is left anew, stop them all and "
                f"delete {path.parent} (finished work stays in the store)"
            )
