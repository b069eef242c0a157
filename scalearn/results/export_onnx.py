"""A trained model as one ONNX file: base, folded adapter and head, for onnxruntime alone.

    model.onnx                     input_ids, attention_mask (and token_type_ids) [batch, tokens] int64  ->  logits [batch, outputs] float32
    tokenizer.json, …, config.json     the base's tokenizer; its configuration with the names of the labels, as optimum and others read them
    README.md                      the model card

Both axes are dynamic. A graph needs no ordinary adapter, so what no adapter can hold (AdapterFusion, a trained base) is exported too. Before the
folder appears, onnxruntime computes several lengths and sizes of a batch, which must agree with torch.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from scalearn.results.card_fields import known_fields
from scalearn.results.onnx_card import OnnxCard
from tasksel.errors import UserError, one_line
from tasksel.model.base import describe
from tasksel.model.compatibility import most_tokens
from tasksel.storage.atomic import is_unused, whole_folder, write_json, write_text
from tasksel.storage.user_path import user_path

if TYPE_CHECKING:
    from scalearn.results.result import TransferResult

MODEL, CARD = "model.onnx", "README.md"
OPSET = 18  # what torch's exporter writes without converting; onnxruntime reads it since 1.14
NEAR = 1e-4  # largest difference of the logits, relative to the largest logit where that is above 1
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
REFUSED = {"multiple_choice": "whose rows are several sequences", "generation": "which decodes token by token"}
PROBLEMS = {"regression": "regression", "multi_label": "multi_label_classification"}


class Graph(nn.Module):
    """A model's logits as a function of tensors by position, which is what is exported."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """The logits [b, outputs] of tokens [b, t]."""
        logits: Tensor = self.model(input_ids, attention_mask, token_type_ids).logits
        return logits


def write_onnx(result: TransferResult, folder: str | Path, *, seed: int | None = None) -> Path:
    """Writes a seed's model as ONNX, by default the one with the best dev score, and returns the folder.

    Needs the extra `onnx`.

    Raises:
        UserError: the extra is not installed; a task that one pass does not answer (multiple choice, generation); a folder that holds something
            else; a base that torch's exporter cannot write, or whose file computes other logits.

    >>> write_onnx(TransferResult.load("out/rte"), "out/rte-onnx")  # doctest: +SKIP
    """
    need_onnx()
    folder, chosen, task = user_path(folder), result.seed(seed), result.task
    if task.kind in REFUSED:
        raise UserError(
            f"'{task.name}' is {task.kind.replace('_', ' ')}, {REFUSED[task.kind]}: ONNX is written of a classifier of one text or a pair; "
            "`scalearn export` without --onnx writes its adapter"
        )
    if not is_unused(folder) and not (folder / MODEL).is_file():
        raise UserError(f"{folder} exists and holds no ONNX export: choose another folder")
    trained, method = result.model(seed=chosen), result.method
    model = trained if method.export_reason else method.export(trained, result.base, task, result.run.adapter_config)
    device = model.device
    graph = Graph(model.cpu()).eval()
    try:
        with whole_folder(folder) as partial:
            difference = _write_graph(graph, result, chosen, partial / MODEL)
            _write_texts(result, partial)
            write_text(partial / CARD, str(_card(result, chosen, trained, folder, difference)))
    finally:
        model.to(device)
    return folder


def need_onnx() -> None:
    """Refuses where a package of the extra is missing.

    Raises:
        UserError: which one, and how it is installed.
    """
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(f"--onnx needs the package {package}: pip install 'scalearn[onnx]'") from None


def _write_graph(graph: Graph, result: TransferResult, seed: int, path: Path) -> float:
    """Writes the file, with what it is in its metadata, and gives the largest difference of its logits."""
    names = _inputs(graph, result.base.tokenizer)
    tokens = _tokens(result, names, rows=2, length=5)
    axes = tuple({0: "batch", 1: "tokens"} for _ in names)
    options: dict[str, Any] = {"input_names": names, "output_names": ["logits"], "dynamic_shapes": axes, "dynamo": True}
    try:
        with _silenced(), torch.no_grad():
            program: Any = torch.onnx.export(graph, tuple(tokens), opset_version=OPSET, verbose=False, **options)
    except Exception as error:  # whatever the exporter meets in a model's code
        kind = result.base.config.model_type
        raise UserError(f"torch {torch.__version__} cannot write a {kind} as ONNX: {one_line(error)[:300]}") from error
    program.model.metadata_props.update(_facts(result, seed))
    program.save(path)
    return _difference(graph, result, names, path)


