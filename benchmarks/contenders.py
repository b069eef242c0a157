"""The contenders: one frozen base and one head, with different things in the adapter slot of each layer.

    head        nothing: the frozen forward pass, and a trainable head
    floor       one trainable vector per slot: the least cost of a method that trains something in every layer
    single      one new ordinary adapter, the unit of every ratio
    scalearn    n frozen sources under omega, as `scalearn.layers.mix.add_mix` puts them there
    loop        the same sum, source by source (`scalearn.layers.scaling.loop`)
    soup        the n sources' weights averaged into one frozen adapter
    fusion      AdapterFusion over the same n sources, without the penalty on its value matrix
    compacter   one new Compacter++
    exported    the mix folded into one ordinary adapter of the summed width; inference only

These are in the slot of `tasksel.model.slot`. Two more are the `adapters` library's own (`benchmarks.library`), where it is installed:

    library-single, library-fusion      the library's model with its own adapter, and with its own AdapterFusion

All hold the same n random sources of the library's default form (seq_bn, reduction factor 16, relu).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import Distribution
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from benchmarks.library import library_fusion, library_single
from scalearn.layers.mix import ScaledMix, bottleneck_layers, fold_into
from scalearn.layers.scaling import loop
from scalearn.methods.merged import MergedAdapter
from scalearn.methods.registry import METHODS
from tasksel.adapters.bottleneck import Bottlenecks, slot_config
from tasksel.adapters.train import REDUCTION_FACTOR
from tasksel.model.adapter_config import SEQ_BN
from tasksel.model.base import Base, load_base
from tasksel.model.heads import add_head
from tasksel.model.task_model import TaskModel
from tasksel.tasks.task import BuiltinSource, Task

PRECISIONS = ("float32", "bf16")  # bf16: under autocast, as `accelerate launch --mixed_precision bf16` trains
STD = 0.02  # of the random sources' weights, as in a BERT initialisation
CONFIG = {**SEQ_BN, "reduction_factor": REDUCTION_FACTOR}
TASK = Task(
    name="target",
    kind="single_sentence_classification",
    text=("text",),
    labels=("no", "yes"),
    metric="accuracy",
    source=BuiltinSource(),
)


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common: number of sources, rows and tokens of a batch, the base, the device, the precision."""

    sources: int = 8
    batch: int = 32
    length: int = 64
    base: str = "minilm"
    device: str = "cpu"
    precision: str = "float32"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The precision of a forward pass, for loops that know no accelerate."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


class Floor(nn.Module):
    """Adds one trainable vector: below it the model is frozen, above it every activation needs a gradient."""

    reads_branch = True  # so that the slot does not norm an input for it that it does not read

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor | None) -> Tensor:
        """The vector [d]."""
        return self.shift


class LoopMix(ScaledMix):
    """The mix by its definition: n bottlenecks one after the other, their outputs stored, scaled and summed."""

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [b, t, d]."""
        n, r, d = self.up.shape
        down, down_bias = self.down.view(n, r, d), self.down_bias.view(n, r)
        return loop(x, down, down_bias, self.up, self.up_bias, self.omega(), self.non_linearity)


def slot_paths(base: Base) -> list[str]:
    """The paths of seq_bn adapters, read from a copy of the model without weights."""
    with torch.device("meta"):
        empty = TaskModel(AutoModel.from_config(base.config))
        empty.add_adapter("any", CONFIG)
    return [path for path, _ in empty.slots()]


def draw_sources(setting: Setting) -> dict[str, Bottlenecks]:
    """The same random sources for every contender, stacked, by slot path."""
    base = load_base(setting.base)
    generator = torch.Generator().manual_seed(0)
    n, d = setting.sources, base.config.hidden_size
    r = d // REDUCTION_FACTOR
    shapes = ((n, r, d), (n, r), (n, r, d), (n, d))
    return {
        path: Bottlenecks(*(torch.randn(shape, generator=generator) * STD for shape in shapes))
        for path in slot_paths(base)
    }


def by_method(name: str, setting: Setting) -> Any:
    """The model that the package itself trains for a transfer method."""
    method = METHODS[name]
    method = replace(
        method, least=min(method.least, 1)
    )  # fusion would refuse the single source that a scale begins with
    sources = draw_sources(setting) if method.takes_sources else {}
    if isinstance(method, MergedAdapter):
        sources = {path: method.merge(part, None) for path, part in sources.items()}
    return method.build(load_base(setting.base), TASK, sources, CONFIG, seed=0)


def replaced(name: str, content: Callable[[Any], nn.Module], setting: Setting) -> Any:
    """The model of a method with another module in each slot."""
    model = by_method(name, setting)
    for _, slot in bottleneck_layers(model, TASK.name):
        slot.adapters[TASK.name] = content(slot.adapters[TASK.name])
    return model


def floored(adapter: Any) -> Floor:
    """A vector in place of an adapter."""
    return Floor(adapter.adapter_up.out_features)


def looped(mixed: ScaledMix) -> LoopMix:
    """The same sources and the same omega in a loop."""
    n, r, d = mixed.up.shape
    down, down_bias = mixed.down.view(n, r, d), mixed.down_bias.view(n, r)
    return LoopMix(mixed, Bottlenecks(down, down_bias, mixed.up, mixed.up_bias), mixed.omega)  # type: ignore[arg-type]


def exported(setting: Setting) -> Any:
    """The untrained mix as `scalearn.results.export` writes it: one ordinary adapter of the summed width, and the same head."""
    mixed = by_method("scalearn", setting)
    model = load_base(setting.base).model()
    add_head(model, TASK, name=TASK.name)
    width, hidden = next(bottleneck_layers(mixed, TASK.name))[1].adapters[TASK.name].down.shape
    model.add_adapter(TASK.name, slot_config(width, hidden, CONFIG))
    model.set_active_adapters(TASK.name)
    fold_into(model, TASK.name, mixed, TASK.name)
    model.heads[TASK.name].load_state_dict(mixed.heads[TASK.name].state_dict())
    return model


def by_library(build: Callable[[Any, str], Any], name: str, setting: Setting) -> Any:
    """The library's model with the weights of ours for a transfer method."""
    return build(by_method(name, setting), load_base(setting.base).path)


CONTENDERS: dict[str, Callable[[Setting], Any]] = {
    "head": partial(by_method, "head-only"),
    "floor": partial(replaced, "single-adapter", floored),
    "single": partial(by_method, "single-adapter"),
    "scalearn": partial(by_method, "scalearn"),
    "loop": partial(replaced, "scalearn", looped),
    "soup": partial(by_method, "soup"),
    "fusion": partial(by_method, "fusion"),
    "compacter": partial(by_method, "compacter++"),
    "exported": exported,
    "library-single": partial(by_library, library_single, "single-adapter"),
    "library-fusion": partial(by_library, library_fusion, "fusion"),
}
UNTRAINED = frozenset({"exported"})
LIBRARY = frozenset({"library-single", "library-fusion"})
HAS_LIBRARY = bool(list(Distribution.discover(name="adapters")))
AVAILABLE = tuple(name for name in CONTENDERS if HAS_LIBRARY or name not in LIBRARY)
LEFT_OUT = (
    f"without {' and '.join(sorted(LIBRARY))}: the package adapters is not installed (pip install 'scalearn[adapters]')"
)
