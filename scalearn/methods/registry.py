"""The transfer methods: how sources are used for a target; each is a row of values over a class, one class per file.

    in the adapter slot                     methods
    nothing                                 head-only, full
    one new adapter                         single-adapter, compacter++, joint (learns its sources' tasks too)
    one source, or several merged           sequential, soup, soup-similarity; over LoRAs peft-linear, peft-ties, … (`PEFT_MERGES`)
    frozen sources under an omega           scalearn and its forms (learned), average and fixed-grid (set), search (searched)
    frozen sources under attention          fusion

docs/reference/transfer_methods.md has the table; docs/guides/add_a_transfer_method.md shows how to add a row. The learning rates are the
authors' (arXiv:2310.01217, their scripts): 6e-3 for omega, 3e-4 for an adapter, 5e-5 for AdapterFusion; 3e-3 is Compacter's, 2e-5 the usual
one for a whole encoder. Ours: 3e-3 where only the head trains, and one patience for all methods (`Recipe`'s, 5), so that none is stopped
earlier than another (the authors give ScaLearn none, adapters and AdapterFusion 5).
"""

from __future__ import annotations

from scalearn.layers.scaling import SCALINGS
from scalearn.methods.auto import AUTO_RECIPE, Auto
from scalearn.methods.average import Average
from scalearn.methods.base import HEAD_RECIPE, SOLVED, TransferMethod
from scalearn.methods.closed_form import SOLVED_RECIPE, ClosedForm, ClosedFormBase, Majority
from scalearn.methods.compacter import Compacter
from scalearn.methods.fixed_grid import FixedGrid
from scalearn.methods.full import FullFineTuning
from scalearn.methods.fusion import Fusion
from scalearn.methods.head_only import HeadOnly
from scalearn.methods.joint import Joint
from scalearn.methods.peft_merge import MODES, PeftMerge
from scalearn.methods.scalearn import OMEGA_RECIPE, ScaledSources
from scalearn.methods.search import Search
from scalearn.methods.sequential import Sequential
from scalearn.methods.single_adapter import SingleAdapter
from scalearn.methods.soup import SimilaritySoup, Soup
from tasksel.adapters.train import SOURCE_RECIPE
from tasksel.errors import UserError, unknown
from tasksel.training.recipe import Recipe

ADAPTER_RECIPE = SOURCE_RECIPE.model_copy(update=SOLVED)

_METHODS: tuple[TransferMethod, ...] = (
    Auto(name="auto", recipe=AUTO_RECIPE),
    Majority(name="majority", recipe=SOLVED_RECIPE),
    ClosedFormBase(name="closed-form-base", recipe=SOLVED_RECIPE),
    ClosedForm(name="closed-form", recipe=SOLVED_RECIPE),
    HeadOnly(name="head-only", recipe=HEAD_RECIPE),
    FullFineTuning(name="full", recipe=Recipe(lr=2e-5, **SOLVED)),
    SingleAdapter(name="single-adapter", recipe=ADAPTER_RECIPE),
    Joint(name="joint", recipe=ADAPTER_RECIPE),
    Compacter(name="compacter++", recipe=Recipe(lr=3e-3, **SOLVED)),
    Sequential(name="sequential", recipe=ADAPTER_RECIPE),
    *(ScaledSources(name=name, recipe=OMEGA_RECIPE, scaling=scaling) for name, scaling in SCALINGS.items()),
    Average(name="average", recipe=HEAD_RECIPE),
    FixedGrid(name="fixed-grid", recipe=HEAD_RECIPE),
    Search(name="search", recipe=HEAD_RECIPE),
    Soup(name="soup", recipe=HEAD_RECIPE),
    SimilaritySoup(name="soup-similarity", recipe=HEAD_RECIPE),
    Fusion(name="fusion", recipe=Recipe(lr=5e-5, **SOLVED)),
)
METHODS: dict[str, TransferMethod] = {method.name: method for method in _METHODS}
"""Every transfer method by its name; `register_method` adds others."""

PEFT_MERGES: dict[str, TransferMethod] = {
    row.name: row for row in (PeftMerge(name=f"peft-{m.replace('_', '-')}", recipe=HEAD_RECIPE, mode=m) for m in MODES)
}
"""PEFT's own merges of LoRAs, by name: rows to compare with, which take no bottleneck adapters."""


def get_method(name: str) -> TransferMethod:
    """The transfer method of that name.

    >>> get_method("scalearn").recipe.lr
    0.006

    Raises:
        UserError: unknown name (with the nearest one).
    """
    known = {**PEFT_MERGES, **METHODS}
    if name not in known:
        raise unknown("method", name, known)
    return known[name]


def register_method(method: TransferMethod) -> TransferMethod:
    """Adds a transfer method of one's own: in this process its name then works wherever a method's name does.

    Registering the same row again changes nothing, so that a module may be imported twice.

    >>> register_method(HeadOnly(name="head-only", recipe=HEAD_RECIPE)).name
    'head-only'

    Raises:
        UserError: a value that is not a `TransferMethod`, or whose values JSON cannot say; the name of another method.
    """
    if not isinstance(method, TransferMethod):
        raise UserError(
            f"{method!r} is not a transfer method: derive its class from scalearn.methods.base.TransferMethod"
        )
    method.settings()  # refuses values by which its results could not be known again
    if (PEFT_MERGES.get(method.name) or METHODS.setdefault(method.name, method)) != method:
        raise UserError(f"method '{method.name}' is registered with other values: give yours another name")
    return method
