"""The base of every transfer method: what it needs, what sits in the adapter slot, what trains and how, and what it exports.

    choose -> prepare -> build -> train -> export        each a method with a default; a transfer method overrides what differs

    choose    the sources that are used, of those that are passed
    prepare   the sources' projections stacked by slot, merged if the method merges them
    build     base, head, slot; only what the method trains is trainable
    train     the training procedure: once, for every cell of a grid, around a search, together with the sources' tasks, …
    export    the trained slot as one ordinary adapter, or the reason why there is none

A method is a row of values over a class (`scalearn.methods.registry.METHODS`); docs/guides/add_a_transfer_method.md shows how to add one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from scalearn.layers.kinds import Layers, stack_sources
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.adapters.kind import Kind
from tasksel.adapters.pool import Source
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.decoders import check_slots_for
from tasksel.model.half_weights import widen
from tasksel.model.heads import add_head
from tasksel.model.names import module_name
from tasksel.model.pooling import Pooling
from tasksel.storage.identity import identity as value_identity
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe

SOLVED: dict[str, Any] = {
    "start": "solved",
    "pooling": "base",
}  # ours: the authors' heads start at random, on the first token
HEAD_RECIPE = Recipe(lr=3e-3, **SOLVED)  # ours: where only the head trains
ADAPTER = (".adapters.", ".shared_parameters.")  # in the names of an adapter's parameters; the latter are Compacter's


@dataclass(frozen=True, kw_only=True)
class TransferMethod:
    """How sources are used for a target; a subclass overrides what differs.

    Attributes:
        name: what `transfer(method=…)`, results and reports call it; it is stored and hashed, and never changes.
        recipe: the training settings.
        least, most: how many sources it takes; sources beyond the most are left out, None takes all.
        version: of the class's behaviour; who changes the numbers that it gives raises it, and nothing stored is taken for the new ones.
        needs_similarities: whether it weighs the sources by their similarity to the target.
        needs_tasks: whether it trains on the sources' tasks instead of using their adapters.
        adds_new: whether it trains a new adapter, of the kind that is asked for. lora_reason, bottleneck_reason: why it takes no LoRAs, or no
            bottleneck adapters, in words that follow its name; None if it does.
        merges: whether it merges its sources into one adapter, which is kept for this target alone and counts among its bytes.
        mixes: whether the sources sit in the slot side by side under an omega, which `explain` reads.
        trained_parts: parts of the names of the parameters that train beside the head.
        solves_head: whether it solves a head in closed form, which a generation task has not.
        export_reason: why its result is not an ordinary adapter, in words that follow its name; None if it is one.
        sources_note: what a model card says of the sources.

    >>> from scalearn import METHODS
    >>> METHODS["sequential"].least, METHODS["sequential"].most
    (1, 1)
    """

    name: str
    recipe: Recipe
    least: int = 0
    most: int | None = 0

    version: ClassVar[int] = 1
    needs_similarities: ClassVar[bool] = False
    needs_tasks: ClassVar[bool] = False
    adds_new: ClassVar[bool] = False
    lora_reason: ClassVar[str | None] = None
    bottleneck_reason: ClassVar[str | None] = None
    merges: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    trained_parts: ClassVar[tuple[str, ...]] = ADAPTER
    solves_head: ClassVar[bool] = False
    export_reason: ClassVar[str | None] = None
    sources_note: ClassVar[str] = "The adapters it was made from"

    # what it is

    def settings(self) -> dict[str, Any]:
        """Its class, version, values and trained parts: what decides its numbers beside name and recipe, as keys and results hold it.

        >>> from scalearn import METHODS
        >>> METHODS["sequential"].settings()["most"]
        1

        Raises:
            UserError: a value by which a stored result cannot be known again (a lambda, an object that is not a dataclass).
        """
        values: dict[str, Any] = value_identity(self, of=f"method '{self.name}'")
        decisive = {name: value for name, value in values.items() if name not in ("name", "recipe")}
        return {**decisive, "trained_parts": list(self.trained_parts)}

    def check_settings(self, stored: dict[str, Any], *, owner: str) -> None:
        """Refuses to read what a method of this name with other values made; another version of its training does not matter here.

        Args:
            stored: its settings. owner: the result, for the error.

        Raises:
            UserError: what differs.
        """
        here = self.settings()
        names = sorted((stored.keys() | here.keys()) - {"version"})
        differing = [
            f"{name} {stored.get(name)}, here {here.get(name)}" for name in names if stored.get(name) != here.get(name)
        ]
        if differing:
            raise UserError(
                f"{owner}: made by a method '{self.name}' of other values ({'; '.join(differing)}): register that one"
            )

    # requirements

    @property
    def takes_sources(self) -> bool:
        """Whether sources are used at all."""
        return self.most != 0

    @property
    def needs_order(self) -> bool:
        """Whether the order of the sources matters: the method takes the first few, or weighs by similarity."""
        return self.takes_sources and (self.most is not None or self.needs_similarities)

    @property
    def learns_omega(self) -> bool:
        """Whether omega is learned by gradient, as in ScaLearn's own scalings."""
        return False

    @property
    def shares_omega(self) -> bool:
        """Whether one omega serves all layers."""
        return False

    @property
    def pairwise_reason(self) -> str | None:
        """Why a transfer matrix, which uses each source adapter alone, cannot measure the method; None if it can."""
        if not self.takes_sources:
            return "takes no source; 'single-adapter' is measured in any case"
        if self.needs_tasks:
            return "trains on the sources' tasks; a matrix tries their adapters"
        if self.least > 1 or self.needs_similarities:
            return "weighs several sources; a matrix tries each alone"
        if type(self).train is not TransferMethod.train:
            return "has a training procedure of its own; a matrix trains each slot once"
        return None

    def check_count(self, count: int) -> None:
        """Refuses too few sources.

        Raises:
            UserError: fewer than the method needs.
        """
        if count < self.least:
            needed = "one source" if self.least == 1 else f"{self.least} sources"
            counted = f", given {count}" if count else ""
            raise UserError(f"method '{self.name}' needs at least {needed}{counted}; select some from a pool")

    def check_kind(self, kind: Kind | None) -> None:
        """Refuses sources of a kind that it cannot use.

        Raises:
            UserError: why.
        """
        if kind == "lora" and self.lora_reason and self.takes_sources:
            raise UserError(
                f"method '{self.name}' {self.lora_reason}, so it takes no LoRAs; choose auto, scalearn, average, …"
            )
        if kind == "bottleneck" and self.bottleneck_reason:
            raise UserError(
                f"method '{self.name}' {self.bottleneck_reason}, so it takes LoRAs alone; choose auto, scalearn, soup, …"
            )

    def recipe_for(self, kind: Kind) -> Recipe:
        """Its own training settings for adapters of a kind."""
        return self.recipe

    def check_similarities(self, similarities: Sequence[float]) -> None:
        """Refuses similarities that cannot be weights; called where the method needs them.

        Raises:
            UserError: which, and what is allowed.
        """

    def check_installed(self) -> None:
        """Refuses where a package that only this method needs is missing.

        Raises:
            UserError: which one, and how it is installed.
        """

    def check_task(self, task: Task) -> None:
        """Refuses a target that the method cannot train.

        Raises:
            UserError: a generation task, for a method that solves a head.
        """
        if self.solves_head and task.kind == GENERATION:
            raise UserError(
                f"method '{self.name}' solves a head in closed form, and the head of '{task.name}', a generation task, is the base's own: "
                "choose one that trains (scalearn, single-adapter, head-only, full, …)"
            )

    def check_base(self, base: Base, sources: Sequence[Source], *, lora: bool = False) -> None:
        """Refuses a base in which the method's own adapters have no slot.

        Args:
            lora: whether the method's new adapter is a LoRA.

        Raises:
            UserError: a decoder, for a method that adds a bottleneck adapter.
        """
        if not sources and not lora and type(self).fill_slot is not TransferMethod.fill_slot:
            check_slots_for(base.config, f"method '{self.name}' on base '{base.name}'")

    def check_stacked(self, count: int) -> None:
        """Refuses a number of stacked sources that the slot cannot hold.

        Raises:
            UserError: fewer than the method needs.
        """
        if not self.needs_tasks:
            self.check_count(count)

    # sources

    def choose(self, target: Task, sources: Sequence[Source]) -> tuple[Source, ...]:
        """The sources that are used, of those that are passed, best first.

        Raises:
            UserError: a source that the method cannot use.
        """
        return tuple(sources[: self.most])

    def identity(self, sources: Sequence[Source]) -> list[Any]:
        """What of the chosen sources decides the outcome; part of a transfer's key. By default their weights, in order."""
        return [(source.name, source.fingerprint) for source in sources]

    def prepare(
        self, sources: Sequence[Source], similarities: Sequence[float] | None = None
    ) -> tuple[Layers, dict[str, Any]]:
        """The chosen sources' projections by slot path, and their adapter configuration; both empty if the method trains on their tasks.

        Raises:
            UserError: sources that cannot be stacked; a file that was altered or lost.
        """
        return ({}, {}) if self.needs_tasks else stack_sources(sources)

    # the model

    def build(
        self,
        base: Base,
        task: Task,
        layers: Layers,
        adapter_config: dict[str, Any],
        *,
        seed: int,
        pooling: Pooling = "first",
    ) -> Any:
        """A model for the target: base, a head, and the method's slot, all under the task's name.

        Only the head and what the method trains are trainable.

        The head is drawn first, so that at one seed every method starts from the same head.

        Args:
            layers: the sources' projections, from `prepare`.
            adapter_config: theirs, from `prepare`.
            pooling: what the head reads of a text's tokens.

        Raises:
            UserError: fewer sources than the method needs.
        """
        self.check_stacked(next(iter(layers.values())).count if layers else 0)
        torch.manual_seed(seed)
        model = base.model()
        name = module_name(task.name)
        add_head(model, task, name=name, pooling=pooling)
        self.fill_slot(model, name, layers, adapter_config)
        model.active_head = name
        widen(model, self.trains)
        for path, parameter in model.named_parameters():
            parameter.requires_grad_(path.startswith("heads.") or self.trains(path))
        return model

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """Adds the contents of the adapter slot under this name, and makes them active; by default nothing.

        Args:
            layers: the sources' projections, from `prepare`.
            adapter_config: theirs, from `prepare`.
        """

    def trains(self, parameter: str) -> bool:
        """Whether a parameter of this name, beside the head's, is trained."""
        return any(part in parameter for part in self.trained_parts)

    # the training procedure

    def train(self, training: SeedTraining) -> TrainedModel:
        """Builds one seed's model and trains it: by default once, on the target's rows.

        Raises:
            Diverged: the loss became NaN.
        """
        model = self.new_model(training)
        return training.finished(model, training.fit(model))

    def new_model(self, training: SeedTraining) -> Any:
        """The model of a seed before it is trained."""
        return self.build(
            training.base,
            training.target,
            training.layers,
            training.adapter_config,
            seed=training.seed,
            pooling=training.pooling,
        )

    # outcome

    def export(self, trained: Any, base: Base, task: Task, adapter_config: dict[str, Any]) -> Any:
        """A model with the trained slot as one ordinary adapter of the task's name, and the head; by default the trained model itself.

        Only called if there is no `export_reason`.
        """
        return trained

    def omega_weights(self, omega: Tensor) -> Tensor | None:
        """The mean weight of each source [layers or 1, n] from stored omegas [layers or 1, n, d or 1]; None without an omega."""
        return None

    def source_weights(self, trained: Any, name: str) -> list[float] | None:
        """Each source's mean weight [n] in a trained model; None without an omega."""
        return None
