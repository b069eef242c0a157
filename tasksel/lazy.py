"""Public names without their imports: a package's names are listed once, in its stub, and each is imported when first used (PEP 562).

`__init__.pyi` is what type checkers and editors read; `attach` reads the same imports, so that `import tasksel` costs no torch.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(package: str, folder: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """A package's `__getattr__`, `__dir__` and `__all__`, from the `from … import …` lines of the stub in its folder.

    >>> from tasksel import lazy
    >>> getattr_, dir_, names = lazy.attach("tasksel", lazy.__file__)
    >>> "Task" in names, getattr_("Task").__module__
    (True, 'tasksel.tasks.task')
    """
    tree = ast.parse((Path(folder).parent / "__init__.pyi").read_text(encoding="utf-8"))
    modules = {name.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(importlib.import_module(str(modules[name])), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    names = sorted(modules)
    return __getattr__, lambda: names, names
