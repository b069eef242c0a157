"""The configuration of a comparison: which sources, targets, sizes, methods, choices and seeds, under which protocol; and its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import BeforeValidator, Field

from scalearn.comparison.condition import FULL, Condition, unit_name
from scalearn.comparison.config import Configuration, RecipeChange, Sources, Targets, check_lists
from scalearn.comparison.own_file import Files
from scalearn.comparison.own_tasks import check_own_rows
from scalearn.comparison.protocols import Protocol, get_protocol
from scalearn.comparison.source_choice import Choice, as_tuple, conditions
from scalearn.methods.few_rows import FEW_ROWS, with_rates
from tasksel.adapters.kind import Kind
from tasksel.bounds import Count, Positive, Seed, Title
from tasksel.errors import UserError
from tasksel.model.lora_config import LoraConfig
from tasksel.tasks.task import HubSource, Task, TaskSet
from tasksel.training.recipe import Recipe

if TYPE_CHECKING:  # a configuration is read, and its mistakes are named, before torch is imported
    from scalearn.methods.registry import TransferMethod

Size = int | Literal["full"]


class AdapterSources(Sources):
    """The tasks that get a source adapter.

    Attributes:
        lora: what a LoRA in place of a bottleneck is like, with PEFT's names (`r`, `lora_alpha`, `target_modules`, …); "single-adapter" trains
            such a one too.
    """

    lora: Annotated[LoraConfig | None, tyro.conf.Suppress] = (
        None  # in a file alone: a part that may be left out is no option
    )

    @property
    def kind(self) -> Kind:
        """The kind of adapters."""
        return "lora" if self.lora else "bottleneck"


class SizedTargets(Targets):
    """The target tasks.

    Attributes:
        rows: the cap on the training rows of size "full".
        sizes: "full", or numbers of training rows (few-shot). seeds_of: other seeds for single targets.
    """

    sizes: Annotated[tuple[Size, ...], BeforeValidator(as_tuple)] = (FULL,)
    seeds_of: dict[str, tuple[Seed, ...]] = Field(default_factory=dict)


class ExperimentConfig(Configuration):
    """A comparison of transfer methods as a value; `Experiment` plans and runs it.

    Attributes:
        data: a folder of task folders, "hub", or None for the built-in suite.
        files: a user's own files by name, which then stands among the sources or targets (see `own_file`).
        test_rows: at most so many rows of each validation set are scored, the same ones for every unit.
        recipe: what changes in every method's recipe. few_shot: what else changes at few-shot sizes. lr: learning rates of single methods.
        keep: whether trained models are kept, for `explain`, `export` and `predict`; scores, costs and omegas always are.
        map: the embedding that the task map is drawn by; none where empty.

    Raises:
        UserError: every wrong field at once, each with its path and the nearest key.
    """

    name: Title
    base: str = "minilm"
    data: str | None = None
    files: Files = Field(default_factory=dict)
    protocol: str = "sound"
    test_rows: Count | None = None
    sources: AdapterSources
    targets: SizedTargets
    rank: Choice = Choice()
    methods: tuple[str, ...] = ("auto", "scalearn", "closed-form-base", "majority", "single-adapter")
    recipe: RecipeChange = RecipeChange()
    few_shot: RecipeChange = RecipeChange()
    lr: dict[str, Positive] = Field(default_factory=dict)
    keep: bool = True
    map: str = ""

    @property
    def rules(self) -> Protocol:
        """The protocol, by its name."""
        return get_protocol(self.protocol)

    def recipe_of(self, method: TransferMethod, size: Size) -> Recipe:
        """The recipe of a method at a size: its own, changed by the protocol, `recipe`, `few_shot` and `lr`, in this order.

        At few-shot sizes a method that starts at the solved head has its rates for few rows in place of its own. Nothing of it depends on
        the device: units that different machines compute are of one recipe.
        """
        return self._recipe_of(method, size).as_launched()

    def _recipe_of(self, method: TransferMethod, size: Size) -> Recipe:
        few = size != FULL
        own = self.rules.recipe(method, few=few, kind=self.sources.kind)
        recipe = self._changed(own, method, few=few)
        if size == FULL or int(size) > FEW_ROWS or recipe.start != "solved":
            return recipe
        return self._changed(with_rates(own, method, self.sources.kind), method, few=few)

    def _changed(self, recipe: Recipe, method: TransferMethod, *, few: bool) -> Recipe:
        recipe = self.recipe.of(recipe)
        recipe = self.few_shot.of(recipe) if few else recipe
        return recipe.model_copy(update={"lr": self.lr[method.name]} if method.name in self.lr else {})

    @property
    def source_recipe(self) -> Recipe:
        """The recipe of stage 1, which trains the sources."""
        return self.sources.recipe.of(self.rules.source_recipe(self.sources.kind)).as_launched()

    def source_seed(self, seed: int) -> int:
        """The stage-1 seed that belongs to a seed of the targets."""
        return seed if self.rules.source_seed is None else self.rules.source_seed

    def seeds(self, target: str) -> tuple[int, ...]:
        """A target's seeds."""
        return self.targets.seeds_of.get(target, self.targets.seeds)

    def drawn(self, task: Task, size: Size) -> Task:
        """A target with the rows that a size draws from it."""
        shots = None if size == FULL else int(size)
        return self.rules.drawn(task, shots=shots, test_rows=self.test_rows)

    def others(self, target: str) -> list[str]:
        """The sources without the target adapter."""
        return [name for name in self.sources.tasks if name != target]


