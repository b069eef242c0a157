"""Which of your tasks will help this one? Tasks, their embeddings, and rankings by them.

The public names, with their types, are listed in `__init__.pyi`.
"""

from tasksel import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
