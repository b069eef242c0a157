"""Fisher information of a trained adapter: which of its parameters the task's loss is sensitive to (TaskEmb, Vu et al., EMNLP 2020).

    parameter       F = 1/N sum_n  g_n^2                      g_n = d loss_n / d parameter
    layer output    F = 1/N sum_n  (sum_t h_nt)^2 / T_n       h_nt = d loss_n / d output of the layer at token t
    cls             F = 1/N sum_n  h_n1^2 / T_n               of the last layer, whose first token is what the head reads (of a decoder its last,
                                                              of a generation the answer's)
    per="example"   n one row, N rows: the diagonal of the true empirical Fisher (gold labels)
    per="batch"     n one batch with its mean loss, N still the number of ROWS: the authors' code, where the batch size changes the result

    T_n  tokens of row (or batch) n that are not padding

With batches of one row both are the same. The scores' sums over tokens, divisions and components are the authors' code's; it covers the whole BERT where this covers
the adapter's linear layers, weights and biases. Differs from it, all ours: the adapter alone; no attention outputs; no head, whose size is the task's own; up
to `rows` rows, drawn by seed in proportion to the labels. Gradients of single rows are exact and need one backward pass per batch: a linear layer's are
sum_t g_t a_t^T of its input a and its output's gradient g.

Similarity: the cosine of each component. A pool's sources are ranked component by component and the ranks fused, sum of 1 / (60 + rank) [code]; equal
cosines share their mean rank (ours). Of two embeddings alone, the mean cosine (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.bounds import Count, Tokens
from tasksel.embeddings.alike import check_alike
from tasksel.embeddings.base import Embedder, Needs, TaskEmbedding, TaskInput, must_match
from tasksel.embeddings.similarity import cosine, reciprocal_rank_fusion
from tasksel.errors import UserError, unknown
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.heads import loss_sum
from tasksel.model.pooling import last_token
from tasksel.model.slot import layers_of
from tasksel.processes import accelerator
from tasksel.tasks.load import stratified
from tasksel.tasks.task import Task
from tasksel.training.predict import logits_of

Per = Literal["example", "batch"]


@dataclass(frozen=True)
class Fisher(Embedder):
    """Embeds a task as the diagonal Fisher information of its trained adapter, and of the layers' outputs.

    Use it where every task has a trained adapter of one form: a backward pass over some rows per task.

    Attributes:
        per: whose gradients are squared, each row's or each batch's.
        rows: training rows at most; None takes all.
        batch, max_length: rows per pass, tokens per text.
    """

    name: ClassVar[str] = "fisher"
    needs: ClassVar[Needs] = "adapter"
    needs_head: ClassVar[bool] = True
    per: Per = "example"
    rows: Count | None = 128
    batch: Count = 32  # the authors' code
    max_length: Tokens = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per not in get_args(Per):
            raise unknown("Fisher per", self.per, get_args(Per))

    def check_adapters(self, adapters: Mapping[str, AdapterCheckpoint]) -> None:
        """Refuses LoRAs that differ in targets or ranks.

        Raises:
            UserError: the first two that do.
        """
        check_alike(self.name, adapters, ranks=True)

    def key_settings(self) -> dict[str, Any]:
        """See `Embedder.key_settings`; the batch size changes nothing where rows are squared one by one."""
        return {name: value for name, value in asdict(self).items() if name != "batch" or self.per == "batch"}

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Arrays by component, float32: each linear layer's weight [out, in] and bias [out], `layer.N.output` [d], `cls` [d].

        Raises:
            UserError: an adapter without a head or without linear layers.
        """
        task, labels = task_input.task, task_input.data.train.labels
        model = task_input.trained.model(task_input.base).to(accelerator().device)
        recorder = _GradientRecorder(model, task_input.trained)
        train = encode_split(task_input.data.train, task, task_input.base.tokenizer, max_length=self.max_length)
        say_cut(train, task.name, self.max_length)
        order = stratified(labels, min(self.rows or len(train), len(train)), seed=task_input.seed)
        sums: dict[str, Tensor] = {}
        for start in range(0, len(order), self.batch):
            batch = train.batch(order[start : start + self.batch])
            for name, squared in self._squares(model, task, batch, recorder).items():
                sums[name] = sums[name] + squared if name in sums else squared
        task_input.record(rows=len(order))
        return {name: (total / len(order)).cpu().numpy() for name, total in sums.items()}

    def _squares(
        self, model: Any, task: Task, batch: dict[str, Tensor], recorder: _GradientRecorder
    ) -> dict[str, Tensor]:
        """Squared gradients by component, summed over a batch's rows; those of its mean loss where batches are squared."""
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        mask, choices = batch["attention_mask"], batch.get("choice_mask")
        rows = len(mask) if choices is None else len(choices)
        if choices is not None:
            mask = mask * choices.view(-1, 1)
        loss = loss_sum(task.kind, logits_of(model, batch), batch["labels"])
        parameters, hidden = recorder.gradients(loss, rows)
        outputs = {
            f"layer.{n}.output": h.reshape(rows, -1, h.shape[-1]).sum(1) for n, h in enumerate(hidden)
        }  # padding is masked in attention: its gradient is 0
        read = _read_by_head(hidden[-1], batch, model.heads[model.active_head].reads)
        outputs["cls"] = read.reshape(rows, -1, read.shape[-1]).sum(1)
        tokens = mask.reshape(rows, -1).sum(1, keepdim=True)
        if self.per == "batch":
            parameters, outputs = (
                {name: g.mean(0, keepdim=True) for name, g in part.items()} for part in (parameters, outputs)
            )
            tokens = tokens.sum(0, keepdim=True)
        return {name: g.square().sum(0) for name, g in parameters.items()} | {
            name: (g.square() / tokens).sum(0) for name, g in outputs.items()
        }

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The mean cosine over components.

        Raises:
            UserError: embeddings of different bases, settings or adapters' widths.
        """
        return float(np.mean(_cosines(a, b)))

    def similarities(self, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
        """The reciprocal-rank fusion of the components' cosines: one score per source.

        Raises:
            UserError: as `similarity`.
        """
        if not sources:
            return []
        cosines = np.array([_cosines(source, target) for source in sources])  # [sources, components]
        return reciprocal_rank_fusion(cosines.T)


def _read_by_head(gradients: Tensor, batch: dict[str, Tensor], reads: str) -> Tensor:
    """The gradients [sequences, d] at the token that the head reads, of [sequences, tokens, d]; of an answer's tokens their sum."""
    if "answer_mask" in batch:
        return (gradients * batch["answer_mask"][..., None]).sum(1)
    return last_token(gradients, batch["attention_mask"]) if reads == "last" else gradients[:, 0]


