"""Time and memory of a step over LoRAs, against one new LoRA, the naive loop and peft (contenders: `benchmarks.lora_contenders`).

    python -m benchmarks.lora                                   8 LoRAs of rank 8 on queries and values
    python -m benchmarks.lora --targets all-linear              on every Linear
    python -m benchmarks.lora --counts 1 2 4 8 16 32 64 --out docs/results/costs     also writes lora.md there
    python -m benchmarks.lora --memory-of scalearn              one contender's peak memory, as JSON; the other forms start it

Measured as by `benchmarks.step`: contenders take turns in one process, a ratio is taken within a round, memory is a new process's.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.bases import base_at_hand
from benchmarks.contenders import PRECISIONS
from benchmarks.lora_contenders import (
    ALL_LINEAR,
    AVAILABLE,
    CONTENDERS,
    HAS_PEFT,
    LEFT_OUT,
    QUERY_VALUE,
    UNTRAINED,
    Setting,
)
from benchmarks.step import (
    UNIT,
    Seconds,
    aligned,
    cells,
    judged,
    machine,
    markdown,
    measure_memory,
    measure_time,
    memory_here,
    packages,
)

CHOICES = {"precision": PRECISIONS, "targets": (QUERY_VALUE, ALL_LINEAR)}
Measured = tuple[Seconds, Seconds, dict[str, float]]


def measure(names: list[str], setting: Setting, rounds: int, threads: int, *, with_memory: bool) -> Measured:
    """Seconds of a training step and an inference pass by contender and round, and peak memory in MiB."""
    in_process = partial(measure_memory, module="benchmarks.lora")
    trained = [name for name in names if name not in UNTRAINED] if with_memory else []
    memory = {name: in_process(name, setting, threads)["peak"] for name in trained}
    return *measure_time(names, setting, rounds, contenders=CONTENDERS), memory


def verdicts(setting: Setting, measured: Measured) -> list[str]:
    """The bounds that the project promises over 8 LoRAs of rank 8, and what was measured."""
    trained, inferred, memory = measured
    if (setting.sources, setting.rank) != (8, 8):
        return []
    return judged(
        [
            ("training step", trained, "scalearn", UNIT, True, 1.10),
            ("training step", trained, "scalearn", "peft", True, 1.00),
            ("training step", trained, UNIT, "peft-single", True, 1.05),
            ("peak memory", memory, "scalearn", UNIT, True, 1.05),
            ("inference", inferred, "exported", UNIT, True, 1.10),
        ]
    )


def conditions(setting: Setting, rounds: int, threads: int) -> str:
    """What was measured on what, in one line."""
    peft = ""
    if HAS_PEFT:
        from peft import __version__ as peft_version

        peft = f", peft {peft_version}"
    loras = f"{setting.sources} LoRAs of rank {setting.rank} on {setting.targets.replace('-', ' and ' if setting.targets == QUERY_VALUE else ' ')}"
    return f"{loras}, {rounds} rounds, {machine(setting, threads)}, {packages()}{peft}"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora", description=__doc__.splitlines()[0])
    default = Setting(device="cuda" if torch.cuda.is_available() else "cpu")
    for key, value in asdict(default).items():
        choices = CHOICES.get(key)
        parser.add_argument(f"--{key}", type=type(value), default=value, choices=choices, help=f"default: {value}")
    parser.add_argument("--rounds", type=int, default=20, help="rounds that count; default: 20")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--contenders", nargs="+", choices=AVAILABLE, help="default: all that can run here")
    parser.add_argument("--counts", type=int, nargs="+", help="several numbers of LoRAs, in place of --sources")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    trained = [name for name in AVAILABLE if name not in UNTRAINED]
    parser.add_argument("--memory-of", choices=trained, help="only this one's peak, as JSON")
    parser.add_argument("--out", type=Path, help="folder in which lora.md is written")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    wanted = {*(options.contenders or AVAILABLE), UNIT}  # the unit always runs
    names = [name for name in CONTENDERS if name in wanted]
    with base_at_hand(options.base) as base:
        setting = Setting(**{**{key: getattr(options, key) for key in asdict(Setting())}, "base": base})
        if options.memory_of:
            print(json.dumps(memory_here(options.memory_of, setting, CONTENDERS)))
            return
        if not HAS_PEFT and not options.contenders:
            print(LEFT_OUT)
        page = ["# Steps over LoRAs", ""]
        page += ["Made by `python -m benchmarks.lora --out FOLDER`. What its rows are: [LoRAs](README.md#loras).", ""]
        for count in options.counts or [setting.sources]:
            at_count = replace(setting, sources=count)
            measured = measure(names, at_count, options.rounds, options.threads, with_memory=not options.no_memory)
            about, rows = conditions(at_count, options.rounds, options.threads), cells(names, *measured)
            said = verdicts(at_count, measured)
            print("\n".join([about, "", *aligned(rows), "", *said, ""]), flush=True)
            page += [f"{about}.", "", *markdown(rows), "", *(f"    {line}" for line in said), ""]
            if options.out:  # after each, for the last may be long
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / "lora.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
