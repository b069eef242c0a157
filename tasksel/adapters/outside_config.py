"""What an outside adapter's `adapter_config.json` says, read strictly: every value has the type that a plain bottleneck needs.

A configuration may be given by its name ("pfeiffer", "seq_bn[reduction_factor=8]"); every name of the library is known, and which of them can be a
source is decided by `tasksel.adapters.bottleneck.unfoldable`, as for any other adapter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from torch import nn
from transformers.activations import ACT2FN

from tasksel.adapters.bottleneck import unfoldable
from tasksel.errors import UserError, one_line, unknown
from tasksel.model.adapter import ACTIVATIONS, LEAKY
from tasksel.model.adapter_config import resolve_config, shortened

OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}  # in files that name no version of the library


def _activation(name: Any) -> Any:
    """An activation's name in small letters, if both libraries know it and it has no weights."""
    if not isinstance(name, str):
        return name  # pydantic says that it is no string
    small = name.lower()
    if small == LEAKY:
        return small
    if small not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    layer = ACT2FN[small]
    if isinstance(layer, nn.Module) and any(True for _ in layer.parameters()):
        raise UserError(f"the activation '{name}' has weights of its own, so it cannot be mixed with others")
    return small


class PlainBottleneck(BaseModel):
    """The values of a plain bottleneck's configuration; other keys are not read.

    How its weights began and what drops out while it trains do not matter for a source, which is frozen, and are left out.

    >>> PlainBottleneck(mh_adapter=False, output_adapter=True, reduction_factor=16, non_linearity="ReLU").non_linearity
    'relu'
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    mh_adapter: bool
    output_adapter: bool
    reduction_factor: float = Field(gt=0, allow_inf_nan=False)
    non_linearity: Annotated[str, BeforeValidator(_activation)]
    original_ln_before: bool = False
    original_ln_after: bool = True
    residual_before_ln: bool | Literal["post_add"] = True
    adapter_residual_before_ln: bool = False
    scaling: float = Field(1.0, allow_inf_nan=False)
    leave_out: list[int] = Field(default_factory=list)


class OutsideConfig(BaseModel):
    """What an `adapter_config.json` says of an adapter and its base.

    >>> OutsideConfig(name="rte", hidden_size=384, config={}).name
    'rte'
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    name: str | None = None
    model_type: str | None = None
    hidden_size: int | None = None
    model_name: str | None = None
    config: dict[str, Any]

    def bottleneck(self, origin: str) -> dict[str, Any]:
        """The adapter's whole configuration.

        Raises:
            UserError: an adapter of a form that cannot be folded, or a value that is missing or wrong (named).
        """
        if problem := unfoldable(self.config):
            raise UserError(f"{origin}: cannot be used as a source: {problem}")
        try:
            values = PlainBottleneck.model_validate(self.config)
        except ValidationError as error:
            raise _wrong(origin, error, "config.") from error
        return resolve_config(values.model_dump())


def read_outside_config(path: Path, *, origin: str) -> OutsideConfig:
    """Reads an `adapter_config.json`.

    Raises:
        UserError: a configuration that the library does not know; JSON that is broken or too deep, names a key twice or is no mapping; a
            value of another type.

    >>> read_outside_config(Path("mine/adapter_config.json"), origin="mine").bottleneck("mine")  # doctest: +SKIP
    """
    content = read_mapping(path, origin=origin)
    config = _resolved(content.get("config"), origin)
    activation = config.get("non_linearity")
    if "version" not in content and isinstance(activation, str):
        config = {**config, "non_linearity": OLD_ACTIVATIONS.get(activation, activation)}
    try:
        return OutsideConfig.model_validate({**content, "config": config})
    except ValidationError as error:
        raise _wrong(origin, error) from error


def read_mapping(path: Path, *, origin: str) -> dict[str, Any]:
    """A JSON file's mapping.

    Raises:
        UserError: see `read_outside_config`.

    >>> read_mapping(Path("mine/head_config.json"), origin="mine")  # doctest: +SKIP
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise UserError(f"{origin}: {path.name} is nested too deep") from error
    except UserError as error:
        raise UserError(f"{origin}: {path.name} {error}") from error
    except (OSError, ValueError) as error:  # broken JSON or UTF-8
        raise UserError(f"{origin}: {path.name} cannot be read as JSON ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{origin}: {path.name} holds {_kind(content)}, where a mapping is needed")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"names the key '{shortened(twice)}' twice")
    return content


def _resolved(config: Any, origin: str) -> dict[str, Any]:
    """An adapter's configuration as a mapping."""
    if isinstance(config, dict):
        return config
    if not isinstance(config, str):
        raise UserError(f"{origin}: its config is {_kind(config)}, where a mapping or a configuration's name is needed")
    try:
        return resolve_config(config)
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error


def _wrong(origin: str, error: ValidationError, prefix: str = "") -> UserError:
    """The first wrong value, as one line."""
    first = error.errors()[0]
    said = one_line(ValueError(first["msg"].removeprefix("Value error, ")))
    value = "" if first["type"] in ("missing", "value_error") else f", given {shortened(repr(first['input']))}"
    return UserError(f"{origin}: adapter_config.json: {prefix}{'.'.join(map(str, first['loc']))}: {said}{value}")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else "something else")
