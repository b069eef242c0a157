"""The adapter slot of a post-LN encoder layer: one of its LayerNorms, wrapped; known per model type in one table.

    s = branch + a                       [b, t, d]   what the LayerNorm gets: the FFN's (or the attention's) output plus its input a
    y = LN( s + o(LN(s)) )               with `original_ln_before`, the library's default (`seq_bn`)
    y = LN( s + o(branch) )              without (Houlsby's and Compacter's); the branch is carried by a hook, only then

    o   what sits in the slot: an adapter without its residual, or a mix of several         LN   the base's own, frozen

The wrapper keeps the LayerNorm's parameters under their names, and what sits in the slot is registered where the `adapters` library has it
(`…output.adapters.NAME.…`): weights of the base and of adapters have the library's names. Taking it out restores the base exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tasksel.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a slot lies within a layer.

    Attributes:
        norm: the LayerNorm that is wrapped. holder: the module that the library registers `adapters` in (added if there is none).
        branch: the module whose output is the branch that the LayerNorm adds to its input.
    """

    norm: str
    holder: str
    branch: str


@dataclass(frozen=True)
class Family:
    """The slots of a model type: the path of its layers, and a place after the feed-forward block and one after attention."""

    layers: str = r"encoder\.layer\.\d+"
    output_adapter: Place = field(default=Place("output.LayerNorm", "output", "output.dropout"))
    mh_adapter: Place = field(
        default=Place("attention.output.LayerNorm", "attention.output", "attention.output.dropout")
    )


BERT = Family()
FAMILIES: dict[str, Family] = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "electra": BERT,
    "deberta": BERT,
    "deberta-v2": BERT,
    "mpnet": Family(mh_adapter=Place("attention.LayerNorm", "attention", "attention.dropout")),
    "distilbert": Family(
        r"transformer\.layer\.\d+",
        Place("output_layer_norm", "output_adapters", "ffn"),
        Place("sa_layer_norm", "attention_adapters", "attention"),
    ),
    "albert": Family(
        r"encoder\.albert_layer_groups\.\d+\.albert_layers\.\d+",
        Place("full_layer_layer_norm", "output_adapters", "ffn_output"),
        Place("attention.LayerNorm", "attention.attention_adapters", "attention.output_dropout"),
    ),
}
"""Post-LN encoders by model type; a new row needs the paths of its layers and LayerNorms alone."""


class Slot(nn.LayerNorm):
    """The LayerNorm of a layer with room for adapters by name; without an active one it is that LayerNorm.

    Args:
        norm: the LayerNorm, whose parameters are kept.
        holder: the module in which `adapters` and `adapter_fusion_layer` are registered; what can be active, by name.
    """

    def __init__(self, norm: Any, holder: nn.Module) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = norm.weight, norm.bias
        self.normalized_shape, self.elementwise_affine = tuple(norm.weight.shape), True
        self.eps = norm.eps if isinstance(norm, nn.LayerNorm) else norm.variance_epsilon  # DeBERTa's own class
        self.training = norm.training
        self._norm = (norm,)  # in tuples, so that they are not registered twice
        self._contents: tuple[Any, Any] = (holder.adapters, holder.adapter_fusion_layer)
        self.active: str | None = None
        self.branch: Tensor | None = None

    @property
    def adapters(self) -> Any:
        """Adapters and mixes by name, an `nn.ModuleDict`."""
        return self._contents[0]

    @property
    def fusions(self) -> Any:
        """Fusions over several of the adapters, by name, an `nn.ModuleDict`."""
        return self._contents[1]

    def content(self) -> nn.Module | None:
        """What is active in this layer."""
        name = self.active
        for kind in self._contents if name is not None else ():
            if name in kind:
                module: nn.Module = kind[name]
                return module
        return None

    def forward(self, s: Tensor) -> Tensor:
        """The layer's output [b, t, d] from its branch plus input [b, t, d]."""
        content = self.content()
        if content is None:
            return super().forward(s)
        x = self.branch if getattr(content, "reads_branch", False) else super().forward(s)
        return super().forward(s + content(x))

    def plain(self) -> nn.Module:
        """The base's own LayerNorm, with the same parameters."""
        norm = self._norm[0]
        norm.weight, norm.bias = self.weight, self.bias
        return norm.train(self.training)

    def keep_branch(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook of the module that gives the branch."""
        self.branch = output[0] if isinstance(output, tuple) else output


def family_of(config: Any) -> Family:
    """The slots of a model's type.

    Raises:
        UserError: a model type without a row; the known ones are named.
    """
    known = FAMILIES.get(config.model_type)
    if known is None:
        raise UserError(
            f"a {config.model_type} has no adapter slot here; known: {', '.join(sorted(FAMILIES))} "
            "(post-LN encoders; a new one is a row in tasksel/model/slot.py)"
        )
    return known


def layers_of(encoder: Any) -> Iterator[tuple[str, nn.Module]]:
    """The encoder's layers with their paths, from the first to the last.

    Raises:
        UserError: a model type without a row.
    """
    pattern = re.compile(family_of(encoder.config).layers)
    return ((path, module) for path, module in encoder.named_modules() if pattern.fullmatch(path))


def open_slot(layer: nn.Module, place: Place) -> Slot:
    """The slot of a layer at this place, made where there is none."""
    norm = layer.get_submodule(place.norm)
    if isinstance(norm, Slot):
        return norm
    parent, _, name = place.holder.rpartition(".")
    owner = layer.get_submodule(parent)
    if not hasattr(owner, name):
        setattr(owner, name, nn.Module())
    holder = getattr(owner, name)
    holder.adapters, holder.adapter_fusion_layer = nn.ModuleDict(), nn.ModuleDict()
    slot = Slot(norm, holder)
    parent, _, name = place.norm.rpartition(".")
    setattr(layer.get_submodule(parent), name, slot)
    return slot


def check_slots(encoder: Any) -> None:
    """Looks whether each layer's last step is the LayerNorm that the table names, on one row of random tokens.

    Raises:
        UserError: a LayerNorm that is not where the table says, or that is not what the layer ends with.
    """
    family, kind = family_of(encoder.config), encoder.config.model_type
    seen: dict[str, Tensor] = {}
    handles, layers = [], list(layers_of(encoder))
    if not layers:
        raise UserError(_moved(kind, f"layers {family.layers}"))

    def keep(key: str) -> Any:
        return lambda module, inputs, output: seen.__setitem__(key, output[0] if isinstance(output, tuple) else output)

    for path, layer in layers:
        try:
            norm = layer.get_submodule(family.output_adapter.norm)
            layer.get_submodule(family.output_adapter.branch)
        except AttributeError as error:
            raise UserError(_moved(kind, f"{path}.{family.output_adapter.norm}")) from error
        handles += [norm.register_forward_hook(keep(f"{path} norm")), layer.register_forward_hook(keep(path))]
    try:
        ids = torch.arange(4, 12).remainder(encoder.config.vocab_size)[None].to(next(encoder.parameters()).device)
        with torch.no_grad():
            encoder(input_ids=ids)
    finally:
        for handle in handles:
            handle.remove()
    for path, _ in layers:
        if f"{path} norm" not in seen or not torch.equal(seen[path], seen[f"{path} norm"]):
            raise UserError(_moved(kind, f"{path}.{family.output_adapter.norm} as the layer's last step"))


def _moved(kind: str, what: str) -> str:
    import transformers

    return f"transformers {transformers.__version__} has no {what} in a {kind}: its modules moved; a row of tasksel/model/slot.py must follow"
