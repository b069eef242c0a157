"""The contenders: one frozen base and one head, with different things in the adapter slot of each layer.

    head       nothing: the frozen forward pass, and a trainable head
    floor      one trainable vector per slot: the least cost of a method that trains something in every layer
    single     one new ordinary adapter, the unit of every ratio
    scalearn   n frozen sources under omega, as `scalearn.layers.mix.add_mix` puts them there
    loop       the same sum, source by source (`scalearn.layers.scaling.loop`)
    fusion     AdapterFusion of the `adapters` library over the same n sources
    exported   the mix folded into one ordinary adapter of the summed width; inference only

All hold the same n random sources of the library's default form (seq_bn, reduction factor 16, relu).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from adapters import AutoAdapterModel, Fuse, SeqBnConfig
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import Adapter
from torch import Tensor, nn

from scalearn.layers.mix import ScaledMix, bottleneck_layers, fold_into
from scalearn.layers.scaling import loop
from scalearn.methods.registry import METHODS
from tasksel.adapters.bottleneck import Bottlenecks, slot_config
from tasksel.adapters.train import REDUCTION_FACTOR
from tasksel.model.base import Base, load_base, quiet
from tasksel.model.heads import add_head
from tasksel.tasks.task import BuiltinSource, Task

STD = 0.02  # of the random sources' weights, as in a BERT initialisation
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
    """What all contenders have in common: number of sources, rows and tokens of a batch, the base, the device."""

    sources: int = 8
    batch: int = 32
    length: int = 64
    base: str = "minilm"
    device: str = "cpu"


class Floor(Adapter):
    """A slot that adds one trainable vector: below it the model is frozen, above it every activation needs a gradient."""

    def __init__(self, slot: Adapter) -> None:
        nn.Module.__init__(self)
        vars(self).update({name: value for name, value in vars(slot).items() if not name.startswith("_")})
        self.shift = nn.Parameter(torch.zeros(slot.input_size))

    def forward(self, x: Tensor, residual_input: Tensor, output_gating: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """As the library's: output, and two placeholders for its inner states."""
        return residual_input + self.shift, x, x


class LoopMix(ScaledMix):
    """The mix by its definition: n bottlenecks one after the other, their outputs stored, scaled and summed."""

    def forward(self, x: Tensor, residual_input: Tensor, output_gating: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """As the library's: output, and two placeholders for its inner states."""
        n, r, d = self.up.shape
        down, down_bias = self.down.view(n, r, d), self.down_bias.view(n, r)
        y = loop(x, residual_input, down, down_bias, self.up, self.up_bias, self.omega(), self.non_linearity)
        return y, x, x


def slot_paths(base: Base) -> list[str]:
    """The paths of seq_bn adapters, read from a copy of the model without weights."""
    with torch.device("meta"):
        empty = AutoAdapterModel.from_config(base.config)
    layers = (item for item in empty.named_modules() if isinstance(item[1], BottleneckLayer))
    return [path for path, layer in layers if layer.location_key == "output_adapter"]


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
    sources = draw_sources(setting) if method.mixes else {}
    return method.build(load_base(setting.base), TASK, sources, SeqBnConfig().to_dict(), seed=0)


def replaced(name: str, slot: Callable[[Any], Adapter], setting: Setting) -> Any:
    """The model of a method with another module in each slot."""
    model = by_method(name, setting)
    for _, layer in bottleneck_layers(model, TASK.name):
        layer.adapters[TASK.name] = slot(layer.adapters[TASK.name])
    return model


def looped(mixed: ScaledMix) -> LoopMix:
    """The same sources and the same omega in a loop."""
    n, r, d = mixed.up.shape
    down, down_bias = mixed.down.view(n, r, d), mixed.down_bias.view(n, r)
    return LoopMix(mixed, Bottlenecks(down, down_bias, mixed.up, mixed.up_bias), mixed.omega)


def fusion(setting: Setting) -> Any:
    """The library's AdapterFusion in its default form; its optional regulariser of the value matrix is left out."""
    torch.manual_seed(0)
    model, sources = load_base(setting.base).model(), draw_sources(setting)
    add_head(model, TASK, name=TASK.name)
    names = [f"source{s}" for s in range(setting.sources)]
    with quiet(), torch.no_grad():
        for s, name in enumerate(names):
            model.add_adapter(name, config=SeqBnConfig(reduction_factor=REDUCTION_FACTOR))
            for path, layer in bottleneck_layers(model, name):
                adapter, source = layer.adapters[name], sources[path]
                adapter.adapter_down[0].weight.copy_(source.down[s])
                adapter.adapter_down[0].bias.copy_(source.down_bias[s])
                adapter.adapter_up.weight.copy_(source.up[s].t())
                adapter.adapter_up.bias.copy_(source.up_bias[s])
        model.add_adapter_fusion(names)
        model.train_adapter_fusion(Fuse(*names))
    model.active_head = TASK.name
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("heads.") or ".adapter_fusion_layer." in name)
    return model


def exported(setting: Setting) -> Any:
    """The untrained mix as `scalearn.results.export` writes it: one ordinary adapter of the summed width, and the same head."""
    mixed = by_method("scalearn", setting)
    model = load_base(setting.base).model()
    add_head(model, TASK, name=TASK.name)
    width, hidden = next(bottleneck_layers(mixed, TASK.name))[1].adapters[TASK.name].down.shape
    with quiet():
        model.add_adapter(TASK.name, config=slot_config(width, hidden, SeqBnConfig().to_dict()))
        model.set_active_adapters(TASK.name)
    fold_into(model, TASK.name, mixed, TASK.name)
    model.heads[TASK.name].load_state_dict(mixed.heads[TASK.name].state_dict())
    return model


CONTENDERS: dict[str, Callable[[Setting], Any]] = {
    "head": partial(by_method, "head-only"),
    "floor": partial(replaced, "single-adapter", Floor),
    "single": partial(by_method, "single-adapter"),
    "scalearn": partial(by_method, "scalearn"),
    "loop": partial(replaced, "scalearn", looped),
    "fusion": fusion,
    "exported": exported,
}
UNTRAINED = frozenset({"exported"})
