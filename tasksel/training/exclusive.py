"""One process at a time does a piece of work: others that want the same wait, say so, and then see its outcome."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasksel.display.progress import say
from tasksel.processes import accelerator, is_main
from tasksel.storage.locks import waiting_lock


@contextmanager
def exclusive(place: Path) -> Iterator[None]:
    """Keeps other runs from one place, a file or folder that need not be there yet; look in the block whether the work is done by now.

    The processes of a launch enter together, once the main one holds the lock. The lock of a killed run is free.

    >>> with exclusive(Path("pool/rte")):
    ...     Path("pool/.lock-rte").exists()
    True
    """
    with ExitStack() as held:
        if is_main():
            held.enter_context(
                waiting_lock(place, lambda: say(f"{place}: another process works on it; waiting for it"))
            )
        if "RANK" in os.environ:
            accelerator().wait_for_everyone()
        yield
