"""Pieces that workers of a cluster do, without torch: each says which process and node did it, and waits where a test wants to kill it."""

import json
import os
import sys
import time
from pathlib import Path

from tasksel.display.progress import say
from tasksel.errors import UserError


def writer(folder):
    """A piece writes its process's id into the folder; one that begins with "slow" then waits until the folder holds "go"."""
    folder = Path(folder)

    def do(name):
        import ray

        if name == "wrong":
            raise UserError("no task 'wrong'")
        if name == "deadly":
            os._exit(1)
        node = ray.get_runtime_context().get_node_id()
        (folder / f"{name}.json").write_text(json.dumps({"pid": os.getpid(), "node": node}))
        while name.startswith("slow") and not (folder / "go").exists():
            time.sleep(0.05)
        say(f"{name} is done")
        return json.dumps({"pid": os.getpid(), "node": node, "torch": "torch" in sys.modules})

    return do


def read(piece, text):
    """A piece with what was said of it."""
    return piece, json.loads(text)
