"""Soft prompts: tokens with free embeddings, trained on the task before a frozen base, compared token by token (Lin et al., ACL SRW 2024).

    input   [first token, p_1 ... p_m, rest of the text]      p [m, d] trained, the base frozen, a head trained beside it
    e       = p

    m prompt tokens   d width of the base's word embeddings

The prompt replaces m placeholder tokens, so it passes positions and normalisation as words do, and padding is masked as usual. The `adapters`
library's own prompt tuning (1.3) is not used: there the prompt attends to padding in BERT, RoBERTa, DistilBERT, DeBERTa and ALBERT, so that a row's logits
depend on the other rows of its batch.

Every task's prompt starts from the SAME tokens of the base's vocabulary, whatever the seed (which decides batches, dropout and the head's start): ours.
Prompts that start apart stay apart, and all similarities but those of means would compare their initialisations. Tokens of the vocabulary as a start are Lester et al.'s (EMNLP 2021).
Ours too: 20 tokens (Lin: 100, but each lengthens every sequence), AdamW, its lr and number of steps, and the head (Lin's T5 needs none).

Prompts learn slowly. On the packaged MiniLM, 4 built-in tasks, two seeds, 10 tokens and 80 steps of 8 rows, a task's other prompt was nearest by MAX for 3
of 4 tasks at lr 0.1 and for none at 0.03 (other similarities: at most 2 of 4): too little to trust. How the defaults rank sources: docs/results/matrix/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tasksel.bounds import Count, Positive, Tokens
from tasksel.embeddings.base import TaskInput
from tasksel.embeddings.token_embedder import TokenEmbedder
from tasksel.embeddings.token_similarity import Index
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.compatibility import most_tokens
from tasksel.model.encoding import Encoded, encode_split, say_cut
from tasksel.model.heads import add_head
from tasksel.model.names import module_name
from tasksel.model.token_rows import Rows, TokenRows
from tasksel.tasks.task import Task
from tasksel.training.loop import fit
from tasksel.training.recipe import Recipe
from tasksel.training.run import FitOptions

INIT_SEED = 0  # draws the common initialisation of every prompt; any number does, as long as it is the same


@dataclass(frozen=True)
class SoftPrompt(TokenEmbedder):
    """Embeds a task as a soft prompt trained on it.

    Use it for tasks without a trained adapter, where some hundred steps per task are affordable.

    Attributes:
        tokens: of the prompt.
        lr: of the prompt. head_lr: of the new head.
        max_steps: steps of training. batch, max_length: rows per step, tokens per text, the prompt's not counted.
        similarity_by: how two prompts are compared, a name of `tasksel.embeddings.token_similarity.TOKEN_SIMILARITIES`.
        index: what computes MAX over a pool, one product ("exact") or "faiss"; both are exact.
    """

    name: ClassVar[str] = "prompt"
    tokens: Count = 20
    lr: Positive = 1e-1
    head_lr: Positive = 1e-3
    max_steps: Count = 100
    batch: Count = 32
    max_length: Tokens = 64
    similarity_by: str = "feature"
    index: Index = "exact"

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Array `tokens` [tokens, d], float32. Deterministic by seed.

        Raises:
            UserError: a base that has too few positions.
        """
        task, base = task_input.task, task_input.base
        torch.manual_seed(task_input.seed)
        model = base.model()
        add_head(model, task, name=module_name(task.name))
        prompt = add_prompt(model, self.tokens)
        encoded = encode_split(task_input.data.train, task, base.tokenizer, max_length=self.max_length)
        say_cut(encoded, task.name, self.max_length)
        train = with_placeholders(encoded, self.tokens)
        recipe = Recipe(
            lr=self.lr,
            epochs=self.max_steps,
            max_steps=self.max_steps,
            batch=self.batch,
            max_length=self.max_length,
        )
        groups = [
            {"params": [prompt], "lr": self.lr},
            {"params": list(model.heads.parameters()), "lr": self.head_lr},
        ]
        options: FitOptions = {
            "label": f"prompt of {task.name}",
            "groups": groups,
            "checkpoints": task_input.checkpoints,
        }
        result = fit(model, task, train, None, recipe, seed=task_input.seed, **options)
        task_input.record(steps=result.steps)
        return {"tokens": prompt.detach().float().cpu().numpy()}

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses a base without positions for the prompt and texts of `max_length`."""
        super().check_base(base, tasks)
        positions = most_tokens(base.config)
        if positions and self.max_length + self.tokens > positions:
            raise UserError(
                f"prompt: {self.tokens} tokens before texts of {self.max_length} do not fit the {positions} positions of '{base.name}'; lower max_length or tokens"
            )


def with_placeholders(encoded: Encoded, tokens: int) -> Encoded:
    """Each sequence with `tokens` copies of its first token behind it, which the prompt replaces: never padding, for which RoBERTa has no position."""

    def widen(rows: Rows) -> Rows:
        if isinstance(rows, TokenRows):
            return rows.first_repeated(tokens)
        return [[sequence[:1] * (1 + tokens) + sequence[1:] for sequence in row] for row in rows]

    return replace(encoded, ids=widen(encoded.ids), types=encoded.types and widen(encoded.types))


def add_prompt(model: Any, tokens: int) -> nn.Parameter:
    """A trainable prompt [tokens, d] that replaces the tokens behind the first one of every sequence; see `with_placeholders`.

    It is a parameter of the model, so that it moves and synchronises with it.
    """
    embeddings = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(INIT_SEED)
    words = torch.randint(len(embeddings.weight), (tokens,), generator=generator)
    prompt = nn.Parameter(embeddings.weight[words].detach().clone())
    embeddings.register_parameter("prompt", prompt)

    def replace_tokens(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        rows = prompt.to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([output[:, :1], rows, output[:, 1 + tokens :]], dim=1)

    embeddings.register_forward_hook(replace_tokens)
    return prompt
