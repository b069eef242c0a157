"""A configuration: fields or YAML into frozen models; all mistakes are named at once, each with its path and the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from scalearn.comparison.own_file import files_beside
from tasksel.bounds import Count, NotNegative, Positive, Rows, Seed, Tokens, Wait, requirement
from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.storage.frozen import Frozen
from tasksel.storage.user_files import read_fields
from tasksel.storage.user_path import user_path
from tasksel.training.precision import Precision, PrecisionChoice, fastest
from tasksel.training.recipe import Recipe, RecipePooling, Start


class Configuration(Frozen):
    """A configuration made in code, by keyword, or read from YAML; a nested part may be a mapping.

    Raises:
        UserError: every wrong field at once, each with its path and the nearest key.
    """

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError("; ".join(_complaint(item, type(self)) for item in error.errors())) from error

    @model_serializer(mode="wrap")
    def _stored(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields; without own files as version 0.1 stored them."""
        fields: dict[str, Any] = fields_of(self)
        return {name: value for name, value in fields.items() if name != "files" or value}

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """The configuration in a YAML file, or the one of that name that comes with the package ("quickstart").

        Raises:
            UserError: see `read_config`.
        """
        return read_config(configuration_file(str(path)), cls)


FIRST_VERSION = {"pooling": "first", "start": "random", "head_lr": None, "budget": None}
Config = TypeVar("Config", bound=Configuration)


class RecipeChange(Frozen):
    """What a configuration changes in a recipe; what is left out stays."""

    lr: Positive | None = None
    epochs: Count | None = None
    batch: Count | None = None
    max_length: Tokens | None = None
    patience: Wait | None = None
    max_steps: Count | None = None
    micro_batch: Count | None = None
    pooling: RecipePooling | None = None
    start: Start | None = None
    head_lr: Positive | None = None
    budget: NotNegative | None = None
    log_with: str | None = None
    precision: Precision | None = None

    @model_serializer(mode="wrap")
    def _stored(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The changes; a precision only where it is said, as configurations were stored before it could be."""
        fields: dict[str, Any] = fields_of(self)
        return {name: value for name, value in fields.items() if name != "precision" or value is not None}

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with these changes.

        >>> RecipeChange(epochs=3).of(Recipe(lr=1e-3)).epochs
        3
        """
        return recipe.model_copy(update={name: value for name, value in self if value is not None})


def of_any_version(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored configuration as this version stores them.

    One of version 0.1 says nothing of a head's start: all heads began at random, on the first token.

    >>> of_any_version({"recipe": {"lr": 0.1}})["recipe"]["start"]
    'random'
    """
    fields = {**stored, "recipe": {**FIRST_VERSION, **stored["recipe"]}}
    if "sources" in stored:
        left = dict.fromkeys(FIRST_VERSION)
        fields["sources"] = {**stored["sources"], "recipe": {**left, **stored["sources"]["recipe"]}}
    return fields


def as_begun(config: Config, stored: Mapping[str, Any]) -> Config:
    """A configuration as the run that holds it began: one of version 0.1 goes on as it was, unless the configuration says otherwise.

    >>> as_begun(experiment, read_provenance(folder)["experiment"]).recipe.start  # doctest: +SKIP
    'random'
    """
    recipe: RecipeChange = config.recipe  # type: ignore[attr-defined]
    if "start" in stored["recipe"] or recipe.start or recipe.pooling:
        return config
    say("begun by version 0.1: it goes on with heads that start at random, on the first token")
    return config.model_copy(update={"recipe": recipe.model_copy(update=FIRST_VERSION)})


class Sources(Frozen):
    """The tasks that get a source adapter, the cap on their training rows, and what changes in their recipe."""

    tasks: tuple[str, ...]
    rows: Rows | None = None
    seed: Seed = 0
    recipe: RecipeChange = RecipeChange()


class Targets(Frozen):
    """The target tasks, the cap on their training rows, and the seeds."""

    tasks: tuple[str, ...]
    rows: Rows | None = None
    seeds: tuple[Seed, ...] = (0,)


def check_lists(config: Frozen, *paths: str, under: str = "") -> None:
    """Refuses a list that is empty or has duplicates.

    Args:
        paths: of the lists, "targets.tasks" say. under: the path of `config` itself, where it is a part of a configuration.

    Raises:
        UserError: the first such list, with what it holds.
    """
    for path in paths:
        values = attrgetter(path)(config)
        if not values or len(set(values)) != len(values):
            raise UserError(f"{under}{path}: must be a non-empty list without duplicates (given {list(values)})")


def configuration_file(name: str) -> Path:
    """The file of a configuration: a path, or the name of one that comes with the package.

    >>> configuration_file("quickstart").name, configuration_file("scripts/mine.yaml").name
    ('quickstart.yaml', 'mine.yaml')
    """
    packaged = Path(__file__).parent / f"{name}.yaml"
    return packaged if name.isidentifier() and packaged.is_file() and not Path(name).exists() else user_path(name)


def in_precision(config: Config, precision: PrecisionChoice | None) -> Config:
    """A configuration whose sources and targets train in a precision; "auto" is this device's fastest, and None leaves it as it says.

    >>> in_precision(experiment, "bf16").recipe.precision  # doctest: +SKIP
    'bf16'
    """
    if precision is None:
        return config
    change = {"precision": fastest() if precision == "auto" else precision}
    parts: Any = config
    sources = parts.sources.model_copy(update={"recipe": parts.sources.recipe.model_copy(update=change)})
    return config.model_copy(update={"recipe": parts.recipe.model_copy(update=change), "sources": sources})


def read_config(path: Path, kind: type[Config]) -> Config:
    """The configuration in a YAML file.

    Args:
        kind: what the file describes: `Experiment` or `MatrixConfig`.

    Raises:
        UserError: no such file, broken YAML (its line), or every wrong field at once, each with its path and the nearest key.
    """
    if not user_path(path).is_file():
        raise UserError(f"no configuration {path}")
    fields = read_fields(path)
    try:
        return kind(**files_beside(path, fields))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _complaint(item: Any, kind: type[Frozen]) -> str:
    """One of pydantic's complaints as a clause: the path, what is wrong, what was given or the nearest key."""
    path = ".".join(map(str, item["loc"]))
    if item["type"] != "extra_forbidden":
        return f"{path}: {requirement(item)} (given {item['input']!r})"
    model: Any = kind
    for part in item["loc"][:-1]:
        model = model.model_fields[part].annotation if hasattr(model, "model_fields") else get_args(model)[-1]
        if type(None) in get_args(model):  # a part that may be left out
            model = get_args(model)[0]
    return f"{path}: {unknown('key', str(item['loc'][-1]), model.model_fields)}"
