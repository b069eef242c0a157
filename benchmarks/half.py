"""A decoder held in 16 bits against the same in float32 (`tasksel.model.half_weights`): memory, and the time of a training step and a forward pass.

    python -m benchmarks.half                                     0.4 billion random parameters, 8 LoRAs of rank 8 on queries and values
    python -m benchmarks.half --device cuda --precision bf16      under autocast on a GPU
    python -m benchmarks.half --layers 32 --width 4096            7 billion, where there is room for 27 GB

Measured as by `benchmarks.step`: both take turns in one process, a ratio is taken within a round, memory is a new process's. Outside autocast a product
widens its weight first: wanted is at most 1.10 of the time, at half of the weights' memory.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.contenders import PRECISIONS
from benchmarks.lora_contenders import Setting, by_method
from benchmarks.step import Ratio, Runner, aligned, interleave, machine, measure_memory, packages

HALF, WHOLE = "bf16", "float32"
CONTENDER = {"scalearn": partial(by_method, "scalearn")}
CAPTIONS = ["held in", "weights [MiB]", "peak [MiB]", "train [ms]", f"/ {WHOLE}", "infer [ms]", f"/ {WHOLE}"]


def write_bases(folder: Path, *, layers: int, width: int) -> None:
    """Writes a LLaMA of random weights twice: in bf16, and the same numbers in float32."""
    sizes = {"hidden_size": width, "intermediate_size": 11 * width // 4, "num_hidden_layers": layers}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=width // 64)).bfloat16()
    model.save_pretrained(folder / HALF)
    model.float().save_pretrained(folder / WHOLE)


def measure(folder: Path, setting: Setting, rounds: int, threads: int) -> list[list[str]]:
    """The table of both: MiB of the base's weights and of a process that trains, milliseconds, and their ratio round by round."""
    settings = {name: replace(setting, base=str(folder / name)) for name in (HALF, WHOLE)}
    peaks = {name: measure_memory("scalearn", own, threads, module="benchmarks.lora") for name, own in settings.items()}
    runners = {name: Runner("scalearn", own, CONTENDER) for name, own in settings.items()}
    trained = interleave({name: partial(one.seconds, one.train) for name, one in runners.items()}, rounds)
    for one in runners.values():
        one.model.eval()
    inferred = interleave({name: partial(one.seconds, one.infer) for name, one in runners.items()}, rounds)
    rows = [CAPTIONS]
    for name, one in runners.items():
        base = sum(p.numel() * p.element_size() for n, p in one.model.named_parameters() if ".adapters." not in n)
        times = [
            [f"{1000 * median(seconds[name]):,.0f}", str(Ratio.of(seconds[name], seconds[WHOLE]))]
            for seconds in (trained, inferred)
        ]
        rows.append([name, f"{base / 2**20:,.0f}", f"{peaks[name]['peak']:,.0f}", *times[0], *times[1]])
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    default = Setting(device="cuda" if torch.cuda.is_available() else "cpu", batch=8)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.half", description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24, help="default: 24")
    parser.add_argument("--width", type=int, default=1024, help="a multiple of 64; default: 1024")
    parser.add_argument("--batch", type=int, default=default.batch, help=f"default: {default.batch}")
    parser.add_argument("--length", type=int, default=default.length, help=f"default: {default.length}")
    parser.add_argument("--device", default=default.device, help=f"default here: {default.device}")
    parser.add_argument("--precision", choices=PRECISIONS, default=default.precision)
    parser.add_argument("--rounds", type=int, default=11, help="rounds that count; default: 11")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    same = {name: getattr(options, name) for name in ("batch", "length", "device", "precision")}
    setting = Setting(**same, base=f"LLaMA of {options.layers} layers {options.width} wide")
    with tempfile.TemporaryDirectory() as folder:
        write_bases(Path(folder), layers=options.layers, width=options.width)
        rows = measure(Path(folder), setting, options.rounds, options.threads)
    print(f"{setting.sources} LoRAs of rank {setting.rank}, {options.rounds} rounds, {machine(setting, options.threads)}, {packages()}\n")  # fmt: skip
    print("\n".join(aligned(rows)))


if __name__ == "__main__":
    main()
