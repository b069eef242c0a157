"""The result of a transfer: one self-contained folder that reloads to the same logits.

run.json               what is being computed; written first
sources.safetensors    the frozen projections of the chosen sources (of a soup: of the merged adapter)
seed-<s>/state.safetensors, seed.json      the trained state of seed s, and its scores; each appears whole
result.json            the summary; written last, so that its existence means "complete"

Each JSON file carries a hash of itself (`tasksel.storage.hashed`), and the hashes of the weights beside it.
"""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from scalearn.layers.kinds import Layers, kind_of
from scalearn.methods.base import TransferMethod
from scalearn.methods.candidate import Candidate
from scalearn.methods.registry import get_method
from scalearn.methods.state import load_learned
from scalearn.results.export import write_adapter
from scalearn.results.export_merged import write_merged
from scalearn.results.export_onnx import write_onnx
from scalearn.results.lora_narrowing import LoraForm
from scalearn.results.trained_data import trained_data
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.encoding import encode_split
from tasksel.model.pooling import Pooling
from tasksel.model.stored_base import stored_base
from tasksel.processes import accelerator
from tasksel.storage.atomic import file_hash, whole_folder
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_hashed
from tasksel.storage.user_path import user_path
from tasksel.tasks.examples import Split, unlabelled
from tasksel.tasks.metrics import Limits
from tasksel.tasks.task import Task
from tasksel.training.predict import evaluate_all, predict
from tasksel.training.recipe import Recipe

SOURCES = "sources.safetensors"


class TransferRecord(Frozen):
    """`run.json`: all that decides a transfer except the seeds.

    Attributes:
        key: 16 hex digits, a hash of all that decides the outcome.
        sources: fingerprints by name, in the order of omega. sources_file: the hash of `sources.safetensors`; None without sources.
        similarities: of the sources, in their order, if the method weighs by them.
        settings: the method's class, version and values (`TransferMethod.settings`); None in a record of version 0.1.
    """

    key: str
    task: Task
    method: str
    base: dict[str, str]
    sources: dict[str, str]
    adapter_config: dict[str, Any]
    rows: int | None
    recipe: Recipe
    sources_file: str | None
    versions: dict[str, str]
    similarities: tuple[float, ...] | None = None
    settings: dict[str, Any] | None = None


class ResultSummary(Frozen):
    """`result.json`: the seeds that are finished."""

    seeds: tuple[int, ...]


class SeedRecord(Frozen):
    """`seed.json`: scores, checkpoint and costs of one seed.

    Attributes:
        scores: by metric, the task's own first. dev: the dev score that chose the checkpoint.
        parameters: trainable parameters, of the "transfer" and of the "head". seconds: of training.
        bytes: of the files that the method adds for this target: the trained state with the head, and a soup's merged adapter. The
            sources' projections do not count: the pool holds them once for all targets. None in an older record.
        peak_memory: bytes, the most held while training (`tasksel.training.memory`); None if it cannot be measured, or in an older record.
        grid: every cell of a method that evaluates a grid, with its dev score.
        candidates: those that `auto` compared, with their cross-validated scores.
        pooling: what the head reads of a text's tokens; in an older record that of the recipe.
        range: of the numbers that a solved head was trained on, which its predictions (not its logits) are kept in; else None.
    """

    seed: int
    scores: dict[str, Score]
    dev: Score
    epoch: int
    steps: int
    seconds: float
    parameters: dict[str, int]
    data: str
    state_file: str
    bytes: int | None = None
    peak_memory: int | None = None
    grid: tuple[dict[str, float], ...] | None = None
    pooling: Pooling | None = None
    candidates: tuple[Candidate, ...] | None = None
    range: Limits | None = None


Record = TypeVar("Record", bound=Frozen)


def read_record(path: Path, kind: type[Record]) -> Record:
    """A `run.json` or `seed.json`.

    Raises:
        UserError: fields that this version does not know (a newer one wrote them), or other than it writes; broken JSON.
    """
    try:
        return kind.model_validate(read_hashed(path))
    except ValidationError as error:
        raise UserError(f"{path}: not a transfer result that this version reads: {_complaint(error)}") from error
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error


