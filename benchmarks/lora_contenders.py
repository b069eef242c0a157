"""The contenders of `benchmarks.lora`: one frozen base and one head, with LoRAs on the same modules.

    head         nothing: the frozen forward pass, and a trainable head
    single       one new LoRA, the unit of every ratio
    scalearn     n frozen LoRAs packed under an omega of one number per output channel, as `scalearn.layers.lora_mix` puts them there
    uniform      the same under one number per LoRA and module (`scalearn-uniform`)
    loop         the same as scalearn, LoRA by LoRA (`scalearn.layers.lora_scaling.loop_loras`)
    exported     the mix folded into one LoRA of the summed rank; inference only
    peft-single  one new LoRA, in peft's own layer, where peft is installed
    peft         the same n LoRAs in peft's own layer, all active; they train, as peft leaves them, for it cannot learn their weights

All LoRAs have the same rank, and scale 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from benchmarks.contenders import STD, TASK
from benchmarks.contenders import Setting as StepSetting
from scalearn.layers.folded import mixes
from scalearn.layers.lora_mix import LoraMix
from scalearn.layers.lora_scaling import loop_loras
from scalearn.layers.lora_stacking import POOLER, LoraStack
from scalearn.methods.registry import METHODS
from tasksel.model.base import load_base
from tasksel.model.linear_slot import linears_of, sizes
from tasksel.model.lora_config import LoraConfig, short_names

QUERY_VALUE, ALL_LINEAR = "query-value", "all-linear"


@dataclass(frozen=True)
class Setting(StepSetting):
    """What all contenders have in common: also the rank of a LoRA, and whether queries and values are targeted, or every Linear."""

    rank: int = 8
    targets: str = QUERY_VALUE


class LoopMix(LoraMix):
    """The mix by its definition: the LoRAs one after the other, their outputs stored, scaled and summed."""

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [..., out]."""
        return loop_loras(x, self.down, self.up, self.omega(self.present), self.owner)


def target_sizes(setting: Setting) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each targeted module by its path, read from a copy of the base without weights."""
    config = load_base(setting.base).config
    with torch.device("meta"):
        linears = {path: sizes(linear) for path, linear in linears_of(AutoModel.from_config(config))}
    wanted = LoraConfig(target_modules=ALL_LINEAR if setting.targets == ALL_LINEAR else None)
    targets = wanted.with_targets(config.model_type).targets(linears)
    return {target.path: linears[target.path] for target in targets if not target.path.startswith(POOLER)}


def lora_config(setting: Setting) -> dict[str, Any]:
    """Of one LoRA on the targeted modules, under peft's names."""
    with torch.device("meta"):
        linears = [path for path, _ in linears_of(AutoModel.from_config(load_base(setting.base).config))]
    names = list(short_names(target_sizes(setting), linears))
    return {"r": setting.rank, "lora_alpha": setting.rank, "target_modules": names}


def draw_sources(setting: Setting) -> dict[str, LoraStack]:
    """The same random LoRAs for every contender, stacked, by the path of their module."""
    generator = torch.Generator().manual_seed(0)
    rows = setting.sources * setting.rank
    ranks = torch.full((setting.sources,), setting.rank)
    return {
        path: LoraStack(*(torch.randn(rows, width, generator=generator) * STD for width in widths), ranks)
        for path, widths in target_sizes(setting).items()
    }


def by_method(name: str, setting: Setting) -> Any:
    """The model that the package itself trains for a transfer method."""
    method, config = METHODS[name], {"architecture": "lora"}
    if name == "single-adapter":
        config |= lora_config(setting)
    sources = draw_sources(setting) if method.takes_sources else {}
    return method.build(load_base(setting.base), TASK, sources, config, seed=0)


def looped(setting: Setting) -> Any:
    """The model of the mix, computed by its definition."""
    model = by_method("scalearn", setting)
    for _, mix in mixes(model, TASK.name):
        mix.__class__ = LoopMix
    return model


def exported(setting: Setting) -> Any:
    """The untrained mix as `scalearn export` writes it: one LoRA of the summed rank, and the same head."""
    method, config = METHODS["scalearn"], {"architecture": "lora"}
    return method.export(by_method("scalearn", setting), load_base(setting.base), TASK, config)


def in_peft(setting: Setting, *, new: bool = False) -> Any:
    """The base with peft's layers, and our head: one new LoRA, or all sources, active and trainable."""
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = by_method("head-only", setting)
    names = ["new"] if new else [f"source{number}" for number in range(setting.sources)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are several
        for name in names:
            inject_adapter_in_model(PeftConfig(**lora_config(setting)), model.base_model, adapter_name=name)
    for module in model.base_model.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(names)
    if not new:
        _fill_peft(model.base_model, draw_sources(setting))
    return model


@torch.no_grad()
def _fill_peft(encoder: Any, sources: dict[str, LoraStack]) -> None:
    for path, stack in sources.items():
        module = encoder.get_submodule(path)
        for number in range(stack.count):
            a, b = stack.pair(number)
            module.lora_A[f"source{number}"].weight.copy_(a)
            module.lora_B[f"source{number}"].weight.copy_(b)


CONTENDERS: dict[str, Callable[[Any], Any]] = {
    "head": partial(by_method, "head-only"),
    "single": partial(by_method, "single-adapter"),
    "scalearn": partial(by_method, "scalearn"),
    "uniform": partial(by_method, "scalearn-uniform"),
    "loop": looped,
    "exported": exported,
    "peft-single": partial(in_peft, new=True),
    "peft": in_peft,
}
UNTRAINED = frozenset({"exported"})
PEFT = frozenset({"peft-single", "peft"})
HAS_PEFT = bool(list(Distribution.discover(name="peft")))
AVAILABLE = tuple(name for name in CONTENDERS if HAS_PEFT or name not in PEFT)
LEFT_OUT = "without peft and peft-single: the package peft is not installed (pip install 'scalearn[lora]')"
