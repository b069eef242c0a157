"""Text embeddings: the mean of a task's texts, read by a frozen encoder; labels are not read.

    v_x = sum_i m_i h_i / sum_i m_i         h the last layer's tokens [t, d], m the attention mask ([CLS] and [SEP] count)
    e   = mean over examples of v_x         TextEmb: the base itself        [code: Vu et al. 2020]
    e   = mean over examples of v_x / |v_x|     SEmb: a sentence encoder        [code: Poth et al. 2021]

The sentence encoder is all-MiniLM-L6-v2, which the base "minilm" carries; mask-weighted mean and unit norm are its own configuration's.
A pair is one input, [CLS] a [SEP] b [SEP], to the base. The sentence encoder was trained on single texts, so there a pair is its two texts joined by a space
[ours]. On the base "minilm" the two forms therefore differ by the unit norm alone, and by how pairs are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from tasksel.bounds import Count, Tokens
from tasksel.embeddings.base import Embedder, TaskEmbedding, TaskInput, must_match
from tasksel.embeddings.similarity import cosine
from tasksel.errors import unknown
from tasksel.model.base import Base, load_base
from tasksel.model.encoding import encode, say_cut
from tasksel.processes import accelerator
from tasksel.tasks.examples import Split
from tasksel.tasks.load import stratified
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task

BATCH = 64  # texts per pass; it bounds memory and changes nothing else


@dataclass(frozen=True)
class Text(Embedder):
    """Embeds a task as the mean of its training texts' embeddings.

    Use it as the cheapest selector that reads the texts: one forward pass over some hundred rows, no training, no adapters.

    Attributes:
        encoder: "base", the base model (TextEmb), or "sentence", the packaged sentence encoder whatever the base (SEmb).
        rows: training rows read, a seeded stratified draw where there are more. max_length: tokens per text.
    """

    name: ClassVar[str] = "text"
    encoder: Literal["base", "sentence"] = "base"
    rows: Count = 500
    max_length: Tokens = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder not in ("base", "sentence"):
            raise unknown("encoder of 'text'", self.encoder, ("base", "sentence"))

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Array `vector` [d] float32; deterministic by seed, which draws the rows. Every choice of a multiple choice row is a text."""
        train, name = task_input.data.train, task_input.task.name
        if len(train) > self.rows:
            train = train.take(stratified(train.labels, self.rows, seed=task_input.seed))
        texts = inputs_of(train)
        if self.encoder == "sentence":
            joined: list[tuple[str, ...]] = [(" ".join(parts),) for parts in texts]
            vectors = text_vectors(joined, load_base("minilm"), max_length=self.max_length, name=name)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        else:
            vectors = text_vectors(texts, task_input.base, max_length=self.max_length, name=name)
        return {"vector": vectors.mean(0).astype(np.float32)}

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses texts that are too long for the encoder: the base, or the sentence encoder, which reads a generation task's prompts and writes nothing."""
        if self.encoder == "sentence":
            base, tasks = load_base("minilm"), [task for task in tasks if task.kind != GENERATION]
        super().check_base(base, tasks)

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The cosine of the two means [code].

        Raises:
            UserError: embeddings of different bases or settings.
        """
        must_match(a, b)
        return cosine(a.arrays["vector"], b.arrays["vector"])


def inputs_of(split: Split) -> Sequence[tuple[str, ...]]:
    """The encoder's inputs: each row's text or pair; with choices, the joined texts paired with each choice in turn.

    >>> inputs_of(Split([("A man cooks.",)], [("He eats.", "He flies.")], np.zeros(1)))
    [('A man cooks.', 'He eats.'), ('A man cooks.', 'He flies.')]
    """
    if split.choices is None:
        return split.texts
    return [
        (" ".join(texts), choice)
        for texts, choices in zip(split.texts, split.choices, strict=True)
        for choice in choices
    ]


@torch.no_grad()
def text_vectors(texts: Sequence[tuple[str, ...]], base: Base, *, max_length: int, name: str = "texts") -> np.ndarray:
    """The mask-weighted mean of the last layer's tokens for each text or pair, in order: float64 [texts, d]."""
    device = accelerator().device
    model = base.model().float().to(device)  # without a head it gives the encoder's own output
    encoded = encode(Split(texts, None, np.zeros(len(texts))), base.tokenizer, max_length=max_length)
    say_cut(encoded, name, max_length)
    order = sorted(range(len(texts)), key=lambda row: encoded.lengths[row])  # similar lengths together: less padding
    vectors: list[np.ndarray] = []
    for start in range(0, len(order), BATCH):
        batch = encoded.batch(order[start : start + BATCH])
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
        with torch.autocast(device.type, enabled=False):
            hidden = model(**inputs).last_hidden_state.double()
        mask = inputs["attention_mask"].unsqueeze(-1).double()
        vectors.append(((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())
    return np.concatenate(vectors)[np.argsort(order)]
