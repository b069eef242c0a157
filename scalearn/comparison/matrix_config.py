"""The configuration of a measured transfer matrix: which sources, targets, methods and seeds; and the units it names."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from scalearn.comparison.config import Configuration, RecipeChange, Sources, Targets
from scalearn.comparison.own_file import Files
from tasksel.bounds import Count, Positive, Title
from tasksel.training.recipe import Recipe


class ScoredTargets(Targets):
    """The target tasks; `test_rows` caps the rows that are scored (one draw, the same for every run)."""

    test_rows: Count | None = None


class MatrixConfig(Configuration):
    """Which sources, targets, methods and seeds a transfer matrix is measured for; in code, or `MatrixConfig.from_yaml(path)`.

    >>> config = MatrixConfig(name="m", sources={"tasks": ["mnli", "rte"]}, targets={"tasks": ["rte"]}, methods=["scalearn"])
    >>> [str(unit) for unit in matrix_units(config)]
    ['rte by single-adapter, seed 0', 'rte by scalearn from mnli, seed 0']

    Attributes:
        files: a user's own files by name, which then stands among the sources or targets (see `own_file`).
        methods: those that take one source; the baseline without a source is always measured.
        recipe: what changes in every method's recipe. lr: what changes in one method's learning rate.
    """

    name: Title
    base: str = "minilm"
    data: str | None = None
    files: Files = Field(default_factory=dict)
    sources: Sources
    targets: ScoredTargets
    methods: tuple[str, ...] = ("sequential", "scalearn")
    recipe: RecipeChange = RecipeChange()
    lr: dict[str, Positive] = Field(default_factory=dict)

    def recipe_of(self, method: str) -> Recipe:
        """The recipe that a method is trained by here."""
        from scalearn.methods.registry import get_method

        changed = self.recipe.of(get_method(method).recipe)
        return changed.model_copy(update={"lr": self.lr[method]} if method in self.lr else {})


@dataclass(frozen=True)
class MatrixUnit:
    """One training of a matrix: one target by one method from one source, with one seed. `source` is None for the baseline."""

    target: str
    source: str | None
    method: str
    seed: int

    def __str__(self) -> str:
        return (
            f"{self.target} by {self.method}" + (f" from {self.source}" if self.source else "") + f", seed {self.seed}"
        )


def matrix_units(config: MatrixConfig) -> list[MatrixUnit]:
    """Every unit, seed by seed, so that a stopped measurement has whole seeds. The target adapter is not among the sources."""
    from tasksel.evaluation.transfer_matrix import SINGLE

    return [
        MatrixUnit(target, source, method, seed)
        for seed in config.targets.seeds
        for target in config.targets.tasks
        for method in (SINGLE, *config.methods)
        for source in ([None] if method == SINGLE else [name for name in config.sources.tasks if name != target])
    ]
