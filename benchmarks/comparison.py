"""How far a whole comparison is from the frozen forward and backward passes that it needs, and where the rest of its time goes.

    python -m benchmarks.comparison                          a small comparison on the built-in tasks; seconds by part
    python -m benchmarks.comparison quickstart               another configuration
    python -m benchmarks.comparison --jobs 1 2 4             units a minute, of many small units, by this many processes
    python -m benchmarks.comparison --out docs/results/costs also writes comparison.md there

The comparison runs twice in processes of its own: the first with empty caches ("cold"), the second with what the first has read and tokenised
("warm"), but an empty store. Each process counts every second of itself once, by part, from its start to its end. Afterwards it repeats the bare
base's passes: as many as the comparison made, of the same shapes, forward, and backward where a step needed it, with one learned vector a layer
(`floor` in `benchmarks.contenders`). These seconds over the wall time are what a comparison without any overhead would take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stopwatch import Shape, Stopwatch

SMALL = """\
name: small
base: {base}
sources: {{tasks: [entail_travel, sentiment_films, grammar_garden], rows: 100, recipe: {{batch: 16, epochs: 2, max_length: 64}}}}
targets: {{tasks: [sentiment_phones], rows: 100, seeds: [0]}}
rank: {{by: logme, top: 2}}
methods: [closed-form, scalearn, single-adapter, closed-form-base]
recipe: {{batch: 16, epochs: 3, max_length: 64}}
"""
MANY = """\
name: many
base: {base}
sources: {{tasks: [sentiment_films], rows: 16, recipe: {{batch: 16, epochs: 1, max_length: 32}}}}
targets: {{tasks: [sentiment_phones, entail_kitchen], rows: 32, seeds: [0, 1, 2, 3, 4, 5]}}
methods: [head-only, closed-form-base]
recipe: {{batch: 16, epochs: 2, max_length: 32}}
keep: false
"""
PARTS = {
    "base": ["tasksel.model.base:load_base", "tasksel.model.base:Base.model"],
    "reading": ["tasksel.tasks.load:load_data"],
    "tokenising": ["tasksel.model.encoding:encode_split"],
    "forward": ["tasksel.model.task_model:TaskModel.forward"],
    "backward": ["accelerate.accelerator:Accelerator.backward"],
    "optimizer": ["accelerate.optimizer:AcceleratedOptimizer.step"],
    "rest of training": ["tasksel.training.loop:fit_parts"],
    "rest of features": ["tasksel.training.features:pooled_by"],
    "rest of evaluation": ["tasksel.training.predict:predict"],
    "solving": ["tasksel.training.cross_validation:cross_validated"],
    "ranking": ["tasksel.selection.ranking:rank"],
    "storing": [
        "tasksel.storage.atomic:write_bytes",
        "tasksel.storage.atomic:append_bytes",
        "tasksel.storage.atomic:file_hash",
        "tasksel.adapters.folder:save_adapter",
        "safetensors.torch:save_file",
    ],
    "building models": ["scalearn.methods.base:TransferMethod.build", "tasksel.adapters.train:adapter_model"],
}
ABOUT = {
    "import": "until torch, transformers and scalearn are imported",
    "forward": "of the model, in steps, features and evaluations",
    "backward": "of steps",
    "rest of training": "batches, moving them, clipping, schedules, progress, keeping the best weights",
    "other": "planning, keys, the report",
}


def small(base: str, folder: Path) -> str:
    """Writes the small comparison's configuration into a folder."""
    path = folder / "small.yaml"
    path.write_text(SMALL.format(base=base))
    return str(path)


def measured(config: str, out: Path) -> dict[str, Any]:
    """Runs a comparison in this process, and repeats its passes on the bare base.

    Returns:
        wall, floor: seconds. parts: seconds by part. first: seconds from the process's start to the end of the first forward pass.
    """
    begun = _process_start()
    import torch
    import transformers  # noqa: F401

    import scalearn.comparison.plan
    import scalearn.report  # noqa: F401
    from scalearn.comparison.config import configuration_file
    from scalearn.comparison.experiment import Experiment
    from scalearn.report import write_report

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    imported = time.perf_counter()
    with Stopwatch(PARTS) as watch:
        run = Experiment.from_yaml(configuration_file(config)).run(out)
        write_report(run)
    wall = time.perf_counter() - begun
    parts = {"import": imported - begun, **watch.seconds}
    parts["other"] = wall - sum(parts.values())
    units = len(run.rows)
    floor = floor_seconds(dict(watch.shapes), run.config["base"])
    return {"wall": wall, "floor": floor, "parts": parts, "first": watch.first["forward"] - begun, "units": units}


def _process_start() -> float:
    """When this process began, on the clock of time.perf_counter."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # since the machine's start, as CLOCK_BOOTTIME counts
    return time.perf_counter() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)


def floor_seconds(shapes: dict[Shape, int], base: str) -> float:
    """Seconds of the bare base's passes of these shapes, each measured twice after a first pass, of which the shorter counts."""
    import torch

    from benchmarks.contenders import CONTENDERS, Setting

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = CONTENDERS["floor"](Setting(base=base)).to(device)
    total = 0.0
    for (rows, tokens, backward), count in shapes.items():
        ids = torch.full((rows, tokens), 1000 % model.config.vocab_size, device=device)
        total += count * min(_pass_seconds(model, ids, backward=backward) for _ in range(3))
    return total