def _complaint(error: ValidationError) -> str:
    wrong = [(item["type"], ".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
    unknown = [path for kind, path, _ in wrong if kind == "extra_forbidden"]
    if unknown:
        return f"it does not know {', '.join(unknown)}; a newer version may have written it: read it with that, or run the transfer again"
    return "; ".join(f"{path}: {what}" for _, path, what in wrong)


@dataclass(frozen=True)
class TransferResult:
    """A transfer to one target by one method, for one or several seeds; `transfer` returns it, `load` reads a stored one.

    >>> result = TransferResult.load("out/rte")  # doctest: +SKIP
    >>> result.mean, result.std  # doctest: +SKIP
    >>> result.predict(["A text", "Another"])  # doctest: +SKIP
    """

    folder: Path
    run: TransferRecord
    seeds: dict[int, SeedRecord]
    _base: str | Base | None = field(default=None, repr=False, compare=False)
    _models: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: str | Path, *, base: str | Base | None = None) -> TransferResult:
        """Reads a finished result.

        Args:
            base: where its base lies now, if it was moved; its weights must be the same.

        Raises:
            UserError: no result there, an unfinished one, or a file that is missing, cut short or altered.
        """
        folder = user_path(folder)
        if not (folder / "result.json").is_file():
            unfinished = (folder / "run.json").is_file()
            raise UserError(
                f"{folder}: "
                + (
                    "the run is not finished; start it again and it goes on"
                    if unfinished
                    else "no transfer result there (no result.json)"
                )
            )
        finished = read_record(folder / "result.json", ResultSummary).seeds
        run = read_record(folder / "run.json", TransferRecord)
        seeds = {seed: read_record(folder / f"seed-{seed}" / "seed.json", SeedRecord) for seed in finished}
        result = cls(folder, run, seeds, base)
        result.verify()
        return result

    def verify(self) -> None:
        """Compares the weights with their hashes.

        Raises:
            UserError: the first file that differs.
        """
        expected = {f"seed-{seed}/state.safetensors": entry.state_file for seed, entry in self.seeds.items()}
        if self.run.sources_file:
            expected[SOURCES] = self.run.sources_file
        for name, digest in expected.items():
            path = self.folder / name
            if not path.is_file() or file_hash(path) != digest:
                raise UserError(
                    f"{path}: missing, cut short or altered; delete {self.folder} and run the transfer again"
                )

    @property
    def task(self) -> Task:
        """The target."""
        return self.run.task

    @property
    def method(self) -> TransferMethod:
        """The transfer method that it was made by.

        Raises:
            UserError: no method of that name here, or one of other values, whose model would not be the one that was trained.
        """
        method = get_method(self.run.method)
        if self.run.settings is not None:
            method.check_settings(self.run.settings, owner=str(self.folder))
        return method

    @property
    def scores(self) -> dict[int, float]:
        """The task's metric on the public validation set, by seed."""
        return {seed: entry.scores[self.task.metric] for seed, entry in self.seeds.items()}

    @property
    def mean(self) -> float:
        """Mean of the scores over seeds."""
        return statistics.fmean(self.scores.values())

    @property
    def std(self) -> float:
        """Standard deviation of the scores over seeds (n - 1); 0 for a single seed."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else 0.0

    @property
    def best_seed(self) -> int:
        """The seed with the best dev score: the default of `model`, `predict` and `export`."""
        return max(self.seeds, key=lambda seed: (self.seeds[seed].dev, -seed))

    @cached_property
    def base(self) -> Base:
        """The base model.

        Raises:
            UserError: the model is gone, or has other weights.
        """
        return stored_base(self.run.base, self._base, owner=str(self.folder), near=self.folder)

    def seed(self, seed: int | None) -> int:
        """This seed, or the best one for None.

        Raises:
            UserError: a seed that was not trained.
        """
        if seed is not None and seed not in self.seeds:
            raise UserError(f"{self.folder}: no seed {seed}; there are {', '.join(map(str, self.seeds))}")
        return self.best_seed if seed is None else seed

    def model(self, *, seed: int | None = None) -> Any:
        """The trained model of a seed (by default the one with the best dev score), in eval mode."""
        chosen = self.seed(seed)
        if chosen not in self._models:
            method, config = self.method, self.run.adapter_config
            model = method.build(self.base, self.task, self.layers(), config, seed=chosen, pooling=self.pooling(chosen))
            path = self.folder / f"seed-{chosen}" / "state.safetensors"
            try:
                load_learned(model, load_file(path))
            except (AttributeError, KeyError, RuntimeError, SafetensorError) as error:
                raise UserError(f"{path}: not the state of this model ({error})") from error
            self._models[chosen] = model.requires_grad_(False).eval().to(accelerator().device)
        return self._models[chosen]

    def pooling(self, seed: int) -> Pooling:
        """How the head of a seed reads a text's tokens."""
        stored = self.seeds[seed].pooling or self.run.recipe.pooling
        return "first" if stored == "base" else stored

    def layers(self) -> Layers:
        """The frozen sources, stacked, by slot path; empty without sources."""
        if not self.run.sources_file:
            return {}
        return kind_of(self.run.adapter_config).from_tensors(load_file(self.folder / SOURCES))

    def logits(self, split: Split, *, seed: int | None = None) -> np.ndarray:
        """Logits [rows, outputs] of a split's rows; of generation the written texts [rows]."""
        return predict(
            self.model(seed=seed),
            encode_split(split, self.task, self.base.tokenizer, max_length=self.run.recipe.max_length),
        )

    def range(self, *, seed: int | None = None) -> Limits | None:
        """What predicted numbers are kept in, as `scalearn.predict_file` gives them and as they are scored; None where they are as they come."""
        return self.seeds[self.seed(seed)].range

    def predict(self, texts: list[Any], *, seed: int | None = None) -> np.ndarray:
        """Logits [rows, outputs] of raw texts: strings, or pairs of strings. Multiple choice: (text, [choice, …]). Generation: the texts [rows].

        Numbers are as the head gives them, beyond `range` too.
        """
        rows: list[tuple[str, ...]]
        choices: list[list[str]] | None = None
        if self.task.kind == "multiple_choice":
            rows, choices = [(text,) for text, _ in texts], [list(options) for _, options in texts]
        else:
            rows = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        return self.logits(Split(rows, choices, unlabelled(self.task, len(rows))), seed=seed)

    def omega(self, *, seed: int | None = None) -> np.ndarray:
        """The weights [layers or 1, sources, width or 1], learned or set; empty without an omega.

        Of LoRAs, one per module in place of one per layer; where the modules differ in width, the mean over each one's width.
        """
        state = load_file(self.folder / f"seed-{self.seed(seed)}" / "state.safetensors")
        names = [name for name in state if name.endswith("omega.weight")]
        names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in name.split(".")])  # 2 before 10
        omegas = [state[name].numpy() for name in names]
        if len({omega.shape for omega in omegas}) > 1:
            omegas = [omega.mean(-1, keepdims=True) for omega in omegas]
        return np.stack(omegas) if omegas else np.empty((0, 0, 0))

    def save(self, folder: str | Path) -> TransferResult:
        """Copies the result to a folder of its own.

        Raises:
            UserError: the folder exists.
        """
        folder = user_path(folder)
        if folder.exists():
            raise UserError(f"{folder} exists; choose another folder")
        with whole_folder(folder) as partial:
            shutil.copytree(self.folder, partial, dirs_exist_ok=True)
        return TransferResult.load(folder, base=self._base)

    def export(
        self, folder: str | Path, *, seed: int | None = None, rank: int | None = None, server: str | None = None
    ) -> Path:
        """Writes a seed's model as one ordinary adapter in the format of the `adapters` library, and returns the folder.

        Plain `adapters` loads it (but for an MPNet, which that library does not have, and for a head on the mean of the tokens, which the
        model card applies by hand); `predict_text` and `predict_file` do without.

        Args:
            rank: of a LoRA, the most that each module keeps; what that loses is measured on the validation set, and in the model card.
            server: of a LoRA, "vllm": a rank that it accepts, and nothing but the LoRA in PEFT's file.

        Raises:
            UserError: a method whose result is not an ordinary adapter (its `export_reason`); a folder that holds something else; a rank
                beyond the server's; data that is missing where a narrowed LoRA is to be scored.
        """
        chosen, form = self.seed(seed), LoraForm(rank, server)
        description = {"method": self.run.method, "sources": list(self.run.sources), "seed": chosen}
        description |= {"seed_scores": self.scores, "versions": self.run.versions}
        description |= {"max_length": self.run.recipe.max_length, "scores": self.seeds[chosen].scores}
        if limits := self.range(seed=chosen):
            description["range"] = limits
        method, config = self.method, self.run.adapter_config
        return write_adapter(
            self.model(seed=chosen), self.base, self.task, method, config, user_path(folder), description, form,
            score=lambda model: self._scores(model, chosen),
        )  # fmt: skip

    def _scores(self, model: Any, seed: int) -> dict[str, float]:
        """A model's scores on what a seed was scored by."""
        data, length, limits = trained_data(self, seed), self.run.recipe.max_length, self.range(seed=seed)
        return evaluate_all(model, self.task, data, self.base.tokenizer, max_length=length, limits=limits)

    def export_onnx(self, folder: str | Path, *, seed: int | None = None) -> Path:
        """Writes a seed's whole model (base, what was learned, head) as one ONNX file with its tokenizer, and returns the folder.

        Of every method, and for onnxruntime alone; needs the extra `onnx`.

        Raises:
            UserError: the extra is not installed; multiple choice; a folder that holds something else; see `write_onnx`.
        """
        return write_onnx(self, folder, seed=seed)

    def export_merged(self, folder: str | Path, *, seed: int | None = None) -> Path:
        """Writes a seed's model as one dense model folder of `transformers`, a LoRA merged into the weights, and returns the folder.

        Raises:
            UserError: a bottleneck, which cannot be merged; a head that the base's own classifier cannot be; a folder that holds something else.
        """
        return write_merged(self, folder, seed=seed)

    def __str__(self) -> str:
        by_seed = ", ".join(f"{score:.4f} (seed {seed})" for seed, score in self.scores.items())
        chosen = f" over {', '.join(self.run.sources)}" if self.run.sources else ""
        return f"{self.task.name} by {self.run.method}{chosen}: {self.task.metric} {self.mean:.4f} ± {self.std:.4f} [{by_seed}]"

    __repr__ = __str__
