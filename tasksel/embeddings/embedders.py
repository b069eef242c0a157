"""Task embedders by name, one method per file, a variant is a row of settings; imports from `adapters` down."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from tasksel.embeddings.adapter_units import AdapterUnits
from tasksel.embeddings.adapter_weights import AdapterWeights
from tasksel.embeddings.base import Embedder
from tasksel.embeddings.conductance import Conductance
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.fisher import Fisher
from tasksel.embeddings.soft_prompt import SoftPrompt
from tasksel.embeddings.text import Text
from tasksel.embeddings.token_similarity import TOKEN_SIMILARITIES
from tasksel.embeddings.vocabulary import Vocabulary
from tasksel.errors import UserError, unknown

EMBEDDERS: dict[str, Callable[..., Embedder]] = {
    "connectivity": Connectivity,
    "connectivity-neurons": partial(Connectivity, grouping="neurons"),
    "connectivity-heads": partial(Connectivity, grouping="heads"),
    "connectivity-balanced": partial(Connectivity, grouping="balanced"),
    "connectivity-no-stop": partial(Connectivity, early_stop=False, max_steps=100),
    "connectivity-co-trained": partial(Connectivity, co_train=True),
    "fisher": partial(Fisher, per="example"),
    "fisher-batch": partial(Fisher, per="batch"),
    "weights": AdapterWeights,
    "weights-mean": partial(AdapterWeights, form="mean"),
    **{f"rows-{by}": partial(AdapterUnits, similarity_by=by) for by in TOKEN_SIMILARITIES},
    **{f"prompt-{by}": partial(SoftPrompt, similarity_by=by) for by in TOKEN_SIMILARITIES},
    "conductance": Conductance,
    "conductance-absolute": partial(Conductance, signed=False),
    "conductance-target": partial(Conductance, inputs="target"),
    "conductance-target-absolute": partial(Conductance, inputs="target", signed=False),
    "text": Text,
    "sentence": partial(Text, encoder="sentence"),
    "vocabulary": Vocabulary,
}
"""Constructors of embedders by name; each takes its settings by keyword.

>>> EMBEDDERS["text"](rows=100)
Text(encoder='base', rows=100, max_length=128)
"""


def get_embedder(name: str, **settings: Any) -> Embedder:
    """The embedder of that name; use it to embed tasks yourself, `rank` to rank by it.

    Args:
        name: one of `EMBEDDERS`. settings: of the method, by keyword; they override those of the variant's row.

    Raises:
        UserError: unknown name or setting (with the nearest one).

    >>> get_embedder("vocabulary", words=500)
    Vocabulary(words=500)
    """
    if name not in EMBEDDERS:
        raise unknown("embedder", name, EMBEDDERS)
    check_settings(name, EMBEDDERS[name], settings)
    return EMBEDDERS[name](**settings)


def check_settings(name: str, constructor: Callable[..., Any], settings: dict[str, Any]) -> None:
    """Refuses a setting that a method does not have, or a value of another type than its default's.

    Raises:
        UserError: with the nearest name, or the type that is needed.
    """
    known = inspect.signature(constructor).parameters
    for setting, value in settings.items():
        if setting not in known:
            raise unknown(f"setting of '{name}'", setting, known)
        default = known[setting].default
        needed = (int, float) if isinstance(default, float) else type(default)
        checked = isinstance(default, bool | int | float | str)
        if checked and (not isinstance(value, needed) or isinstance(value, bool) != isinstance(default, bool)):
            raise UserError(f"{setting}={value!r} of '{name}': give a {type(default).__name__}, like {default!r}")
