"""Train one small adapter per task, choose those that help a new task, and learn one scaling weight (or vector) for each.

The public names, with their types, are listed in `__init__.pyi`.
"""

from tasksel import lazy

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
