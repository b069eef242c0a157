"""The processes of a launch: which one this is, and which one writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from tasksel.errors import UserError, one_line

if TYPE_CHECKING:  # accelerate takes seconds to import, and a command that only prints does not need it
    from accelerate import Accelerator

P = ParamSpec("P")


def is_main() -> bool:
    """Whether this process is the one that writes and speaks: rank 0 of a launch, or the only one.

    >>> is_main()  # in a single process
    True
    """
    return os.environ.get("RANK", "0") == "0"


def main_writes(write: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Calls `write` in the main process alone; every process of a launch must come here.

    They enter together, so all have looked at what is stored before one writes, and leave together, so all may read it.

    >>> stored = []
    >>> main_writes(stored.append, "result.json")
    >>> stored
    ['result.json']
    """
    world = accelerator()
    world.wait_for_everyone()
    if world.is_main_process:
        write(*args, **kwargs)
    world.wait_for_everyone()


def accelerator(log_with: str | None = None, *, unused: bool = False, mixed: str | None = None) -> Accelerator:
    """This process's accelerator, as `accelerate launch` set it up; on a machine without one, the CPU ("gloo" for several processes).

    Args:
        log_with: an accelerate tracker ("tensorboard", "wandb", …).
        unused: whether a step may leave some parameters without a gradient, which several processes must search for at each step.
        mixed: the precision in accelerate's words ("no", "bf16", "fp16"), whatever the launch says; None leaves it as it is.

    Raises:
        UserError: a tracker that is unknown or not installed, a precision that the device does not have, or a launch that cannot be set up.

    >>> accelerator().num_processes
    1
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    if mixed is not None and AcceleratorState._shared_state.get("_mixed_precision", mixed) != mixed:
        AcceleratorState._reset_state()  # a state has one precision, from when it is made; the processes stay connected
    has_device = torch.accelerator.is_available()
    kwargs = [
        DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=unused)
    ]  # buffers are frozen, or set alike by every process
    folder = "runs" if log_with else None
    options: dict[str, Any] = {"kwargs_handlers": kwargs, "log_with": log_with, "project_dir": folder}
    try:
        world = Accelerator(cpu=not has_device, mixed_precision=mixed, **options)
    except ValueError as error:
        asked = f"log_with '{log_with}'" if log_with else f"precision '{mixed}'" if mixed else "an accelerator"
        raise UserError(f"{asked}, or the launch itself, cannot be set up: {one_line(error)}") from error
    if world.mixed_precision == "fp16" and not world.native_amp:  # accelerate would compute in float32 without a word
        raise UserError(f"precision 'fp16' needs a GPU, and this is a {world.device.type}: choose float32 or bf16")
    if log_with and not world.log_with:  # accelerate leaves out a tracker that is not installed without a word
        raise UserError(f"tracker '{log_with}' is not installed: pip install {log_with}, or train without log_with")
    if (
        not has_device and "LOCAL_WORLD_SIZE" in os.environ
    ):  # two processes with all threads each slow each other tenfold
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])))
    return world
