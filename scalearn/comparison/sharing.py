"""Who does the pieces of a comparison or a matrix: this process, `--jobs` processes, or the workers of a cluster (`--on ray`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from scalearn.comparison.ray_cluster import check_address
from scalearn.comparison.remote_worker import Remote
from scalearn.comparison.workers import Work, workers
from tasksel.bounds import check_count, check_jobs
from tasksel.errors import UserError

MOST_PER_GPU = 100


@dataclass(frozen=True)
class Worker:
    """How one piece is done: each attribute gives the function that does it.

    Attributes:
        here: in this process. process: in another of this machine; it is pickled. remote: on another machine.
    """

    here: Callable[[], Callable[[Any], Any]]
    process: Callable[[], Callable[[Any], Any]]
    remote: Remote


@dataclass(frozen=True)
class Sharing:
    """Who shares the pieces; see `Plan.run`."""

    jobs: int | None = None
    on: str | None = None
    per_gpu: int | None = None

    def engine(self, worker: Worker, pieces: int) -> AbstractContextManager[Work]:
        """The function that does pieces; see `workers`.

        Args:
            pieces: how many there are; a cluster starts no more workers than that.
        """
        if self.on is not None:
            from scalearn.comparison.ray_engine import ray_workers

            return ray_workers(worker.remote, on=self.on, jobs=self.jobs, per_gpu=self.per_gpu, most=pieces)
        jobs = self.jobs or 1
        return workers(worker.here if jobs == 1 else worker.process, jobs)


def check_engine(jobs: int | None, on: str | None, per_gpu: int | None, shard: str | None = None) -> None:
    """Refuses what cannot share work, before anything is loaded.

    Raises:
        UserError: jobs or workers per GPU below 1, or very many; several jobs, a cluster or a shard in a launch of several processes; no such
            place; no such shard.
    """
    if jobs is not None:
        check_jobs(jobs)
    if per_gpu is not None and on is None:
        raise UserError("--per-gpu is for a cluster: give --on too; on this machine --jobs processes share its GPU")
    check_count(per_gpu, "--per-gpu")
    if per_gpu is not None and per_gpu > MOST_PER_GPU:
        raise UserError(f"--per-gpu {per_gpu}: give at most {MOST_PER_GPU}; each worker holds a model of its own")
    if on is not None:
        check_address(on)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and ((jobs or 1) > 1 or on or shard):
        way = "--shard" if shard else "--on" if on else "--jobs"
        raise UserError(
            f"either {way} or a launch of several processes shares the work: start it with --num_processes 1"
        )
