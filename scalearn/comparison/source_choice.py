"""Which sources a unit of a comparison gets: the first k of a selector's ranking, all of them, or each alone.

a selector   the first k of its ranking, for each k in `top`
all          every source; a method that takes the best few, or weighs by similarity, follows the selector `order`
each         every source alone
own          beside these the target adapter, last (as in the authors' runs)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from scalearn.comparison.condition import ALL, EACH, Condition
from scalearn.comparison.config import check_lists
from tasksel.errors import UserError
from tasksel.storage.frozen import Frozen

if TYPE_CHECKING:
    from scalearn.methods.registry import TransferMethod


def as_tuple(value: Any) -> Any:
    """A single text or number as a tuple of one, so that YAML may write `top: 3`; anything else as it is.

    >>> as_tuple(3), as_tuple(["logme", "all"])
    ((3,), ['logme', 'all'])
    """
    return (value,) if isinstance(value, str | int) else value


class Choice(Frozen):
    """How sources are chosen.

    Attributes:
        by: selectors ("a+b" fuses two), "all" or "each". top: the numbers of sources that are taken from a ranking.
        own: whether the target adapter, trained on the target's own rows, comes last beside the chosen sources.
        order: the selector that puts "all" sources in order where a method needs one.
        settings: of the selectors in `by`.

    >>> Choice(by="logme", top=[1, 3]).top
    (1, 3)
    """

    by: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ("connectivity",)
    top: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = (4,)
    own: Annotated[tuple[bool, ...], BeforeValidator(as_tuple)] = (False,)
    order: str = "connectivity"
    settings: dict[str, int | float | bool | str] = Field(default_factory=dict)

    def selector(self, by: str) -> Any:
        """A selector with its settings.

        Raises:
            UserError: unknown name or setting; the oracle, which knows measured transfers.
        """
        from tasksel.selection.selectors import get_selector

        if "oracle" in by.split("+"):
            raise UserError(
                "rank.by: the oracle knows measured transfers, and a run has none: choose another selector, or 'each' to measure them"
            )
        return get_selector(by, **(self.settings if by in self.by else {}))

    def check(self) -> None:
        """Refuses empty lists, duplicates and unknown selectors.

        Raises:
            UserError: the first of them.
        """
        check_lists(self, "by", "top", "own", under="rank.")
        for by in {*self.by, self.order} - {ALL, EACH}:
            self.selector(by)


def conditions(choice: Choice, method: TransferMethod, target: str, others: Sequence[str]) -> list[Condition]:
    """A method with each choice of sources for a target, in the configuration's order, without duplicates.

    Args:
        others: the sources without the target adapter.

    Raises:
        UserError: k larger than there are sources, or too few for the method.
    """
    if not method.takes_sources:
        return [Condition(method.name)]
    distinct: dict[Condition, None] = {}
    for include_target in choice.own:
        for by in choice.by:
            for condition in _by(choice, by, method, target, others, include_target):
                if condition.k < method.least:
                    if by == EACH:
                        continue  # a method that needs two sources cannot use each alone
                    raise UserError(
                        f"methods: '{method.name}' needs at least {method.least} sources, and rank.top gives '{target}' {condition.k}: raise it, or leave the method out"
                    )
                distinct[condition] = None
    return list(distinct)


def _by(
    choice: Choice, by: str, method: TransferMethod, target: str, others: Sequence[str], include_target: bool
) -> list[Condition]:
    """The conditions of one selector, "all" or "each"."""
    if by == EACH:
        return (
            [Condition(method.name, EACH, 1, source=name) for name in others] if not method.needs_similarities else []
        )
    if by == ALL:
        if not method.needs_order:
            return [Condition(method.name, ALL, len(others) + include_target, include_target)]
        return [Condition(method.name, choice.order, min(len(others), method.most or len(others)))]
    for k in choice.top:
        if not 1 <= k <= len(others):
            raise UserError(
                f"rank.top is {k}, but there are {len(others)} sources for '{target}': choose 1 to {len(others)}"
            )
    ks = dict.fromkeys(min(k, method.most or k) for k in choice.top)
    with_target = include_target and not method.needs_order
    return [Condition(method.name, by, k + with_target, with_target) for k in ks]
