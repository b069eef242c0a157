"""Select source tasks for a target: tasks, task embeddings, rankings, and their evaluation.

The public names, with their types, are listed in `__init__.pyi`.
"""

from tasksel import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
