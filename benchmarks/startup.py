"""How long commands take that compute nothing: help, a list of tasks, a mistake; each a whole process, against an interpreter that does nothing.

    python -m benchmarks.startup --rounds 10

Commands run in turn, round by round, so that a slow moment of the machine meets all of them. The limit is `python -c pass`; what lies between is imports.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import tyro

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import tyro, pydantic, rich": ["-c", "import tyro, pydantic, rich.console, rich.table"],
    "tasksel --help": ["-m", "tasksel", "--help"],
    "scalearn --help": ["-m", "scalearn", "--help"],
    "tasksel ls": ["-m", "tasksel", "ls"],
    "scalearn transfer --nonsense": ["-m", "scalearn", "transfer", "--nonsense"],
    "scalearn trasnfer": ["-m", "scalearn", "trasnfer"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of one process, its output thrown away."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - begun, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Each command's seconds, one pair per round, after a first round that fills the caches."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            pair = seconds(arguments)
            if number:
                measured[name].append(pair)
    return measured


def table(measured: dict[str, list[tuple[float, float]]]) -> str:
    """A Markdown table: medians, with the range of the wall seconds."""
    lines = ["| command | wall [s] | CPU [s] |", "|---|--:|--:|"]
    for name, pairs in measured.items():
        wall, cpu = ([pair[i] for pair in pairs] for i in (0, 1))
        spread = f"{min(wall):.2f} to {max(wall):.2f}"
        lines.append(f"| `{name}` | {statistics.median(wall):.2f} ({spread}) | {statistics.median(cpu):.2f} |")
    return "\n".join(lines)


def main(rounds: int = 10) -> None:
    """Measure how long commands take that compute nothing.

    Args:
        rounds: how often each command runs, after a first time that is not counted.
    """
    print(f"{rounds} rounds, Python {sys.version.split()[0]}, load before {os.getloadavg()[0]:.1f}\n")
    print(table(measure(rounds)))


if __name__ == "__main__":
    tyro.cli(main)
