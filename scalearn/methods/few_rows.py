"""What a recipe changes with few rows: the rates that a training wants which begins at the solved head, and its length. Ours.

    lr          of what is not the head, by method: the better of two on the development targets of docs/results/default (level for `scalearn-uniform`)
    head_lr     3e-4: the head stands at its optimum for the features it begins with, and shall follow them, not lead
    length      300 steps, patience 20: an epoch of 100 rows is three or four steps

With many rows a recipe stays what its authors trained by, and so does one whose head starts at random.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasksel.training.recipe import Recipe

if TYPE_CHECKING:  # a configuration is read before torch is imported
    from scalearn.methods.base import TransferMethod
    from tasksel.adapters.kind import Kind

FEW_ROWS = 1000  # training rows; ours: the rates were compared on 100, the authors' own trainings have thousands
HEAD_LR = 3e-4
RATES: dict[str, float] = {
    "head-only": HEAD_LR,
    "full": 1e-4,
    "single-adapter": 1e-3,
    "sequential": 1e-3,
    "scalearn": 3e-2,
    "scalearn-uniform": 3e-2,
    "scalearn++": 3e-2,
    "scalearn-uniform++": 3e-2,
    "fusion": 5e-4,
    **dict.fromkeys(("average", "fixed-grid", "search", "soup", "soup-similarity"), HEAD_LR),  # their head trains alone
}
MERGES = "peft-"  # how the names of PEFT's merges begin, whose head trains alone too
LENGTH: dict[str, Any] = {"epochs": 1000, "max_steps": 300, "patience": 20, "select": "metric-loss"}


def with_rates(recipe: Recipe, method: TransferMethod, kind: Kind = "bottleneck") -> Recipe:
    """The recipe at the method's rates for few rows and a solved start; as it is where the method has none.

    Where a method trains LoRAs, at a rate of their own, that rate stays.

    >>> from scalearn import METHODS
    >>> with_rates(METHODS["scalearn"].recipe, METHODS["scalearn"]).lr
    0.03
    """
    rate, own = rate_of(method.name), method.recipe_for(kind).lr
    if rate is None:
        return recipe
    return recipe.model_copy(update={"lr": rate if own == method.recipe.lr else own, "head_lr": HEAD_LR})


def rate_of(name: str) -> float | None:
    """A method's rate for few rows; None where it has none of its own.

    >>> rate_of("average"), rate_of("peft-ties"), rate_of("joint")
    (0.0003, 0.0003, None)
    """
    return RATES.get(name, HEAD_LR if name.startswith(MERGES) else None)


def recipe_for(
    method: TransferMethod,
    rows: Callable[[], int],
    change: Callable[[Recipe], Recipe] = lambda own: own,
    kind: Kind = "bottleneck",
) -> Recipe:
    """The method's own recipe for so many training rows, with changes.

    Args:
        rows: counts them; called only if the method has rates for few rows.
        change: what else is changed; a change to a random start leaves the rates as they are.
        kind: of the adapters.

    >>> from scalearn import METHODS
    >>> recipe_for(METHODS["full"], lambda: 100).max_steps, recipe_for(METHODS["full"], lambda: 10_000).max_steps
    (300, None)
    """
    recipe = change(method.recipe_for(kind))
    if recipe.start != "solved" or rate_of(method.name) is None or rows() > FEW_ROWS:
        return recipe
    return change(with_rates(method.recipe_for(kind), method, kind).model_copy(update=LENGTH))
