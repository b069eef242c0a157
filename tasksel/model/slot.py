"""The adapter slot of a post-LN encoder layer: one of its LayerNorms, wrapped; known per model type in one table.

    s = branch + a                       [b, t, d]   what the LayerNorm gets: the FFN's (or the attention's) output plus its input a
    y = LN( s + o(LN(s)) )               with `original_ln_before`, the library's default (`seq_bn`)
    y = LN( s + o(branch) )              without (`double_seq_bn`, `compacter`); the branch is carried by a hook, only then

    o   what sits in the slot: an adapter without its residual, or a mix of several         LN   the base's own, frozen

The wrapper keeps the LayerNorm's parameters under their names, and what sits in the slot is registered where the `adapters` library has it
(`…output.adapters.NAME.…`): weights of the base and of adapters have the library's names. Taking it out restores the base exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tasksel.errors import UserError
from tasksel.model.decoders import DECODERS, is_decoder, no_slots


@dataclass(frozen=True)
class Place:
    """Where a slot lies within a layer.

    Attributes:
        norm: the LayerNorm that is wrapped. holder: the module that the library registers `adapters` in (added if there is none).
        branch: the module whose output is the branch that the LayerNorm adds to a.
        reads_a: the module whose input is a, where the library gives adapters a in place of the branch (after ALBERT's attention).
    """

    norm: str
    holder: str
    branch: str
    reads_a: str | None = None


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
        Place("attention.LayerNorm", "attention.attention_adapters", "attention.output_dropout", "attention"),
    ),
}
"""Post-LN encoders by model type; a new row needs the paths of its layers and LayerNorms alone."""


class Slot(nn.Module):
    """The LayerNorm of a layer with room for adapters by name; without an active one it is that LayerNorm.

    Args:
        norm: the LayerNorm, whose parameters are the slot's.
        holder: the module in which `adapters` and `adapter_fusion_layer` are registered; what can be active, by name.
    """

    def __init__(self, norm: nn.Module, holder: nn.Module) -> None:
        super().__init__()
        self._parameters = norm._parameters  # the same mapping: what is loaded or moved here is so there
        self.training = norm.training
        self._norm = (norm,)  # in tuples, so that they are not registered twice
        self._contents: tuple[Any, Any] = (holder.adapters, holder.adapter_fusion_layer)
        self.active: str | None = None
        self._branch: Tensor | None = None
        self._hook: Any = None

    @property
    def norm(self) -> nn.Module:
        """The base's own LayerNorm."""
        return self._norm[0]

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
        if content is not None:
            x = self._branch if _reads_branch(content) else self.norm(s)
            self._branch = None  # nothing of a batch is kept
            s = s + content(x)
        output: Tensor = self.norm(s)
        return output

    def follow(self, layer: nn.Module, place: Place) -> None:
        """Keeps the branch of each pass for a content that reads it."""
        if self._hook is None and place.reads_a is None:
            self._hook = layer.get_submodule(place.branch).register_forward_hook(self._keep_output)
        elif self._hook is None:
            module = layer.get_submodule(str(place.reads_a))
            self._hook = module.register_forward_pre_hook(self._keep_input, with_kwargs=True)

    def _keep_output(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if _reads_branch(self.content()):
            self._branch = first_of(output)

    def _keep_input(self, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        if _reads_branch(self.content()):
            self._branch = input_of(inputs, named)

    def plain(self) -> nn.Module:
        """The base's own LayerNorm, in the slot's mode; the slot follows the branch no longer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        return self.norm.train(self.training)


def _reads_branch(content: nn.Module | None) -> bool:
    return bool(getattr(content, "reads_branch", False))


def first_of(output: Any) -> Any:
    """A module's output without attention weights, which some give beside it."""
    return output[0] if isinstance(output, tuple) else output


def input_of(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """The hidden states that a layer or its attention is called with."""
    hidden: Tensor = inputs[0] if inputs else named["hidden_states"]
    return hidden


def family_of(config: Any) -> Family:
    """The slots of a model's type.

    Raises:
        UserError: a decoder, or a model type without a row; the known ones are named.
    """
    known = FAMILIES.get(config.model_type)
    if is_decoder(config):
        raise UserError(no_slots(config))
    if known is None:
        raise UserError(
            f"a {config.model_type} has no adapter slot here; known: {', '.join(sorted(FAMILIES))} "
            "(post-LN encoders; a new one is a row in tasksel/model/slot.py)"
        )
    return known


def layers_of(encoder: Any) -> Iterator[tuple[str, nn.Module]]:
    """The layers of an encoder or decoder with their paths, from the first to the last.

    Raises:
        UserError: a model type without a row.
    """
    config = encoder.config
    pattern = re.compile(DECODERS[config.model_type].layers if is_decoder(config) else family_of(config).layers)
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


def close_slot(layer: nn.Module, place: Place, slot: Slot) -> None:
    """Puts the base's LayerNorm back and takes away what was added."""
    parent, _, name = place.norm.rpartition(".")
    setattr(layer.get_submodule(parent), name, slot.plain())
    holder = layer.get_submodule(place.holder)
    del holder.adapters, holder.adapter_fusion_layer
    if not list(holder.children()):
        parent, _, name = place.holder.rpartition(".")
        delattr(layer.get_submodule(parent), name)
