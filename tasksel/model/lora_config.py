"""The configuration of a LoRA under the names and keys of PEFT: which modules it targets, with which rank and scale.

    y = W x + scale * B A x        scale = alpha / r, with rsLoRA alpha / sqrt(r)        A [r, in], B [out, r]

A target is a module whose path ends in one of the names of `target_modules`, or matches it as a regular expression; `rank_pattern` and `alpha_pattern`
give other numbers to the modules whose path they match (Hu et al. 2022, arXiv:2106.09685; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tasksel.errors import UserError, one_line
from tasksel.storage.frozen import Frozen

ARCHITECTURE = "lora"  # of an adapter's configuration, as the `adapters` library calls it
ALL_LINEAR = "all-linear"
POOLER = "pooler.dense"
TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "albert"), ("query", "value")),
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),
    "distilbert": ("q_lin", "v_lin"),
    "mpnet": ("attn.q", "attn.v"),
    "gpt2": ("c_attn",),
}
"""What a LoRA targets where nothing is said, by model type: query and value, as in the paper and in PEFT; other types have `q_proj` and `v_proj`."""
Scale = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Target:
    """One targeted module: its path in the encoder, and the LoRA's rank and alpha there."""

    path: str
    rank: int
    alpha: float


class LoraConfig(Frozen):
    """A LoRA's configuration; every key has PEFT's name, meaning and default.

    Attributes:
        target_modules: the last part or parts of paths, a regular expression of a whole path, or "all-linear"; None takes `TARGETS`.
        rank_pattern, alpha_pattern: other ranks and alphas, by a regular expression of the end of a path; the first that matches counts.
        layers_to_transform, layers_pattern: which layers, where `target_modules` is a list.

    >>> LoraConfig(r=4, lora_alpha=8, rank_pattern={"query": 2}).rank("encoder.layer.0.attention.self.query")
    2
    """

    architecture: Literal["lora"] = "lora"
    r: Annotated[int, Field(gt=0)] = 8
    lora_alpha: Scale = 8
    target_modules: tuple[str, ...] | str | None = None
    exclude_modules: tuple[str, ...] | str | None = None
    rank_pattern: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    alpha_pattern: dict[str, Scale] = Field(default_factory=dict)
    use_rslora: bool = False
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias: Literal["none"] = "none"
    layers_to_transform: tuple[int, ...] | int | None = None
    layers_pattern: tuple[str, ...] | str | None = None

    def rank(self, path: str) -> int:
        """The rank at a module's path."""
        return int(_by_pattern(self.rank_pattern, path, self.r))

    def alpha(self, path: str) -> float:
        """Alpha at a module's path."""
        return float(_by_pattern(self.alpha_pattern, path, self.lora_alpha))

    def scale(self, target: Target) -> float:
        """alpha / r at a module, with rsLoRA alpha / sqrt(r)."""
        return target.alpha / (math.sqrt(target.rank) if self.use_rslora else target.rank)

    def matches(self, path: str) -> bool:
        """Whether a Linear of this path is a target."""
        if self.exclude_modules and _named(self.exclude_modules, path):
            return False
        if isinstance(self.target_modules, str):
            return self.target_modules.lower() == ALL_LINEAR or _named(self.target_modules, path)
        named = self.target_modules or ()
        return path in named or (_named(named, path) and self._in_layers(path))

    def _in_layers(self, path: str) -> bool:
        layers = (self.layers_to_transform,) if isinstance(self.layers_to_transform, int) else self.layers_to_transform
        if not layers:
            return True
        patterns = (self.layers_pattern,) if isinstance(self.layers_pattern, str) else self.layers_pattern
        tried = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in patterns or ()] or [r".*?\.[^.]*\.(\d+)\."]
        matched = next((match for pattern in tried if (match := re.match(pattern, path))), None)
        return matched is not None and int(matched[1]) in layers

    def with_targets(self, model_type: str) -> LoraConfig:
        """This configuration with the model type's usual targets, where none are named."""
        usual = TARGETS.get(model_type, ("q_proj", "v_proj"))
        return self if self.target_modules is not None else self.model_copy(update={"target_modules": usual})

    def targets(self, linears: Iterable[str], *, prefix: str = "") -> list[Target]:
        """The targets among a base's Linears.

        Args:
            linears: their paths in the encoder. prefix: the encoder's name in a whole model ("bert"), which a pattern may hold.

        Raises:
            UserError: no target; a pattern that is no regular expression.
        """
        paths = list(linears)
        try:
            return list(self._targets(paths, prefix))
        except re.error as error:
            raise UserError(f"a pattern of a LoRA's configuration is no regular expression ({error})") from error

    def _targets(self, paths: Sequence[str], prefix: str) -> Iterable[Target]:
        count = 0
        for path in paths:
            names = (path, f"{prefix}.{path}") if prefix else (path,)
            name = next((name for name in names if self.matches(name)), None)
            if name is not None and not any(self.exclude_modules and _named(self.exclude_modules, n) for n in names):
                count += 1
                named = next((n for n in names if self.rank(n) != self.r or self.alpha(n) != self.lora_alpha), name)
                yield Target(path, self.rank(named), self.alpha(named))
        if not count:
            last = ", ".join(sorted({path.rpartition(".")[2] for path in paths}))
            raise UserError(
                f"target_modules {_listed(self.target_modules)}: the base has no such Linear; it has {last}"
            )


