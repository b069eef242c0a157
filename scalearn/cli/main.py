"""scalearn: train source adapters, combine selected ones for a target, compare transfer methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scalearn.cli import comparison, doctor, pool, store, transfer
from tasksel.cli.app import Commands, run_command

WAS_OWN = {"--own": "--include-target"}

# what is stored when a command is interrupted
SOURCES = "finished sources are in the pool, and what another has reached; the same command goes on (all anew, with --overwrite always)"
SEEDS = "finished seeds are stored, and what another has reached; the same command goes on from there"
STEPS = "finished work is stored; the same command goes on from there"

app = Commands("scalearn", __doc__)
app.command("train-source", kept=SOURCES)(pool.train_source)
pools = app.group("pool", "List, show, add and check the sources of a pool.")
pools.command("ls")(pool.ls)
pools.command("show")(pool.show)
pools.command("add")(pool.add)
pools.command("verify")(pool.verify)
app.command("transfer", kept=SEEDS, formerly_options=WAS_OWN)(transfer.transfer)
app.command("explain")(transfer.explain)
app.command("predict")(transfer.predict)
app.command("export")(transfer.export)
app.command("push")(transfer.push)
app.command("compare", kept=STEPS, formerly="run")(comparison.compare)
app.command("report")(comparison.report)
app.command("measure-matrix", kept=STEPS, formerly="matrix")(comparison.measure_matrix)
stores = app.group("store", "List and pack what comparisons have stored.")
stores.command("ls")(store.ls)
stores.command("pack")(store.pack)
stores.command("unpack")(store.unpack)
app.command("doctor")(doctor.doctor)


def parse(arguments: Sequence[str]) -> Callable[[], Any]:
    """Parses; `compare` and `measure-matrix` take the configuration that they are given as the defaults of their options."""
    for name, command in comparison.with_configuration(arguments).items():
        app.command(name)(command)
    return app.parse(arguments)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(app, argv, parse=parse)
