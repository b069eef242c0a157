"""Layer conductance: which hidden units carry a task's decision (Dhamdhere et al., arXiv 1805.12233; methods: feature attributions).

    x(k)  = x' + k/S (x - x')                           k = 0 … S, from the baseline to the input
    C_j^l = sum_k (h_j(k+1) - h_j(k)) * (g_j(k+1) + g_j(k)) / 2        h = layer l's output at x(k), g = d logit / d h
    a^l   = mean over examples of the mean over an example's real tokens of C^l        (unsigned: of |C^l|)

    x     word embeddings [b, t, d]     x' the same with [CLS] and [SEP] (of a decoder <s>) kept and every other token's replaced by PAD's
    l     transformer layers, j hidden units [L, d]     logit the gold label's; all that are gold where several are; a regression's one

Completeness: over all units and tokens, a layer's conductances add up to logit(x) - logit(x').
Differs from captum's `LayerConductance`, to which it converges: all layers share one pass (captum runs the model once per layer), gradients are averaged over
a step's two ends (captum takes the first), and memory does not grow with S.
The paper that compares tasks by it (Pugantsov & McCreadie, arXiv 2202.01096) leaves layers, aggregation and similarity open: all of that is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tasksel.bounds import Count, Tokens
from tasksel.embeddings.base import Embedder, Inputs, Needs, TaskEmbedding, TaskInput, must_match
from tasksel.embeddings.similarity import cosine
from tasksel.errors import UserError, unknown
from tasksel.model.decoders import is_decoder
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.language_head import CAUSAL_LM
from tasksel.model.slot import layers_of
from tasksel.processes import accelerator
from tasksel.tasks.load import stratified
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.predict import logits_of

LAYER = r"\.layer\.\d+$"  # BERT, RoBERTa, XLM-R, DeBERTa, ELECTRA, DistilBERT
BATCH = 16  # rows per pass; it bounds memory and changes nothing else

Choose = Callable[
    [Tensor, Tensor], Tensor
]  # logits [b, outputs], labels -> weights [b, outputs] of the logits explained


@dataclass(frozen=True)
class Conductance(Embedder):
    """Embeds a task as the mean conductance of every hidden unit of its trained model.

    Attributes:
        signed: compare signed means; False compares those of absolute values. One embedding holds both.
        rows: training rows explained, a seeded stratified draw where there are more.
        steps: integration steps S; 16 leave a layer's sum within 4 % of the logit's change (6-layer MiniLM with an adapter, 8 rows), 32 within 1 %.
        max_length: tokens per text.
        inputs: "own" explains each model on its own task's rows. "target" explains every model on the target's: `embed` of a source is
            given the target's task and data. The target's labels are not a source's classes, so there each model's own prediction, its largest logit
            at the input, is explained [ours].
    """

    name: ClassVar[str] = "conductance"
    needs: ClassVar[Needs] = "adapter"
    needs_head: ClassVar[bool] = True
    similarity_settings: ClassVar[tuple[str, ...]] = ("signed",)
    signed: bool = True
    rows: Count = 64
    steps: Count = 16
    max_length: Tokens = 64
    inputs: Inputs = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inputs not in get_args(Inputs):
            raise unknown("inputs of 'conductance'", self.inputs, get_args(Inputs))

    @property
    def form(self) -> str:
        """The array that is compared."""
        return "signed" if self.signed else "absolute"

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Arrays `signed` and `absolute` [L, d] float32; deterministic by seed, which draws the rows.

        Raises:
            UserError: a multiple choice task or head, a head that does not fit the task, an unknown architecture.
        """
        task, train, tokenizer = task_input.task, task_input.data.train, task_input.base.tokenizer
        model = task_input.trained.model(task_input.base).float().to(accelerator().device)
        self._check(task, model)
        if len(train) > self.rows:
            train = train.take(stratified(train.labels, self.rows, seed=task_input.seed))
        encoded = encode_split(train, task, tokenizer, max_length=self.max_length)
        say_cut(encoded, task.name, self.max_length)
        choose = predicted if self.inputs == "target" else gold
        order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
        totals = np.zeros((2, 1, 1))
        for i in range(0, len(order), BATCH):
            batch = encoded.batch(order[i : i + BATCH])
            units = layer_conductance(model, batch, tokenizer, steps=self.steps, choose=choose)
            totals = totals + np.stack([token_mean(part, batch["attention_mask"]) for part in (units, units.abs())])
        signed, absolute = (totals / len(order)).astype(np.float32)
        return {"signed": signed, "absolute": absolute}

    def _check(self, task: Task, model: Any) -> None:
        """Refuses a task or head without one text per row, and a head of another task."""
        head = model.heads[model.active_head].config
        if task.kind == GENERATION or head["head_type"] == CAUSAL_LM:
            raise UserError(
                f"conductance: '{task.name}' or its adapter is generation, which decides token by token; rank it by a selector that needs data or weights only"
            )
        if "multiple_choice" in (task.kind, head["head_type"]):
            raise UserError(
                f"conductance: '{task.name}' or its adapter is multiple choice, where one decision rests on several texts; rank it by a selector that needs data or weights only"
            )
        if self.inputs == "own" and head["num_labels"] != task.outputs:
            raise UserError(
                f"conductance: the adapter's head has {head['num_labels']} outputs, task '{task.name}' {task.outputs}; give the adapter that was trained on this task"
            )

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The cosine of the stacked layers [L * d] [ours]; 0 where one of them is all zero.

        Raises:
            UserError: embeddings of different bases or settings, or, where both are embedded from the target's rows, of different rows.
        """
        must_match(a, b)
        if self.inputs == "target" and a.provenance["data"] != b.provenance["data"]:
            raise UserError(
                f"conductance: one embedding is of rows of '{a.provenance['task']}', the other of rows of '{b.provenance['task']}'; with inputs='target' embed both from the target's"
            )
        return cosine(a.arrays[self.form], b.arrays[self.form])


def gold(logits: Tensor, labels: Tensor) -> Tensor:
    """Weight 1 on the gold label's logit, on every gold one where a row has several, on the only one of a regression.

    >>> gold(torch.zeros(2, 3), torch.tensor([0, 2])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if logits.shape[1] == 1:
        return torch.ones_like(logits)
    return labels.to(logits) if labels.dim() == 2 else nn.functional.one_hot(labels, logits.shape[1]).to(logits)


def predicted(logits: Tensor, labels: Tensor) -> Tensor:
    """Weight 1 on the largest logit.

    >>> predicted(torch.tensor([[0.1, 0.9]]), torch.tensor([0])).tolist()
    [[0.0, 1.0]]
    """
    return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def layer_conductance(
    model: Any, batch: dict[str, Tensor], tokenizer: Any, *, steps: int, choose: Choose = gold
) -> Tensor:
    """The conductance of every hidden unit of every layer at every token, padding too: [L, b, t, d].

    Args:
        batch: of `Encoded.batch`, one sequence per row. steps: of the integral, S. choose: which logits are explained, fixed at the input.

    Raises:
        UserError: an architecture whose layers are not known.
    """
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    words = model.get_input_embeddings()
    with torch.no_grad():
        ends = words(baseline_ids(batch["input_ids"], tokenizer)), words(batch["input_ids"])
        weights = choose(logits_of(model, batch), batch["labels"])
    before: tuple[Tensor, Tensor] | None = None
    total = torch.zeros((), device=device)
    for k in range(steps + 1):
        now = _outputs_and_gradients(model, batch, torch.lerp(*ends, k / steps), weights)
        if before is not None:
            total = total + (now[0] - before[0]) * (now[1] + before[1]) / 2
        before = now
    return total


def baseline_ids(ids: Tensor, tokenizer: Any) -> Tensor:
    """The ids with all but [CLS], [SEP] and a decoder's <s> replaced by PAD.

    [UNK] stands for a word, so not every special token is kept.
    """
    special = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id)
    kept = torch.tensor([i for i in special if i is not None])
    return torch.where(torch.isin(ids, kept.to(ids.device)), ids, tokenizer.pad_token_id)