def is_lora(config: Any) -> bool:
    """Whether an adapter's configuration is a LoRA's.

    >>> is_lora(LoraConfig()), is_lora({"architecture": "lora"}), is_lora("seq_bn")
    (True, True, False)
    """
    return isinstance(config, LoraConfig) or (
        isinstance(config, Mapping) and config.get("architecture") == ARCHITECTURE
    )


def lora_config(values: LoraConfig | Mapping[str, Any]) -> LoraConfig:
    """A LoRA's configuration from a mapping of PEFT's names.

    Raises:
        UserError: an unknown key, or a value that is none of its type (the first is named).

    >>> lora_config({"architecture": "lora", "r": 2}).r
    2
    """
    if isinstance(values, LoraConfig):
        return values
    try:
        return LoraConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where, said = ".".join(map(str, first["loc"])), one_line(ValueError(first["msg"]))
        raise UserError(f"a LoRA's {where}: {said}, given {first['input']!r:.40}") from error


def module_config(targets: Sequence[Target], linears: Iterable[str], **values: Any) -> LoraConfig:
    """The configuration that gives each target its rank and alpha, and targets nothing else; names are as short as they can be.

    Args:
        linears: paths of all the base's Linears, which decide how short; a pooler that this base lacks counts too, as a stock `AutoModel` adds one.
        values: other keys.

    >>> module_config([Target("layer.0.query", 2, 4), Target("layer.1.query", 4, 4)], ["layer.0.query", "layer.1.query"]).target_modules
    ('query',)
    """
    rank, alpha = _most_common(target.rank for target in targets), _most_common(target.alpha for target in targets)
    return LoraConfig(
        r=rank,
        lora_alpha=_whole(alpha),
        target_modules=short_names([target.path for target in targets], [*linears, POOLER]),
        rank_pattern={re.escape(target.path): target.rank for target in targets if target.rank != rank},
        alpha_pattern={re.escape(target.path): _whole(target.alpha) for target in targets if target.alpha != alpha},
        **values,
    )


def short_names(paths: Iterable[str], linears: Iterable[str]) -> tuple[str, ...]:
    """Names that target these paths and no other Linear: of each the fewest last parts that tell it from all others.

    >>> short_names(["layer.0.query", "layer.1.query"], ["layer.0.query", "layer.1.query", "layer.0.key"])
    ('query',)
    """
    wanted, others = dict.fromkeys(paths), list(linears)
    names: dict[str, None] = {}
    for path in wanted:
        parts = path.split(".")
        endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        names[next(end for end in endings if all(other in wanted for other in others if _named((end,), other)))] = None
    return tuple(names)


def _by_pattern(pattern: Mapping[str, float], path: str, default: float) -> float:
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", path)), default)


def _named(names: tuple[str, ...] | str, path: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return path in names or path.endswith(tuple(f".{name}" for name in names))


def _most_common(values: Iterable[Any]) -> Any:
    listed = list(values)
    return max(dict.fromkeys(listed), key=listed.count)


def _whole(value: float) -> float:
    """A whole number as one, which is how PEFT writes alphas."""
    return int(value) if float(value).is_integer() else value


def _listed(names: tuple[str, ...] | str | None) -> str:
    return f"'{names}'" if isinstance(names, str) else ", ".join(names or ("(none)",))
