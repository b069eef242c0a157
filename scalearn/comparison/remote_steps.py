"""The steps of a plan on another machine: done by their names, once that machine sees what they need; and what comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence

from scalearn.comparison.records import UnitRecord
from scalearn.comparison.steps import Step
from tasksel.errors import UserError

SHOWN = 120.0  # seconds that a shared file system may take to show here what another machine wrote; NFS takes up to 60
LOOK = 1.0


class StepsByName:
    """Does steps of a plan by their names.

    Args:
        needs: of a step; see `steps.needs`. is_done: whether a step's outcome is seen here. do: does a step, and gives a unit's record.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        needs: Callable[[Step], Iterable[Step]],
        is_done: Callable[[Step], bool],
        do: Callable[[Step], UnitRecord | None],
    ) -> None:
        self._steps = {str(step): step for step in steps}
        self._needs, self._is_done, self._do = needs, is_done, do
        self._seen: set[Step] = set()

    def __call__(self, name: str) -> str:
        """JSON of a step's record, if it has one, and the seconds it took.

        Raises:
            UserError: what the step needs is done, and is not seen here.
        """
        step = self._steps[name]
        for need in self._needs(step):
            if str(need) in self._steps and need.kind != "target-adapter":  # one that diverged is not there, ever
                self._wait_for(need)
        start = time.perf_counter()
        row = self._do(step)
        return json.dumps({"row": row and row.model_dump_json(), "seconds": time.perf_counter() - start})

    def _wait_for(self, need: Step) -> None:
        until = time.monotonic() + SHOWN
        while need not in self._seen:
            if self._is_done(need):
                self._seen.add(need)
            elif time.monotonic() > until:
                raise UserError(
                    f"'{need}' is done elsewhere and is not in the store here: is it a folder of a shared file system?"
                )
            else:
                time.sleep(LOOK)


def read_step(step: Step, text: str) -> tuple[Step, UnitRecord | None, float]:
    """A step with its record and seconds, from what `StepsByName` gave."""
    answer = json.loads(text)
    row = answer["row"]
    return step, UnitRecord.model_validate_json(row) if row else None, answer["seconds"]
