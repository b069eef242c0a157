"""Which errors are no fault of this package, each as one line: a user's mistake, a disk's trouble, too little memory, a killed worker."""

from __future__ import annotations

import re

from tasksel.errors import UserError, one_line
from tasksel.storage.disk import disk_error, disk_line

NO_MEMORY = (
    "can't allocate memory",  # torch's on a CPU
    "out of memory",  # CUDA's, and the system's
    "Cannot allocate memory",  # ENOMEM
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
LESS = (
    "use fewer --jobs, a smaller --recipe.micro-batch or --recipe.max-length, fewer rows, or a machine with more memory"
)


def failure_line(error: BaseException) -> str | None:
    """What the command line says of an error; None where it is a fault of this package, which wants a traceback.

    >>> failure_line(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes"))
    'not enough memory; use fewer --jobs, a smaller --recipe.micro-batch or --recipe.max-length, fewer rows, or a machine with more memory'
    """
    if isinstance(error, UserError):
        return one_line(error)
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return f"not enough memory; {LESS}"
    trouble = disk_error(error)
    return None if trouble is None else disk_line(trouble)


def plain_usage(message: str) -> str:
    """What tyro says of a usage mistake, without the way in which pydantic says its part.

    >>> plain_usage("Error parsing recipe: 1 validation error for RecipeChange lr Input should be greater than 0 [type=greater_than, "
    ...     "input_value=-1.0, input_type=float] For further information visit https://errors.pydantic.dev/2.14/v/greater_than")
    'recipe.lr must be greater than 0 (given -1.0)'
    """
    message = re.sub(r"\d+ validation errors? for \w+ ", "", message)
    message = re.sub(
        r" \[type=\w+, input_value=(.*?), input_type=\w+\]( For further information visit \S+)?",
        r" (given \1)",
        message,
    )
    message = message.replace("Input should be", "must be").replace("Value error, ", "").removeprefix("Value error; ")
    return re.sub(r"^Error parsing (\w+): (?=\w+ must be )", r"\1.", message)