def _pass_seconds(model: Any, ids: Any, *, backward: bool) -> float:
    import torch

    from benchmarks.step import synchronise

    model.train(backward)
    synchronise(ids.device.type)
    begun = time.perf_counter()
    with torch.set_grad_enabled(backward):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if backward:
        logits.sum().backward()
    synchronise(ids.device.type)
    return time.perf_counter() - begun


def apart(config: str, out: Path, cache: Path) -> dict[str, Any]:
    """`measured` in a process of its own, whose caches lie in a folder."""
    command = [sys.executable, "-m", "benchmarks.comparison", config, "--child", str(out)]
    environment = {**os.environ, "SCALEARN_CACHE": str(cache)}
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def cells(cold: dict[str, Any], warm: dict[str, Any]) -> list[list[str]]:
    """A row for each part under a row of captions: seconds and shares of both runs, largest first."""
    table = [["part", "cold [s]", "share", "warm [s]", "share", ""]]
    for part in sorted(warm["parts"], key=lambda part: -warm["parts"][part]):
        numbers = []
        for run in (cold, warm):
            seconds = run["parts"].get(part, 0.0)
            numbers += [f"{seconds:.1f}", f"{100 * seconds / run['wall']:.0f} %"]
        table.append([part, *numbers, ABOUT.get(part, "")])
    ends = [
        ("in all", "wall", ""),
        ("floor", "floor", "the bare base's passes of the same shapes"),
        ("first pass", "first", "since the start"),
    ]
    for name, key, about in ends:
        numbers = [
            text for run in (cold, warm) for text in (f"{run[key]:.1f}", f"{100 * run[key] / run['wall']:.0f} %")
        ]
        table.append([name, *numbers, about])
    return table


def rates(base: str, root: Path, engines: list[list[str]]) -> list[list[str]]:
    """A row for each engine, as options of `scalearn compare`: units a minute of many small ones, the processes' start included."""
    config = root / "many.yaml"
    config.write_text(MANY.format(base=base))
    table = [["engine", "units", "seconds", "units a minute"]]
    for number, engine in enumerate(engines):
        out = root / f"many-{number}"
        begun = time.perf_counter()
        command = [sys.executable, "-m", "scalearn", "compare", str(config), "--out", str(out), *engine]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds, units = time.perf_counter() - begun, len((out / "rows.jsonl").read_text().splitlines())
        table.append([" ".join(engine), str(units), f"{seconds:.1f}", f"{60 * units / seconds:.1f}"])
    return table


def engines_here(jobs: list[int]) -> list[list[str]]:
    """The ways to share units that this version and this machine have."""
    import importlib.util

    import torch

    engines = [["--jobs", str(number)] for number in jobs]
    if importlib.util.find_spec("ray"):
        engines.append(["--on", "ray"])
        engines += [["--on", "ray", "--per-gpu", "4"]] if torch.cuda.is_available() else []
    return engines


def about(run: dict[str, Any]) -> str:
    """What was measured on what, in one line."""
    from benchmarks.contenders import Setting
    from benchmarks.step import machine, packages

    conditions = machine(Setting(), int(os.environ.get("OMP_NUM_THREADS", "1"))).split(", ", 3)[3]
    return f"{run['units']} units, {conditions}, {packages()}"


def summary(cold: dict[str, Any], warm: dict[str, Any]) -> str:
    """The distance from the floor, in one line."""
    return f"wall time over floor: {cold['wall'] / cold['floor']:.2f} cold, {warm['wall'] / warm['floor']:.2f} warm"


def write_page(cold: dict[str, Any], warm: dict[str, Any], out: Path) -> None:
    """Writes comparison.md into a folder."""
    from benchmarks.step import markdown

    made_by = "Made by `python -m benchmarks.comparison --out FOLDER`. What its rows are: [A whole comparison](README.md#a-whole-comparison)."
    lines = [
        "# A comparison's seconds by part",
        "",
        made_by,
        "",
        f"{about(warm)}.",
        "",
        *markdown(cells(cold, warm)),
        "",
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.md").write_text("\n".join([*lines, f"    {summary(cold, warm)}", ""]))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", help="a configuration; default: a small one on the built-in tasks")
    parser.add_argument("--base", default="minilm", help="of the small one; default: minilm")
    parser.add_argument(
        "--child", type=Path, help="measure one run into this folder, and print JSON; the first form starts it"
    )
    parser.add_argument(
        "--jobs", type=int, nargs="+", help="measure units a minute by so many processes, and by Ray where it is"
    )
    parser.add_argument("--out", type=Path, help="folder in which comparison.md is written")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    if options.child:
        print(json.dumps(measured(options.config, options.child)))
        return
    from benchmarks.step import aligned

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if options.jobs:
            print("\n".join(aligned(rates(options.base, root, engines_here(options.jobs)))))
            return
        config = options.config or small(options.base, root)
        cold, warm = (apart(config, root / name, root / "cache") for name in ("cold", "warm"))
    print("\n".join([about(warm), "", *aligned(cells(cold, warm)), "", summary(cold, warm)]))
    if options.out:
        write_page(cold, warm, options.out)


if __name__ == "__main__":
    main()
