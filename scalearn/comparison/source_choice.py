"""Which sources a unit of a comparison gets: some of a ranking's first, all of them, or each alone.

a way of choosing   the k first of its ranking, for each k
all                 every source; a method that takes the best few, or weighs by similarity, goes by `order`
each                every source alone
own                 beside these the target's own source, last (as in the authors' runs)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from scalearn.comparison.condition import ALL, EACH, Condition
from tasksel.errors import UserError
from tasksel.storage.frozen import Frozen

if TYPE_CHECKING:
    from scalearn.methods import TransferMethod


def several(given: Any) -> Any:
    """One value, as YAML writes it, stands for a list of one."""
    return (given,) if isinstance(given, str | int) else given


class Choice(Frozen):
    """How sources are chosen.

    Attributes:
        by: ways of choosing ("a+b" fuses two), "all" or "each". top: the numbers of sources that a ranking gives.
        own: whether the target's own source comes last beside the chosen ones: trained on the very rows that the target has.
        order: the way of choosing that puts "all" sources in order where a method needs one.
        settings: of the ways in `by`.
    """

    by: Annotated[tuple[str, ...], BeforeValidator(several)] = ("connectivity",)
    top: Annotated[tuple[int, ...], BeforeValidator(several)] = (4,)
    own: Annotated[tuple[bool, ...], BeforeValidator(several)] = (False,)
    order: str = "connectivity"
    settings: dict[str, int | float | bool | str] = Field(default_factory=dict)

    def selector(self, by: str) -> Any:
        """A way of choosing with its settings.

        Raises:
            UserError: unknown name or setting; the oracle, which knows measured transfers.
        """
        from tasksel.selection.selectors import get_selector

        if "oracle" in by.split("+"):
            raise UserError(
                "rank.by: the oracle knows measured transfers, and a run has none: choose another way, or 'each' to measure them"
            )
        return get_selector(by, **(self.settings if by in self.by else {}))

    def check(self) -> None:
        """Refuses unknown ways and empty lists.

        Raises:
            UserError: the first of them.
        """
        for name in ("by", "top", "own"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise UserError(f"rank.{name}: give one or more, none twice (given {list(given)})")
        for by in {*self.by, self.order} - {ALL, EACH}:
            self.selector(by)


def conditions(choice: Choice, method: TransferMethod, target: str, others: Sequence[str]) -> list[Condition]:
    """A method with each choice of sources for a target, in the configuration's order, without duplicates.

    Args:
        others: the sources but for the target's own.

    Raises:
        UserError: k larger than there are sources, or too few for the method.
    """
    if not method.takes_sources:
        return [Condition(method.name)]
    chosen: dict[Condition, None] = {}
    for include_target in choice.own:
        for by in choice.by:
            for one in _by(choice, by, method, target, others, include_target):
                if one.k < method.least:
                    if by == EACH:
                        continue  # a method that needs two has no turn where each stands alone
                    raise UserError(
                        f"methods: '{method.name}' needs at least {method.least} sources, and rank.top gives '{target}' {one.k}: raise it, or leave the method out"
                    )
                chosen[one] = None
    return list(chosen)


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
    own = include_target and not method.needs_order
    return [Condition(method.name, by, k + own, own) for k in ks]
