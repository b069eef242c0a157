"""Embedding space maps: how a source's training moves the base's embeddings, as one linear map (ESM, Schulte et al., EMNLP 2024, arXiv 2410.15148).

    x [n, d]  the base's embeddings of the source's own training rows      t [n, d]  the trained model's
    M, b = argmin |x M + b - t|^2 + lambda |M - I|^2                       lambda = ridge * |x - mean x|^2 / d
    score = LogME(x' M + b, y')                                            x' [n', d], y'  the target's

A map is computed once per source and stored beside it; a target then costs one forward pass of the base for all sources together.

From the authors' code: one linear layer with a bias, fitted by mean squared error on the training rows of the source; the first token of RoBERTa and
DistilBERT, the mean over tokens of sentence encoders (and the pooler's output of BERT, which no adapter trains: not offered); LogME with no intercept.
Ours: the closed form, where the code takes 10 epochs of AdamW (lr 1e-3, batch 32); the penalty on the distance from the identity, so that what
the source's rows do not show stays as the base has it, where the code starts at random and decays to 0; its strength. Measured (6-layer MiniLM, mnli's
adapter, 700 rows, first token), squared error over variance on unseen rows of mnli, banking77, sst2: no map 0.46 0.32 0.30; ridge 0.01 0.47 0.51 0.46;
1 0.31 0.28 0.25; 10 0.32 0.27 0.25.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import numpy as np

from tasksel.bounds import Count, Positive, Tokens, check_fields
from tasksel.display.progress import bar
from tasksel.embeddings.base import Embedder, Needs, TaskEmbedding, TaskInput, must_match
from tasksel.errors import UserError, unknown
from tasksel.model.encoding import Encoded, encode_split, say_cut
from tasksel.model.pooling import Pooling
from tasksel.selection.base import NO_TASK, SelectionCost, Selector
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.source_features import all_finite, labels_of, need_labels, one_text, training_rows
from tasksel.selection.transferability import logme
from tasksel.training.features import pooled


@dataclass(frozen=True)
class Esm(Embedder, Selector):
    """Ranks sources by LogME of a target's base embeddings, each source's map applied. Needs adapters of the sources only.

    Use it for many sources: a target costs one forward pass in all, where `FeatureSelector` costs one per source. It is a selector, and the
    embedder of its sources: a source's map is a `TaskEmbedding` (arrays `weight` [d, d], `bias` [d]; 2.4 MB at d = 768), with its seconds.

    Attributes:
        pool: a text's embedding: its first token's (on a decoder its last token's), its last token's, or the mean over its tokens.
        ridge: strength of the penalty, in units of the embeddings' mean variance times the rows.
        rows: at most so many of a task's training rows, a stratified draw by its seed.
        max_length: tokens per text.
    """

    name: ClassVar[str] = "esm"
    needs: ClassVar[Needs] = "adapter"  # of the sources; the target needs none
    pool: Pooling = "first"
    ridge: Positive = 1.0
    rows: Count | None = None
    max_length: Tokens = 64

    def __post_init__(self) -> None:
        check_fields(self.name, self)
        if self.pool not in get_args(Pooling):
            raise unknown("pool", self.pool, get_args(Pooling))

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """A source's map, from its training rows; each choice of a multiple choice row is a row.

        Raises:
            UserError: an adapter with NaN.
        """
        split = training_rows(task_input.data, rows=self.rows, seed=task_input.seed)
        rows = encode_split(split, task_input.task, task_input.base.tokenizer, max_length=self.max_length)
        say_cut(rows, task_input.task.name, self.max_length)
        encoded = _sequences(rows)
        model = task_input.trained.model(task_input.base, head=False)
        pooling = model.readable(self.pool)
        tuned, _ = pooled(model, encoded, pooling=pooling)
        model.set_active_adapters(None)  # the base again, without loading it twice
        plain, _ = pooled(model, encoded, pooling=pooling)
        all_finite(tuned, of=f"the adapter of '{task_input.task.name}'")
        weight, bias = fit_map(plain, tuned, ridge=self.ridge)
        task_input.record(rows=len(encoded))
        return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}

    def observe(self, target: TaskOnBase) -> TaskEmbedding:
        """A target as every map sees it: arrays `features` [n, d] of the base, `labels` [n] or [n, c]; one pass of the base.

        Raises:
            UserError: a multiple choice or generation target.
        """
        need_labels(target, "esm")
        one_text(target, "esm")
        self.check_base(target.base, [target.task])
        start = time.perf_counter()
        split = training_rows(target.data, rows=self.rows, seed=target.seed)
        encoded = encode_split(split, target.task, target.base.tokenizer, max_length=self.max_length)
        say_cut(encoded, target.name, self.max_length)
        model = target.base.model()
        features, _ = pooled(model, encoded, pooling=model.readable(self.pool))
        labels, _ = labels_of(target.task, split)
        task_input = TaskInput(target.task, target.data, target.base, target.seed)
        task_input.record(rows=len(encoded))
        return self._embedding(
            {"features": features, "labels": labels}, task_input, seconds=time.perf_counter() - start
        )

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """LogME of the target's rows `b` (from `observe`) under a source's map `a`.

        Raises:
            UserError: different bases or settings; labels that LogME cannot use (with both names).
        """
        must_match(
            replace(a, arrays={}), replace(b, arrays={})
        )  # a map and rows share their provenance, not their arrays
        features, labels = b.arrays["features"].astype(np.float64), b.arrays["labels"]
        mapped = features @ a.arrays["weight"] + a.arrays["bias"]
        try:
            return logme(mapped, labels, regression=labels.dtype.kind == "f")
        except UserError as error:
            raise UserError(f"esm of source '{a.provenance['task']}' for '{b.provenance['task']}': {error}") from error

    def lacks(self, source: TaskOnBase) -> str | None:
        """The rows that its map is computed from."""
        return NO_TASK if source.candidate.task is None else None

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The score of each source; its map is read where it is stored, and computed (and stored) otherwise.

        Raises:
            UserError: see `arrays`, `observe` and `similarity`.
        """
        observed, scores = self.observe(target), []
        with bar("map sources", len(sources)) as advance:
            for source in sources:
                scores.append(self.similarity(source.embedding(self), observed))
                advance(source.name)
        return scores

    def prepare(self, sources: Sequence[TaskOnBase]) -> None:
        """Computes the sources' maps: they are not the target's cost, whenever they are computed."""
        for source in sources:
            source.embedding(self)

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """The seconds of the target's one pass; a source costs, and keeps, its map."""
        maps = [source.embedding(self) for source in sources]
        per_source = sum(one.provenance["seconds"] for one in maps) / len(maps)
        return SelectionCost(seconds, per_source, round(sum(one.nbytes for one in maps) / len(maps)))


def _sequences(encoded: Encoded) -> Encoded:
    """Every sequence as its own row; labels do not matter here."""
    if encoded.width == 1:
        return encoded
    ids = [[sequence] for row in encoded.ids for sequence in row]
    types = None if encoded.types is None else [[sequence] for row in encoded.types for sequence in row]
    return Encoded(ids, types, np.zeros(len(ids), dtype=np.int64), encoded.pad_id, 1)


def fit_map(x: np.ndarray, t: np.ndarray, *, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The linear map M, b with x M + b ~ t, held near the identity where x says little.

        M = I + (X^T X + lambda I)^-1 X^T R      X = x - mean x,  R = (t - x) - mean(t - x),  lambda = ridge * tr(X^T X) / d
        b = mean t - mean x M

    Args:
        x: [n, d]. t: [n, d].

    Returns:
        M [d, d], b [d], float64

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> weight, bias = fit_map(x, 2 * x + 1, ridge=1e-6)
    >>> np.allclose(weight, 2 * np.eye(3), atol=1e-4), np.allclose(bias, 1, atol=1e-4)
    (True, True)
    """
    x, t = x.astype(np.float64), t.astype(np.float64)
    d = x.shape[1]
    centred, change = x - x.mean(0), (t - x) - (t - x).mean(0)
    gram = centred.T @ centred
    strength = ridge * np.trace(gram) / d or 1.0  # equal rows say nothing: M = I
    weight = np.eye(d) + np.linalg.solve(gram + strength * np.eye(d), centred.T @ change)
    return weight, t.mean(0) - x.mean(0) @ weight
