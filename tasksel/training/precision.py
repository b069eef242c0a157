"""The precision in which trainings compute: float32, or 16-bit autocast over weights that stay float32.

    asked for           `Recipe.precision`, `--precision`
    else the launch's   `accelerate launch --mixed_precision`
    else                float32; and where `fastest` is asked, bf16 on a GPU that computes it natively

bf16 has float32's range, so that nothing overflows and no loss is scaled; fp16 is for older GPUs. On a CPU `fastest` is float32 even where
bf16 would be faster (AMX): results shall not depend on which CPU a machine has. Closed forms, rankings and the scoring of a finished model
compute in float32 whatever is said here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

Precision = Literal["float32", "bf16", "fp16"]
PrecisionChoice = Literal["auto", "float32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
LAUNCH = "ACCELERATE_MIXED_PRECISION"  # set by `accelerate launch`
FULL = "no"  # accelerate's word
AMPERE = 8  # the first compute capability with bf16 in its matrix units
AMX, CPU_FLAGS = "amx_bf16", Path("/proc/cpuinfo")


def mixed(precision: Precision | None) -> str:
    """What accelerate calls a precision ("no" for float32); of None that of the launch.

    >>> mixed("float32"), mixed("bf16")
    ('no', 'bf16')
    """
    if precision is None:
        return os.environ.get(LAUNCH, FULL)
    return FULL if precision == "float32" else precision


def launched() -> Precision | None:
    """The precision that a launch has set; None outside a launch, or of one that has no name here (fp8)."""
    words: dict[str | None, Precision] = {mixed(precision): precision for precision in PRECISIONS}
    return words.get(os.environ.get(LAUNCH))


def is_launched() -> bool:
    """Whether a launch says what the precision is, be it full."""
    return LAUNCH in os.environ


def fastest() -> Precision:
    """bf16 on a GPU whose matrix units compute it, else float32."""
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_bf16_supported():
        return "float32"
    return "bf16" if torch.cuda.get_device_capability()[0] >= AMPERE else "float32"


def cpu_prefers_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices faster than float32 ones: one with AMX does, as Linux says; elsewhere it is not known."""
    try:
        lines = CPU_FLAGS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(AMX in line.split() for line in lines if line.startswith("flags"))