@dataclass(frozen=True)
class Unit:
    """One target under one condition, with one number of rows and one seed.

    >>> str(Unit("rte", 16, Condition("head-only"), 0))
    'rte with 16 rows by head-only, seed 0'
    """

    target: str
    size: Size
    condition: Condition
    seed: int

    def __str__(self) -> str:
        return unit_name(self.target, self.size, self.condition, self.seed)


def units(experiment: ExperimentConfig) -> list[Unit]:
    """Every unit, size by size and seed by seed, so that a stopped run has whole seeds.

    Raises:
        UserError: a choice that gives a target or a method too few sources.
    """
    from scalearn.methods.registry import get_method

    seeds = dict.fromkeys(seed for target in experiment.targets.tasks for seed in experiment.seeds(target))
    planned = [
        Unit(target, size, condition, seed)
        for size in experiment.targets.sizes
        for seed in seeds
        for target in experiment.targets.tasks
        if seed in experiment.seeds(target)
        for name in experiment.methods
        for condition in conditions(experiment.rank, get_method(name), target, experiment.others(target))
    ]
    if not planned:
        raise UserError("methods: none of them can use these sources; name other methods, or change rank.by")
    return planned


def check_experiment(experiment: ExperimentConfig, tasks: TaskSet | Mapping[str, Task]) -> None:
    """Refuses what would fail later.

    Args:
        tasks: of every source and target, by name.

    Raises:
        UserError: an unknown method, protocol or selector, an empty list or one with duplicates, a size that the data cannot give, a
            choice that gives too few sources.
    """
    from scalearn.methods.registry import get_method

    check_lists(experiment, "sources.tasks", "targets.tasks", "targets.seeds", "targets.sizes", "methods")
    for name in (*experiment.methods, *experiment.lr):
        get_method(name)
    for name in experiment.methods:
        get_method(name).check_installed()
        get_method(name).check_kind(experiment.sources.kind)
    get_protocol(experiment.protocol)
    experiment.rank.check()
    for name, seeds in experiment.targets.seeds_of.items():
        if name not in experiment.targets.tasks:
            raise UserError(
                f"targets.seeds_of: '{name}' is not one of the targets ({', '.join(experiment.targets.tasks)})"
            )
        if len(set(seeds)) != len(seeds) or not seeds:
            raise UserError(
                f"targets.seeds_of: {name}: must be a non-empty list without duplicates (given {list(seeds)})"
            )
    if experiment.map and experiment.rank.selector(experiment.map).embedder is None:
        raise UserError(
            f"map: '{experiment.map}' embeds no tasks: choose a selector that does (connectivity, text, …), or leave map out"
        )
    units(experiment)
    check_own_rows(experiment, tasks)
    _check_sizes(experiment, tasks)


def _check_sizes(experiment: ExperimentConfig, tasks: TaskSet | Mapping[str, Task]) -> None:
    """Loads few-shot targets whose data is on this machine; those of a hub are checked when they are loaded."""
    from tasksel.tasks.load import load_data

    for name in experiment.targets.tasks:
        for size in experiment.targets.sizes:
            if size != FULL and int(size) < 1:
                raise UserError(f"targets.sizes: {size}; give 'full' or numbers of rows from 1 on")
            if size != FULL and not isinstance(tasks[name].source, HubSource):
                load_data(experiment.drawn(tasks[name], size))
