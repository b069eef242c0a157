"""Connectivity patterns: which heads and neurons a task needs (CoPaTE, Xi et al., Findings of ACL 2023).

    context_h <- c_h * context_h        before the attention output projection, h a head
    neuron_j  <- c_j * f(neuron_j)      before the FFN output projection, j an intermediate neuron
    loss      =  task loss + lambda_heads * sum |c_h| + lambda_neurons * sum |c_j|
    e         =  [c_h > its layer's quantile, layer by layer; c_j > the global quantile]   in {0, 1}

On a decoder a gated FFN's neuron is f(gate_j) * up_j, which its down projection reads; heads are those of the queries, whatever keys they share.

c starts at 1. Scaling a head's context equals scaling its attention probabilities, and works with every attention kernel.

From the same first author's code (EarlyRobust) and EarlyBERT, on which it is built: the init, the L1 terms and lambda 1e-4, masks by quantile
(a third of the heads in each layer, 40 % of all neurons), weights at lr 2e-5 with decay 1e-2, masks compared every 0.05 epoch until the next 5 lie within 0.1.
The paper leaves open, so ours: lr 1e-2 for c and 1e-3 for the head, frozen weights by default, at most 25 steps, the vector's layout, Hamming similarity and its groupings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tasksel.bounds import Count, NotNegative, Part, Positive, Tokens
from tasksel.embeddings.base import Embedder, TaskEmbedding, TaskInput, must_match
from tasksel.embeddings.similarity import Grouping, hamming, pattern_similarity
from tasksel.errors import UserError, unknown
from tasksel.model.decoders import DECODERS, is_decoder
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.half_weights import widen
from tasksel.model.heads import add_head
from tasksel.model.names import module_name
from tasksel.model.slot import layers_of
from tasksel.training.loop import fit
from tasksel.training.recipe import Recipe
from tasksel.training.run import FitOptions

# where an encoder's architecture keeps its two output projections, layer by layer: (attention, FFN)
PROJECTIONS = (
    (
        r"\.layer\.\d+\.attention\.output\.dense$",
        r"\.layer\.\d+\.output\.dense$",
    ),  # BERT, RoBERTa, XLM-R, DeBERTa, ELECTRA
    (r"\.layer\.\d+\.attention\.out_lin$", r"\.layer\.\d+\.ffn\.lin2$"),  # DistilBERT
)


@dataclass(frozen=True)
class Connectivity(Embedder):
    """Embeds a task as the binary pattern of the heads and neurons that it keeps.

    Use it for tasks without a trained adapter: at most 25 steps per task, and patterns of some kilobytes that `EmbeddingIndex` searches.

    Attributes:
        co_train: train the weights along with c (as the authors' related methods do), or only c and the head.
        lr: of c. head_lr: of the new head; co-trained, weights and head learn at 2e-5 instead.
        l1_heads, l1_neurons: lambda of the two L1 terms.
        prune_heads, prune_neurons: share pruned, of each layer's heads and of all neurons.
        interval: epochs between two masks. patience: masks that must agree. eps: largest normalised Hamming distance between masks that agree.
        max_steps: an upper bound where masks do not settle. batch, max_length: rows per step, tokens per text.
        early_stop: stop when the masks have settled, or run `max_steps`.
        grouping: how similarity weighs the two groups.
    """

    name: ClassVar[str] = "connectivity"
    similarity_settings: ClassVar[tuple[str, ...]] = ("grouping",)
    co_train: bool = False
    lr: Positive = 1e-2
    head_lr: Positive = 1e-3
    weights_lr: Positive = 2e-5
    l1_heads: NotNegative = 1e-4
    l1_neurons: NotNegative = 1e-4
    prune_heads: Part = 1 / 3
    prune_neurons: Part = 0.4
    interval: Positive = 0.05
    patience: Count = 5
    eps: NotNegative = 0.1
    max_steps: Count = 25
    batch: Count = 32
    max_length: Tokens = 128
    early_stop: bool = True
    grouping: Grouping = "all"

    def __post_init__(self) -> None:
        """Refuses an unknown grouping, with the nearest name."""
        super().__post_init__()
        if self.grouping not in get_args(Grouping):
            raise unknown("grouping", self.grouping, get_args(Grouping))

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """The task's packed pattern: arrays `heads` and `neurons`, uint8; their numbers of bits are recorded as `bits`.

        Raises:
            UserError: an architecture whose output projections are not known.
        """
        task, base, seed = task_input.task, task_input.base, task_input.seed
        torch.manual_seed(seed)
        model = base.model()
        add_head(model, task, name=module_name(task.name))
        train = encode_split(task_input.data.train, task, base.tokenizer, max_length=self.max_length)
        say_cut(train, task.name, self.max_length)
        recipe = Recipe(
            lr=self.lr,
            epochs=self.max_steps,
            max_steps=self.max_steps,
            batch=self.batch,
            max_length=self.max_length,
            warmup=0.1,
        )
        with coefficients(model) as (heads, neurons):
            every = max(1, round(self.interval * math.ceil(len(train) / self.batch)))
            early_bird = _EarlyBird(self, heads, neurons, every=every)
            options: FitOptions = {
                "label": f"embed {task.name}",
                "groups": self._groups(model, [*heads, *neurons]),
                "penalty": early_bird.penalty,
                "on_step": early_bird.settled,
                "stateful": early_bird,
                "checkpoints": task_input.checkpoints,
            }
            result = fit(model, task, train, None, recipe, seed=seed, **options)
            pattern = early_bird.current()
        task_input.record(steps=result.steps, bits={group: int(mask.size) for group, mask in pattern.items()})
        return {group: np.packbits(mask) for group, mask in pattern.items()}

    def _groups(self, model: Any, coefficients: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Parameter groups, each with its own lr: c, the head, and, co-trained, the weights (not the pooler, which nothing uses)."""
        groups: list[dict[str, Any]] = [
            {"params": coefficients, "lr": self.lr, "weight_decay": 0.0},
            {"params": list(model.heads.parameters()), "lr": self.head_lr},
        ]
        if self.co_train:
            widen(model, lambda _path: True)
            grouped = {id(parameter) for group in groups for parameter in group["params"]}
            weights = [p for name, p in model.named_parameters() if id(p) not in grouped and "pooler" not in name]
            for parameter in weights:
                parameter.requires_grad_(True)
            groups.append({"params": weights, "lr": self.weights_lr, "weight_decay": 1e-2})
        return groups

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """1 - normalised Hamming distance, by the chosen grouping.

        Raises:
            UserError: embeddings of different bases, lengths or settings.
        """
        must_match(a, b)
        return pattern_similarity(a.arrays, b.arrays, a.provenance["bits"], self.grouping)


@contextmanager
def coefficients(model: Any) -> Iterator[tuple[list[nn.Parameter], list[nn.Parameter]]]:
    """Puts a trainable coefficient on every head and FFN neuron for as long as the block lasts.

    Yields:
        One parameter per layer: heads [heads of the layer], neurons [intermediate size], all 1.0.

    Raises:
        UserError: an architecture whose output projections are not known.
    """
    outputs = output_projections(model)
    count = model.config.num_attention_heads
    heads = [nn.Parameter(torch.ones(count)) for _ in outputs[0]]
    neurons = [nn.Parameter(torch.ones(_inputs(module))) for module in outputs[1]]
    handles = []
    for layer, (attention_out, ffn_out) in enumerate(zip(*outputs, strict=True)):
        for kind, module, parameter in (("heads", attention_out, heads[layer]), ("neurons", ffn_out, neurons[layer])):
            module.register_parameter(
                f"c_{kind}", parameter
            )  # a parameter of the model: it moves and synchronises with it
            handles.append(module.register_forward_pre_hook(_scale_input))
    try:
        yield heads, neurons
    finally:
        for handle in handles:
            handle.remove()
        for module in (*outputs[0], *outputs[1]):
            for kind in ("c_heads", "c_neurons"):
                module._parameters.pop(kind, None)


def output_projections(model: Any) -> tuple[list[Any], list[Any]]:
    """Each layer's projection of the attention's context, and of the FFN's neurons.

    Raises:
        UserError: an architecture whose output projections are not known.
    """
    if is_decoder(model.config):
        row = DECODERS[model.config.model_type]
        layers = [layer for _, layer in layers_of(model.base_model)]
        attention, feed_forward = (
            [layer.get_submodule(path) for layer in layers] for path in (row.attention_output, row.ffn_output)
        )
        return attention, feed_forward
    modules = dict(model.named_modules())
    for patterns in PROJECTIONS:
        attention, feed_forward = (
            [module for name, module in modules.items() if re.search(pattern, name)] for pattern in patterns
        )
        if attention and len(attention) == len(feed_forward):
            return attention, feed_forward
    raise UserError(
        f"connectivity: the output projections of a '{model.config.model_type}' are not known; known: BERT, RoBERTa, XLM-R, DeBERTa, ELECTRA, "
        f"DistilBERT, {', '.join(sorted(DECODERS))}"
    )


def _inputs(module: Any) -> int:
    """The width that a projection reads; GPT-2's are transposed."""
    return int(module.weight.shape[0]) if isinstance(module, Conv1D) else int(module.in_features)


def _scale_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Multiplies a projection's input by its coefficients: one per neuron, or one per head over that head's slice."""
    x = inputs[0]
    c = module._parameters.get("c_heads", module._parameters.get("c_neurons"))
    assert c is not None
    return (x * c.repeat_interleave(x.shape[-1] // c.numel()).to(x.dtype), *inputs[1:])


class _EarlyBird:
    """Early stopping by masks: settled when the last `patience` masks all lie within eps of the one before them, heads and neurons apart."""

    def __init__(
        self, settings: Connectivity, heads: list[nn.Parameter], neurons: list[nn.Parameter], *, every: int
    ) -> None:
        self.settings, self.heads, self.neurons, self.every = settings, heads, neurons, every
        self.masks: list[dict[str, np.ndarray]] = []

    def penalty(self) -> Tensor:
        """The two L1 terms."""
        s = self.settings
        return (
            s.l1_heads * torch.cat(list(self.heads)).abs().sum()
            + s.l1_neurons * torch.cat(list(self.neurons)).abs().sum()
        )

    def current(self) -> dict[str, np.ndarray]:
        """The masks now: `heads` [layers * heads], `neurons` [layers * intermediate], bool."""
        by_layer = [keep_above(c.detach().cpu().numpy(), self.settings.prune_heads) for c in self.heads]
        neurons = np.concatenate([c.detach().cpu().numpy() for c in self.neurons])
        return {"heads": np.concatenate(by_layer), "neurons": keep_above(neurons, self.settings.prune_neurons)}

    def settled(self, step: int) -> bool:
        """Takes the masks at every interval; True once they have settled. Step 0, where all c are equal, is never compared."""
        if not self.settings.early_stop or step % self.every:
            return False
        self.masks = [*self.masks[-self.settings.patience :], self.current()]
        first, *later = self.masks
        return len(later) == self.settings.patience and all(
            _distance(first[g], mask[g]) <= self.settings.eps for mask in later for g in first
        )

    def state_dict(self) -> dict[str, Tensor]:
        """The masks, by group and in the order of their steps."""
        return {
            f"{number}/{group}": torch.from_numpy(mask)
            for number, masks in enumerate(self.masks)
            for group, mask in masks.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the masks of a training that was killed."""
        count = len({name.partition("/")[0] for name in state})
        self.masks = [
            {group: state[f"{number}/{group}"].numpy() for group in ("heads", "neurons")} for number in range(count)
        ]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1.0 - hamming(np.packbits(a), np.packbits(b), a.size)


def keep_above(values: np.ndarray, share: float) -> np.ndarray:
    """A bool mask that drops the smallest `share` of the values; of equal values the first are dropped first, so that ties are stable.

    >>> keep_above(np.array([3.0, 1.0, 2.0, 1.0]), 0.5)
    array([ True, False,  True, False])
    """
    mask = np.ones(values.size, dtype=bool)
    mask[np.argsort(values, kind="stable")[: round(share * values.size)]] = False
    return mask
