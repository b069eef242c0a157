"""The step benchmark in several environments side by side: one table with a column for each.

    python -m benchmarks.environments .venv/bin/python .venv-next/bin/python

Each interpreter gets one process, which holds all contenders that can run there. They take turns across environments too, in a new order each
round, after one round that does not count: a machine that slows down slows all. `environments.md` in docs/results/costs is rewritten.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch

from benchmarks.contenders import AVAILABLE, CONTENDERS, UNTRAINED, Setting
from benchmarks.step import UNIT, Ratio, Runner, interleave, machine, measure_memory, packages

TRAIN, INFER = "train", "infer"
Seconds = dict[tuple[str, str], list[float]]  # by environment and contender


@dataclass
class Environment:
    """An interpreter with its process, which times an act of a contender when it is asked to."""

    python: str
    process: Any
    about: dict[str, Any] = field(default_factory=dict)  # name, packages, contenders

    def seconds(self, contender: str, act: str) -> float:
        """How long one training step or one inference pass takes there."""
        self.process.stdin.write(json.dumps([contender, act]) + "\n")
        self.process.stdin.flush()
        return float(self.answer())

    def answer(self) -> Any:
        """The next line of its output.

        Raises:
            RuntimeError: it ended.
        """
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.python} ended with exit code {self.process.wait()}; its own message is above")
        return json.loads(line)


def start(stack: ExitStack, pythons: Sequence[str], setting: Setting, threads: int, names: Sequence[str]) -> list[Environment]:  # fmt: skip
    """A process for each interpreter, ready to be asked; named by its version of transformers."""
    environments: list[Environment] = []
    for python in pythons:
        work = json.dumps({"setting": asdict(setting), "threads": threads, "contenders": list(names)})
        command = [python, "-m", "benchmarks.environments", "--serve", work]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(process.stdin.close)  # its loop ends, and with it the process
        environment = Environment(python, process)
        environment.about = environment.answer()
        same = sum(environment.about["name"] == other.about["name"].partition(" (")[0] for other in environments)
        environment.about["name"] += f" ({same + 1})" if same else ""
        environments.append(environment)
    return environments


def serve(work: dict[str, Any], lines: Iterable[str], answers: TextIO) -> None:
    """Answers each line [contender, act] by the seconds that the act took; the first answer tells what runs here."""
    torch.set_num_threads(work["threads"])
    setting = Setting(**work["setting"])
    runners = {name: Runner(name, setting) for name in work["contenders"] if name in AVAILABLE}
    about = {"name": f"transformers {version('transformers')}", "packages": packages(), "contenders": list(runners)}
    print(json.dumps(about), file=answers, flush=True)
    for line in lines:
        name, act = json.loads(line)
        runner = runners[name]
        runner.model.train(act == TRAIN)
        print(runner.seconds(getattr(runner, act)), file=answers, flush=True)


def measure(environments: Sequence[Environment], act: str, rounds: int) -> Seconds:
    """Seconds of an act by environment and contender, the same rounds for all."""
    acts: dict[tuple[str, str], Callable[[], float]] = {
        (environment.about["name"], name): lambda e=environment, n=name: e.seconds(n, act)  # type: ignore[misc]
        for environment in environments
        for name in environment.about["contenders"]
        if act == INFER or name not in UNTRAINED
    }
    return interleave(acts, rounds)


def time_table(title: str, names: Sequence[str], seconds: Seconds) -> list[str]:
    """A row per contender: median milliseconds (times the unit's) in each environment, and the ratio to the first environment."""
    first, *others = names
    head = [title, *(f"{name} [ms]" for name in names), *(f"{name} / {first}" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for contender in CONTENDERS:
        if not any((name, contender) in seconds for name in names):
            continue
        cells = []
        for name in names:
            own = seconds.get((name, contender))
            ratio = Ratio.of(own, seconds[name, UNIT]).median if own else 0.0
            cells.append(f"{statistics.median(own) * 1000:,.1f} ({ratio:.2f})" if own else "–")
        for name in others:
            pair = [seconds.get((each, contender)) for each in (name, first)]
            cells.append(str(Ratio.of(pair[0], pair[1])) if pair[0] and pair[1] else "–")
        lines.append("| " + " | ".join([contender, *cells]) + " |")
    return lines


def memory_table(names: Sequence[str], memory: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    """A row per contender: peak MiB, and what of it the steps take above the built model (each times the unit's), in each environment."""
    lines = ["| " + " | ".join(["peak memory", *(f"{name} [MiB] | the steps' part" for name in names)]) + " |"]
    lines.append("|---" + "|--:|--:" * len(names) + "|")
    for contender in CONTENDERS:
        if not any((name, contender) in memory for name in names):
            continue
        cells = []
        for name in names:
            own, unit = memory.get((name, contender)), memory[name, UNIT]
            parts = [] if own is None else [(own["peak"], unit["peak"]), (own["peak"] - own["built"], unit["peak"] - unit["built"])]  # fmt: skip
            cells += [f"{mib:,.0f} ({mib / of:.2f})" for mib, of in parts] or ["–", "–"]
        lines.append("| " + " | ".join([contender, *cells]) + " |")
    return lines


def page(environments: Sequence[Environment], conditions: str, tables: Sequence[Sequence[str]]) -> str:
    """The whole page."""
    names = ", ".join(environment.about["name"] for environment in environments)
    about = [f"- {environment.about['name']}: {environment.about['packages']}" for environment in environments]
    lines = [
        f"{conditions}; medians, in brackets the ratio to `{UNIT}` within a round of the same environment ({names}).",
        "A ratio between environments is taken within a round too: median and range.",
        "",
        *about,
    ]
    for table in tables:
        lines += ["", *table]
    return "\n".join([*lines, ""])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments", description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters; the first is what others are compared with")  # fmt: skip
    default = Setting(device="cuda" if torch.cuda.is_available() else "cpu")
    for key, value in asdict(default).items():
        parser.add_argument(f"--{key}", type=type(value), default=value, help=f"default: {value}")
    parser.add_argument("--rounds", type=int, default=20, help="rounds that count; default: 20")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="default: all")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--out", type=Path, default=Path("docs/results/costs"), help="folder; default: docs/results/costs")  # fmt: skip
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.pythons and not options.serve:
        parser.error("give at least one interpreter, such as .venv/bin/python")
    return options


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    if options.serve:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a library prints is no answer
        serve(options.serve, sys.stdin, answers)
        return
    missing = next((python for python in options.pythons if not Path(python).is_file()), None)
    if missing:
        raise SystemExit(f"error: there is no interpreter {missing}")
    setting = Setting(**{key: getattr(options, key) for key in asdict(Setting())})
    wanted = [name for name in CONTENDERS if name in {*options.contenders, UNIT}]  # the unit always runs
    memory: dict[tuple[str, str], dict[str, float]] = {}
    with ExitStack() as stack:
        environments = start(stack, options.pythons, setting, options.threads, wanted)
        names = [environment.about["name"] for environment in environments]
        trained = measure(environments, TRAIN, options.rounds)
        inferred = measure(environments, INFER, options.rounds)
    for environment in environments if not options.no_memory else ():
        for name in environment.about["contenders"]:
            if name not in UNTRAINED:
                memory[environment.about["name"], name] = measure_memory(name, setting, options.threads, environment.python)  # fmt: skip
    tables = [time_table("training step", names, trained), time_table("inference", names, inferred)]
    conditions = f"{setting.sources} sources, {options.rounds} rounds, {machine(setting, options.threads)}"
    text = page(environments, conditions, [*tables, *([memory_table(names, memory)] if memory else [])])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "environments.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
