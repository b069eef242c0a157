"""A trained model as ONE dense model folder of `transformers`: the LoRA is in the base's weights, and nothing of ours or of PEFT is needed.

    W <- W + B A                   on each Linear of the folded LoRA (GPT-2's Conv1D: its transpose)
    config.json, model.safetensors, tokenizer …      what `pipeline`, `AutoModelFor…` and lm-evaluation-harness load
    README.md                      the model card

A head that the base's own classifier can be (`scalearn.results.lora_export.OWN_HEADS`) makes an `AutoModelForSequenceClassification`, the lm_head of a
generation task an `AutoModelForCausalLM`. A bottleneck's slot cannot be merged: its activation stands between the projections.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from scalearn.layers.lora_mix import folded_pairs
from scalearn.results.card_fields import known_fields
from scalearn.results.lora_export import OWN_HEADS, OwnHead, own_head
from scalearn.results.merged_card import MergedCard
from tasksel.errors import UserError
from tasksel.model.linear_slot import is_transposed
from tasksel.model.lora_config import is_lora
from tasksel.model.names import module_name
from tasksel.storage.atomic import is_unused, whole_folder, write_text
from tasksel.storage.user_path import user_path
from tasksel.tasks.prompts import GENERATION

if TYPE_CHECKING:
    from scalearn.results.result import TransferResult

MODEL, CARD = "model.safetensors", "README.md"
PROBLEMS = {"regression": "regression", "multi_label": "multi_label_classification"}


def write_merged(result: TransferResult, folder: str | Path, *, seed: int | None = None) -> Path:
    """Writes a seed's model as a dense model, by default the one with the best dev score, and returns the folder.

    Raises:
        UserError: a bottleneck in the model, which cannot be merged; a head that the base's own classifier cannot be; a folder that holds
            something else.

    >>> write_merged(TransferResult.load("out/rte"), "out/rte-model")  # doctest: +SKIP
    """
    folder, chosen, trained = user_path(folder), result.seed(seed), result.model(seed=seed)
    own = _check(result, trained, folder)
    model = dense(result, trained, own)
    with whole_folder(folder) as partial:
        model.save_pretrained(partial, safe_serialization=True)
        result.base.tokenizer.save_pretrained(partial)
        write_text(partial / CARD, str(MergedCard(**known_fields(result, chosen, trained, folder))))
    return folder


def _check(result: TransferResult, trained: Any, folder: Path) -> OwnHead | None:
    """The base's own classifier's place for the head; refuses what no dense model can hold."""
    if not is_unused(folder) and not ((folder / MODEL).is_file() and (folder / CARD).is_file()):
        raise UserError(f"{folder} exists and holds no merged model: choose another folder")
    name, onnx = module_name(result.task.name), "`--onnx` writes the whole model as one file"
    if trained.fusions or any(not is_lora(config) for config in trained.adapter_configs.values()):
        raise UserError(
            f"'{result.run.method}' has a bottleneck in its layers, which cannot be merged into the base's weights; {onnx}"
        )
    if result.task.kind == GENERATION:
        return None
    own = own_head(trained.config.model_type, trained.heads[name].config)
    if own is None:
        able = trained.config.model_type in OWN_HEADS
        portable = "transfer again with --portable (BERT, RoBERTa, XLM-R, ALBERT, MPNet), or " if able else ""
        raise UserError(
            f"the head of '{result.task.name}' reads the {trained.heads[name].pooling} of the tokens by two layers with a tanh, and the own classifier of a "
            f"{trained.config.model_type} is another: {portable}{onnx}"
        )
    return own


@torch.no_grad()
def dense(result: TransferResult, trained: Any, own: OwnHead | None) -> Any:
    """The whole model of `transformers` with the trained weights in it.

    Args:
        own: the head's place; None of a generation task.

    >>> dense(result, result.model(), own_head("bert", head.config))  # doctest: +SKIP
    """
    task, name = result.task, module_name(result.task.name)
    if own is None:
        model = result.base.whole(AutoModelForCausalLM)
    else:
        labels = dict(enumerate(task.labels or map(str, range(task.outputs))))
        names = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
        problem = PROBLEMS.get(task.kind, "single_label_classification")
        model = result.base.whole(
            AutoModelForSequenceClassification, num_labels=task.outputs, problem_type=problem, **names
        )
    inner, state = model.base_model, trained.base_model.state_dict()
    pairs = folded_pairs(trained, name) if name in trained.adapter_configs else {}
    for key, value in inner.state_dict().items():
        if key in state:
            value.copy_(state[key])
    for path, (a, b) in pairs.items():
        linear = inner.get_submodule(path)
        delta = (b @ a).to(linear.weight)
        linear.weight.add_(delta.t() if is_transposed(linear) else delta)
    if own is not None:
        for part, number in zip(own.parts, ("1", "4"), strict=True):
            model.get_submodule(part).load_state_dict(trained.heads[name].get_submodule(number).state_dict())
    elif not trained.language_model.tied:  # `head-only` unties it to train it
        model.set_output_embeddings(copy.deepcopy(trained.lm_head).cpu())
        model.config.tie_word_embeddings = False
    return model.eval()
