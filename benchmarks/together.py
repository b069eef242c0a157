"""All of docs/results/costs that one machine measures in a few minutes, one benchmark after the other, on a GPU where there is one.

    python -m benchmarks.together                            prints every table
    python -m benchmarks.together --out docs/results/costs   also writes their pages there
    python -m benchmarks.together --only throughput data

Each is a process of its own; one that fails is named at the end, and the others run all the same. The sizes are those that take about six
minutes on a GPU that nobody else uses; on two CPU cores it is half an hour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

PARTS: dict[str, list[str]] = {  # by name: the module of this folder, and its options
    "throughput": ["throughput"],
    "comparison": ["comparison"],
    "units": ["comparison", "--jobs", "1", "2", "4"],
    "data": ["data", "--most", "100000", "--units", "4"],
    "scheduling": ["scheduling", "--pieces", "1000"],
    "resume": ["resume"],
}
PAGELESS = ("units", "resume")


def run(name: str, out: Path | None) -> bool:
    """Runs one part; whether it ended well."""
    module, *options = PARTS[name]
    options += ["--out", str(out)] if out and name not in PAGELESS else []
    print(f"== {module} {' '.join(options)}", flush=True)
    begun = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *options], check=False).returncode
    print(f"== {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return code == 0


def main(arguments: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--out", type=Path, help="folder in which the pages are written")
    options = parser.parse_args(arguments)
    failed = [name for name in options.only if not run(name, options.out)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