def _facts(result: TransferResult, seed: int) -> dict[str, str]:
    """What the file's metadata says."""
    facts = {
        "opset": OPSET,
        "task": result.task.name,
        "kind": result.task.kind,
        "labels": json.dumps(result.task.labels),
    }
    facts |= {"method": result.run.method, "seed": seed, "max_length": result.run.recipe.max_length}
    facts |= {"base": Path(describe(result.base)["name"]).name, "base_fingerprint": result.base.fingerprint}
    if limits := result.range(seed=seed):
        facts["range"] = json.dumps(limits)
    return {name: str(value) for name, value in facts.items()}


def _inputs(graph: Graph, tokenizer: Any) -> list[str]:
    """The tensors that both the tokenizer gives and the base takes."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    encoded = tokenizer("a", "b").keys()
    return [name for name in known if name in encoded and name in graph.model._takes]


def _tokens(result: TransferResult, names: list[str], *, rows: int, length: int) -> list[Tensor]:
    """Random rows of the base's vocabulary, each one token shorter than the last, padded; of segments the second half."""
    draw = torch.Generator().manual_seed(length)
    tokenizer = result.base.tokenizer
    ids = torch.randint(len(tokenizer), (rows, length), generator=draw)
    ids = torch.where(
        ids == tokenizer.pad_token_id, (ids + 1) % len(tokenizer), ids
    )  # some bases count positions by it
    mask = torch.stack([torch.arange(length) < max(1, length - row) for row in range(rows)]).long()
    ids = torch.where(mask.bool(), ids, tokenizer.pad_token_id)
    types = (torch.arange(length) > length // 2).long().expand(rows, length).contiguous()
    by_name = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return [by_name[name] for name in names]


def _difference(graph: Graph, result: TransferResult, names: list[str], path: Path) -> float:
    """The largest difference between onnxruntime's logits and torch's over several shapes.

    Raises:
        UserError: one that is too large.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    longest = min(result.run.recipe.max_length, most_tokens(result.base.config) or result.run.recipe.max_length)
    worst = 0.0
    for rows, length in ((1, 1), (1, longest), (3, (longest + 1) // 2), (4, longest)):
        tokens = _tokens(result, names, rows=rows, length=length)
        with torch.no_grad():
            expected = graph(*tokens).numpy()
        (logits,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in zip(names, tokens, strict=True)})
        off = float(np.abs(logits - expected).max())
        if not off <= NEAR * max(1.0, float(np.abs(expected).max())):  # NaN too
            raise UserError(
                f"the ONNX file computes other logits than the model: they differ by {off:.2g} at {rows} rows of {length} tokens "
                f"(allowed: {NEAR:g}), so nothing was written"
            )
        worst = max(worst, off)
    return worst


def _write_texts(result: TransferResult, folder: Path) -> None:
    """The tokenizer's files, and the base's configuration with the labels' names and without a path of this machine."""
    result.base.tokenizer.save_pretrained(folder)
    config = json.loads(result.base.config.to_json_string(use_diff=True))
    config.pop("_name_or_path", None)
    labels = dict(enumerate(result.task.labels or ["LABEL_0"]))
    config |= {
        "id2label": labels,
        "label2id": {label: number for number, label in labels.items()},
        "problem_type": PROBLEMS.get(result.task.kind, "single_label_classification"),
    }
    write_json(folder / "config.json", config)


def _card(result: TransferResult, seed: int, trained: Any, folder: Path, difference: float) -> OnnxCard:
    """The model card."""
    return OnnxCard(**known_fields(result, seed, trained, folder), opset=OPSET, difference=difference)


@contextmanager
def _silenced() -> Iterator[None]:
    """The exporter's notes on deprecated calls of its own, on names of axes and on packages of pictures, which help no user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