def token_mean(conductances: Tensor, mask: Tensor) -> np.ndarray:
    """Each example's mean over its real tokens, summed over examples: [L, b, t, d], [b, t] -> float64 [L, d]."""
    shares = (mask / mask.sum(1, keepdim=True)).double().to(conductances.device)
    return torch.einsum("lbtd,bt->ld", conductances.double(), shares).cpu().numpy()


def _outputs_and_gradients(
    model: Any, batch: dict[str, Tensor], words: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Every layer's output, and the gradient there of the chosen logits, of a forward pass from word embeddings: two [L, b, t, d]."""
    with torch.enable_grad(), torch.autocast(words.device.type, enabled=False), _from_words(model, words) as outputs:
        explained = (logits_of(model, batch) * weights).sum()
        gradients = torch.autograd.grad(explained, outputs)
    return torch.stack(outputs).detach(), torch.stack(gradients)


@contextmanager
def _from_words(model: Any, words: Tensor) -> Iterator[list[Tensor]]:
    """Runs the model from these word embeddings, whatever its token ids, and lists each layer's output as it passes.

    A hook and not `inputs_embeds`, with which some architectures number the positions of padding differently.
    """
    if is_decoder(model.config):
        layers = [layer for _, layer in layers_of(model.base_model)]
    else:
        layers = [module for name, module in model.named_modules() if re.search(LAYER, name)]
    if len(layers) != model.config.num_hidden_layers:
        raise UserError(
            f"conductance: the layers of a '{model.config.model_type}' are not known; known: BERT, RoBERTa, XLM-R, DeBERTa, ELECTRA, DistilBERT, and decoders"
        )
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        embedded = words.detach().requires_grad_()
        hooks.callback(model.get_input_embeddings().register_forward_hook(lambda *_: embedded).remove)
        for layer in layers:
            hooks.callback(layer.register_forward_hook(keep).remove)
        yield outputs