class _GradientRecorder:
    """Records inputs and outputs of an adapter's linear layers and outputs of the encoder's layers, from which single rows' gradients are computed."""

    def __init__(self, model: Any, trained: AdapterCheckpoint) -> None:
        inside = f".adapters.{trained.adapter}."
        linear = {name: part for name, part in model.named_modules() if inside in name and isinstance(part, nn.Linear) and ".pooler." not in name}  # fmt: skip
        if not linear:
            raise UserError(
                f"{trained.folder} has no linear layers: fisher works with bottleneck adapters (seq_bn and the like) and LoRAs"
            )
        self.linear_calls: list[tuple[str, Tensor, Tensor]] = []  # name, input, output
        self._biased = {name.replace(inside, ".") for name, part in linear.items() if part.bias is not None}
        self.layer_outputs: list[Tensor] = []
        for name, part in linear.items():
            part.register_forward_hook(self._keep_linear(name.replace(inside, ".")))
        for _, layer in layers_of(model.base_model):
            layer.register_forward_hook(self._keep_layer)
        model.enable_input_require_grads()  # every parameter is frozen: autograd must start somewhere

    def _keep_linear(self, name: str) -> Callable[..., None]:
        return lambda module, inputs, output: self.linear_calls.append((name, inputs[0].detach(), output))

    def _keep_layer(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.layer_outputs.append(output[0] if isinstance(output, tuple) else output)

    def gradients(self, loss: Tensor, rows: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Gradients of the forward pass since the last call; a row has one sequence, or one per choice.

        Returns:
            By name, each row's gradients of weights [rows, out, in] and biases [rows, out]; those of the layers' outputs [sequences, tokens, d].
        """
        calls, layers = self.linear_calls, self.layer_outputs
        self.linear_calls, self.layer_outputs = [], []
        gradients = torch.autograd.grad(loss, [*(output for _, _, output in calls), *layers])
        parameters: dict[str, Tensor] = {}
        for (name, x, _), gradient in zip(calls, gradients[: len(calls)], strict=True):
            a, g = (tensor.reshape(rows, -1, tensor.shape[-1]) for tensor in (x, gradient))
            for part, value in (("weight", torch.einsum("bto,bti->boi", g, a)), ("bias", g.sum(1))):
                key = f"{name}.{part}"  # a layer that is called twice has the sum of both gradients
                if part == "weight" or name in self._biased:
                    parameters[key] = parameters[key] + value if key in parameters else value
        return parameters, list(gradients[len(calls) :])


def _cosines(a: TaskEmbedding, b: TaskEmbedding) -> list[float]:
    """The cosine of each component, in name order; 0 where one of the two is zero."""
    must_match(a, b)
    cosines = []
    for name in sorted(a.arrays):
        x, y = a.arrays[name], b.arrays[name]
        if x.shape != y.shape:
            raise UserError(
                f"the adapters of '{a.provenance['task']}' and '{b.provenance['task']}' differ in width ({name} is {list(x.shape)} and {list(y.shape)}): train both alike"
            )
        cosines.append(cosine(x, y))
    return cosines
