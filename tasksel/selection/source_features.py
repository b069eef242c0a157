"""Selectors that run each source's model on the target's rows and score how well its outputs explain the target's labels.

    features        [n, d]  the last hidden states of each row, pooled: its first token, or the mean over its tokens
    probabilities   [n, Z]  the source's own head over its own classes (`source_classes`)
    score           a measure of `tasksel.selection.transferability` on either, or the closed form's cross-validated score
                    (`tasksel.selection.closed_form_score`); one run of a source's model serves all six

n are the target's training rows, train and dev together. As in the code of Schulte et al. (EMNLP 2024): softmax of the source's logits, the largest one as its
label. Ours: the first token for every architecture (the code takes the pooler's output of a BERT, which no adapter trains), and what heads
without classes count as, which the code leaves out. Needs adapters of the sources only: of the target nothing is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from scipy.special import expit, softmax

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.bounds import Count, Tokens, check_fields
from tasksel.display.progress import bar
from tasksel.embeddings.base import Needs
from tasksel.errors import UserError, unknown
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.model.decoders import readable
from tasksel.model.encoding import Encoded, encode_split, say_cut
from tasksel.model.pooling import Pooling
from tasksel.processes import main_writes
from tasksel.selection.base import SelectionCost, Selector
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.closed_form_score import ClosedFormScore
from tasksel.selection.kept_features import SourceOutput, output_key, read_output, write_output
from tasksel.selection.transferability import knn, leep, linear_probe, logme, nce
from tasksel.storage.atomic import value_hash
from tasksel.storage.identity import LATER
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data, stratified
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.features import pooled

Measure = Literal["logme", "leep", "nce", "knn", "probe", "closed-form"]
PoolingChoice = Literal[
    "first", "mean", "last", "base"
]  # "base": as the base's own configuration says, else the first token
HEADS = ("classification", "multilabel_classification")  # heads that give each text its own logits
CACHED_PASSES, CACHED_ROWS = 64, 2000  # 64 x 2,000 x 768 numbers are 400 MB


@dataclass(frozen=True)
class FeatureSelector(Selector):
    """Ranks sources by how well what their models compute explains the target's labels.

    Attributes:
        measure: "logme", "knn", "probe" and "closed-form" of the features, "leep" and "nce" of the source's own class probabilities.
        rows: at most so many of the target's training rows, a stratified draw by its seed; None takes all.
        max_length: tokens per text.
        pooling: a row's features: its "first" or "last" token, the "mean" over its tokens, or what the "base" was trained with; on a decoder
            "first" is the last. A source's own head reads what it was trained on.

    Use it where the sources are trained and the target has labels: of the target nothing is trained. "closed-form" alone takes multiple choice.

    >>> FeatureSelector("logme", rows=200).needs, FeatureSelector("logme").target_needs
    ('adapter', 'data')
    """

    measure: Measure
    rows: Count | None = None
    max_length: Tokens = 64
    pooling: PoolingChoice = field(default="first", metadata={LATER: True})
    needs: ClassVar[Needs] = "adapter"  # of the sources; the target needs none

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise unknown("measure", self.measure, get_args(Measure))
        if self.pooling not in get_args(PoolingChoice):
            raise unknown("pooling", self.pooling, get_args(PoolingChoice))
        check_fields(self.measure, self)

    @property
    def name(self) -> str:
        """The measure."""
        return self.measure

    @property
    def key(self) -> str:
        """The measure and the settings; the pooling where it is not the first token, which version 0.1 knew alone."""
        pooled_by = [] if self.pooling == "first" else [self.pooling]
        return f"{self.measure}-{value_hash([self.rows, self.max_length, *pooled_by])[:8]}"

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The measure of each source, from one run of its model over the target's rows.

        Raises:
            UserError: a multiple choice target (but for "closed-form"), a regression target for "leep" and "nce", a source with NaN in its
                adapter, labels that the measure cannot use (named).
        """
        self._check(target)
        split, encoded = self._training_rows(target)
        say_cut(encoded, target.name, self.max_length)
        score, scores = self._scoring(target, split, encoded), []
        with bar(f"run sources on {target.name}", len(sources)) as advance:
            for source in sources:
                output = self._run(source, target, encoded)
                all_finite(output.features, output.probabilities, of=f"source '{source.name}' on '{target.name}'")
                try:
                    scores.append(score(output))
                except UserError as error:
                    raise UserError(f"{self.measure} of source '{source.name}' for '{target.name}': {error}") from error
                advance(source.name)
        return scores

    def run_seconds(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> float:
        """The seconds of the sources' runs on the target's rows, which all measures share."""
        _, encoded = self._training_rows(target)
        return sum(self._run(source, target, encoded).seconds for source in sources)

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """At least the seconds of the sources' forward passes, even if another measure has computed them; the sources' adapters are kept."""
        return super().cost(target, sources, max(seconds, self.run_seconds(target, sources)))

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses a base that cannot take `max_length` tokens."""
        check_length(base, tasks, self.max_length, setting=f"max_length of '{self.name}'")

    def _training_rows(self, target: TaskOnBase) -> tuple[Split, Encoded]:
        """The target's rows that are explained, and their token ids."""
        split = training_rows(target.data, rows=self.rows, seed=target.seed)
        return split, encode_split(split, target.task, target.base.tokenizer, max_length=self.max_length)

    def _run(self, source: TaskOnBase, target: TaskOnBase, encoded: Encoded) -> SourceOutput:
        """A source's output on the target's rows, kept beside the target's embeddings where it has a folder."""
        pooling, folders = pooling_on(target.base, self.pooling), target.kept_in("features")
        return run_source(
            source.trained, target.base, encoded, pooling=pooling, folder=folders[-1] if folders else None
        )

    def _scoring(self, target: TaskOnBase, split: Split, encoded: Encoded) -> Callable[[SourceOutput], float]:
        """The measure as a function of a source's output on the target's rows."""
        if self.measure == "closed-form":
            closed_form = ClosedFormScore.of(target.task, encoded, seed=target.seed)
            return lambda output: closed_form(output.features)
        labels, regression = labels_of(target.task, split)
        return lambda output: self._score(output, labels, regression, seed=target.seed)

    def _check(self, target: TaskOnBase) -> None:
        """Refuses a target that the measure cannot score."""
        if target.task.kind == "regression" and self.measure in ("leep", "nce"):
            raise UserError(
                f"{self.measure} compares classes, and target '{target.name}' is a regression: choose logme, knn or probe"
            )
        self.check_base(target.base, [target.task])
        need_labels(target, self.measure)
        if self.measure != "closed-form":
            one_text(target, self.measure)

    def _score(self, output: SourceOutput, labels: np.ndarray, regression: bool, *, seed: int) -> float:
        match self.measure:
            case "logme":
                return logme(output.features, labels, regression=regression)
            case "knn":
                return knn(output.features, labels, regression=regression)
            case "probe":
                return linear_probe(output.features, labels, seed=seed, regression=regression)
            case "leep":
                return leep(output.probabilities, labels)
            case "nce":
                return nce(output.classes, labels)
        raise ValueError(f"{self.measure} is no measure of labels and one output")  # closed-form: see `_scoring`


def need_labels(target: TaskOnBase, measure: str) -> None:
    """Refuses a target whose rows have texts for labels.

    Raises:
        UserError: a generation target.
    """
    if target.task.kind == GENERATION:
        raise UserError(
            f"{measure} explains labels, and target '{target.name}' is generation, whose rows have texts: choose a selector that "
            "compares the tasks' embeddings (connectivity, text, vocabulary, …)"
        )


def one_text(target: TaskOnBase, measure: str) -> None:
    """Refuses a target whose rows are several texts.

    Raises:
        UserError: a multiple choice target.
    """
    if target.task.kind == "multiple_choice":
        raise UserError(
            f"{measure} needs one text per row, and target '{target.name}' is multiple choice: choose a selector that "
            "compares the tasks' embeddings (connectivity, text, …)"
        )


def training_rows(data: Data, *, rows: int | None = None, seed: int = 0) -> Split:
    """Train and dev together, or `rows` of them by a stratified draw."""
    both = data.train.joined(data.dev)
    return both if rows is None or rows >= len(both) else both.take(stratified(both.labels, rows, seed=seed))


def labels_of(task: Task, split: Split) -> tuple[np.ndarray, bool]:
    """A split's labels as `tasksel.selection.transferability` takes them, [n] or multi-hot [n, c], and whether they are numbers."""
    labels = split.labels.astype(int) if task.kind == "multi_label" else split.labels
    return labels, task.kind == "regression"


def all_finite(*arrays: np.ndarray, of: str) -> None:
    """Refuses the outputs of a broken adapter.

    Raises:
        UserError: NaN or infinity in an array, with whose it is.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(f"{of} gives NaN or infinite numbers: its adapter is broken; train it again or leave it out")


def pooling_on(base: Base, choice: PoolingChoice) -> Pooling:
    """How features are pooled on a base.

    >>> pooling_on(load_base("minilm"), "base")  # a sentence encoder, which says so  # doctest: +SKIP
    'mean'
    """
    return (base.pooling or "first") if choice == "base" else readable(choice, base.config)


def run_source(
    trained: AdapterCheckpoint,
    base: Base,
    encoded: Encoded,
    *,
    pooling: Pooling = "first",
    folder: Path | None = None,
) -> SourceOutput:
    """Features and class probabilities of encoded rows by a trained adapter and its head; the last ones are cached in the process.

    An adapter without a head has no classes of its own (`source_classes`).

    Args:
        folder: keeps them for the next process.

    Raises:
        UserError: files that do not fit the base.
    """
    few = len(encoded) <= CACHED_ROWS
    key = output_key(trained, base, encoded, pooling)
    path = folder / f"{key}.safetensors" if folder and few else None
    request = _ForwardPass(key, trained, base, encoded, pooling, path)
    return _forward(request) if few else _forward.__wrapped__(request)


@dataclass(frozen=True)
class _ForwardPass:
    """A forward pass to compute, equal to every other one of the same key."""

    key: str
    trained: AdapterCheckpoint = field(compare=False)
    base: Base = field(compare=False)
    encoded: Encoded = field(compare=False)
    pooling: Pooling = field(compare=False)
    path: Path | None = field(compare=False)


@lru_cache(maxsize=CACHED_PASSES)
def _forward(request: _ForwardPass) -> SourceOutput:
    """The output, read where it is stored, computed (and stored) otherwise."""
    if request.path and request.path.is_file():
        return read_output(request.path)
    start = time.perf_counter()
    model = request.trained.model(request.base, head=request.trained.has_head)
    head = model.heads[model.active_head].config if request.trained.has_head else {"head_type": None}
    if head["head_type"] not in HEADS or request.encoded.width > 1:  # several texts per row, or answers token by token
        model.active_head, head = None, {"head_type": None}
    features, logits = pooled(model, request.encoded, pooling=request.pooling)
    output = SourceOutput(features, *source_classes(head, logits), time.perf_counter() - start)
    if request.path:
        main_writes(write_output, request.path, output, source=request.trained.adapter, base=request.base)
    return output


def source_classes(head: dict[str, Any], logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A source's own classes for each row: probabilities theta [n, Z], rows sum to 1, and the class z [n] it chooses.

        classes         theta = softmax(logits)                           z = argmax
        several labels  theta = [sigmoid(logits), 1 - sigmoid(logits)] / c    z = the likeliest label                  [ours]
        none            theta = 1                                         z = 0                                    [ours]

    Several labels: a label is drawn at random, and is on or off; Z = 2c. None (no head, a regression, multiple choice, a head of another kind): one
    class, so that LEEP and NCE are -H(Y), their least value, that of a source which says nothing.

    Args:
        head: the head's configuration in the `adapters` library. logits: [n, outputs], of heads that have classes.

    >>> theta, z = source_classes({"head_type": "classification", "num_labels": 2}, np.array([[0.0, 0.0], [0.0, 9.0]]))
    >>> theta.round(2).tolist(), z.tolist()
    ([[0.5, 0.5], [0.0, 1.0]], [0, 1])
    """
    if head["head_type"] == "multilabel_classification":
        likely = expit(logits)
        return np.hstack([likely, 1 - likely]) / logits.shape[1], logits.argmax(1)
    if head["head_type"] == "classification" and head["num_labels"] > 1:
        return softmax(logits, axis=1), logits.argmax(1)
    return np.ones((len(logits), 1)), np.zeros(len(logits), dtype=int)
