"""A trained model's slot as ONE ordinary adapter in the format of the `adapters` library, or ONE plain LoRA in PEFT's, head included.

    model = AutoAdapterModel.from_pretrained(base)
    model.load_adapter("out/rte-adapter", use_safetensors=True, set_active=True)

needs no `scalearn`, gives the same logits, and costs what one adapter of that width costs; `scalearn predict` needs no `adapters`. A head on the mean
of the tokens is the exception: the library's read the first token alone, so it loads the adapter without the head, and the card shows how the head's
layers are applied to the same logits. A LoRA is what `scalearn.results.lora_export` says. README.md is the model card (`scalearn.results.model_card`); `scalearn.json` is what `scalearn predict` and `scalearn push` read, with a hash of each file.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from scalearn.methods.registry import METHODS, TransferMethod
from scalearn.results.lora_card import LoraCard
from scalearn.results.lora_export import save_plain_lora
from scalearn.results.lora_narrowing import LoraForm, Narrowing, in_form
from scalearn.results.model_card import ModelCard, snippet
from tasksel.adapters.folder import HEAD_CONFIG, save_adapter
from tasksel.errors import UserError
from tasksel.model.base import Base, describe
from tasksel.model.decoders import DECODERS
from tasksel.model.lora_config import is_lora
from tasksel.model.names import module_name
from tasksel.storage.atomic import file_hash, is_unused, read_json, whole_folder, write_json, write_text
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_record, write_hashed
from tasksel.storage.provenance import versions
from tasksel.tasks.metrics import Limits
from tasksel.tasks.task import Task

EXPORT_FILE = "scalearn.json"  # what `scalearn predict` reads beside the library's files
README = "README.md"
CONFIGS = ("adapter_config.json", "head_config.json")


class ExportRecord(Frozen):
    """`scalearn.json`: what an export is, and what predicting with it takes.

    Attributes:
        base: name and fingerprint. files: sha256 by file name. method, sources, seed: what was exported.
        scores: of that seed, by metric. seed_scores: the task's metric by seed. versions: those that trained it.
        range: that predicted numbers are kept in; None where they are as they come.
        narrowed: what a LoRA lost that was narrowed; None where nothing was.
    """

    task: Task
    base: dict[str, str]
    files: dict[str, str]
    method: str
    sources: tuple[str, ...]
    seed: int
    max_length: int
    scores: dict[str, Score] = Field(default_factory=dict)
    seed_scores: dict[str, Score] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    range: Limits | None = None
    narrowed: Narrowing | None = None


def read_export(folder: Path) -> ExportRecord:
    """What an export's `scalearn.json` holds.

    Raises:
        UserError: no such file, one that is broken or altered, or another version's.

    >>> read_export(Path("out/rte-adapter")).method  # doctest: +SKIP
    """
    return read_record(folder / EXPORT_FILE, ExportRecord, "an export that this version reads; export the result again")


def write_adapter(
    trained: Any,
    base: Base,
    task: Task,
    method: TransferMethod,
    config: dict[str, Any],
    folder: Path,
    description: dict[str, Any],
    form: LoraForm = LoraForm(),
    score: Callable[[Any], dict[str, float]] | None = None,
) -> Path:
    """Writes the adapter and head of a trained model, and a model card.

    Args:
        form: of a LoRA. score: scores a model on the validation set by metric, where less rank may change them.
        trained: a trained model of the method's `build`. config: the sources' adapter configuration (empty without sources).
        description: method, sources, seed, max_length, scores; optionally seed_scores (the task's metric by seed), versions (those
            that trained it) and range (of regression).

    Raises:
        UserError: a method whose result is not an adapter, and why; a folder that holds something else.
    """
    _check(method, folder)
    model, name = method.export(trained, base, task, config), module_name(task.name)
    save: Callable[..., None] = save_adapter
    if is_lora(model.adapter_configs[name]):
        model, narrowed = in_form(model, base, task, name, form)
        description = {**description, **_losses(narrowed, description["scores"], score, model)}
        save = functools.partial(save_plain_lora, keeps_head=form.keeps_head)
    elif form.changes:
        raise UserError(f"'{task.name}' is a bottleneck adapter: --rank and --for are for results over LoRAs")
    with whole_folder(folder) as partial:
        save(model, partial, name)
        for file in CONFIGS:  # the base by a name that another machine knows, not by a path
            content = read_json(partial / file)
            key = "base_model_name_or_path" if "peft_type" in content else "model_name"
            write_json(partial / file, {**content, key: describe(base)["name"]})
        files = {
            file: file_hash(partial / file)
            for file in (*CONFIGS, *sorted(path.name for path in partial.glob("*.safetensors")))
        }
        write_hashed(
            partial / EXPORT_FILE,
            {"task": task.model_dump(mode="json"), "base": describe(base), "files": files, **description},
        )
        write_text(partial / README, str(_model_card(trained, base, task, method, folder, partial, description)))
    return folder


def _check(method: TransferMethod, folder: Path) -> None:
    """Refuses a folder that holds something else, and a method whose result is not an adapter."""
    if not is_unused(folder) and not (folder / EXPORT_FILE).is_file():
        raise UserError(f"{folder} exists and holds no export: choose another folder")
    if method.export_reason:
        able = ", ".join(other.name for other in METHODS.values() if not other.export_reason)
        raise UserError(
            f"'{method.name}' {method.export_reason}, so there is no ordinary adapter to export: predict from the result's folder, "
            f"which holds all of it, write its whole model (--merged, --onnx), or export a result of {able}"
        )


def _losses(
    narrowed: Narrowing | None, before: Mapping[str, float], score: Callable[[Any], dict[str, float]] | None, model: Any
) -> dict[str, Any]:
    """What an export's record says of a LoRA that was narrowed: the scores of what is written, and beside them those of the whole."""
    if narrowed is None:
        return {}
    kept = narrowed.model_copy(update={"scores": dict(before)}).model_dump(mode="json")
    return {"narrowed": kept, "scores": score(model) if score else before}


def _model_card(
    trained: Any,
    base: Base,
    task: Task,
    method: TransferMethod,
    folder: Path,
    partial: Path,
    description: dict[str, Any],
) -> ModelCard:
    """The model card of an export whose files lie in `partial` until it is whole."""
    sources: dict[str, float | None] = dict.fromkeys(description["sources"])
    if means := method.source_weights(trained, module_name(task.name)):
        sources = dict(zip(sources, means, strict=True))
    head: Any = trained.heads[module_name(task.name)]
    return _card_of(
        partial,
        folder=folder.resolve().name,
        task=task,
        method=method.name,
        base=describe(base)["name"],
        seed=description["seed"],
        scores=description["scores"],
        max_length=description["max_length"],
        model_type=base.config.model_type,
        seed_scores=description.get("seed_scores", {}),
        sources=sources,
        sources_note=method.sources_note,
        versions=description.get("versions") or versions(),
        pooling=head.pooling,
        range=description.get("range"),
        narrowed=description.get("narrowed"),
    )


def _card_of(files: Path, *, narrowed: Mapping[str, Any] | None = None, **contents: Any) -> ModelCard:
    """The model card of the kind of adapter whose files lie in a folder."""
    config = read_json(files / CONFIGS[0])
    if "peft_type" not in config:
        return ModelCard(**contents)
    return LoraCard(
        **contents,
        rank=config["r"],
        targets=tuple(config["target_modules"]),
        whole=bool(config["modules_to_save"]),
        causal=config["task_type"] == "CAUSAL_LM",
        narrowed=Narrowing.model_validate(narrowed) if narrowed else None,
    )


def how_to_load(folder: Path) -> str:
    """How plain `adapters`, or PEFT, loads an export on this machine and predicts, with the code; its model card holds the same, without paths.

    >>> print(how_to_load(Path("out/rte-adapter")))  # doctest: +SKIP
    this loads it in plain `adapters`, with nothing of scalearn:
    <BLANKLINE>
    import torch
    …
    """
    stored, head = read_json(folder / EXPORT_FILE), read_json(folder / HEAD_CONFIG)
    card = _card_of(
        folder,
        folder=str(folder),
        task=Task.model_validate(stored["task"]),
        method=stored["method"],
        base=stored["base"]["name"],
        seed=stored["seed"],
        scores=stored["scores"],
        max_length=stored["max_length"],
        model_type=head["model_type"],
        pooling=head["config"].get("pooling", "first"),
        range=stored.get("range"),
    )
    if isinstance(card, LoraCard):
        return f"this loads it in stock PEFT, with nothing of scalearn:\n\n{card.code(here=True)}"
    if not card.in_library:
        return "plain `adapters` has no model for its base"
    if card.whole_in_library:
        return f"this loads it in plain `adapters`, with nothing of scalearn:\n\n{snippet(card, here=True)}"
    return (
        "its head reads the mean of the tokens, and the heads of plain `adapters` the first token alone: transfer again with --portable for one that "
        f"it loads whole; this gives the same logits there, with nothing of scalearn:\n\n{snippet(card, here=True)}"
    )


def how_to_serve(folder: Path) -> str:
    """The call by which vLLM serves an export of `--for vllm`, with the `--max-lora-rank` that it needs.

    >>> print(how_to_serve(Path("out/rte-lora")))  # doctest: +SKIP
    vllm serve meta-llama/Llama-3.2-1B --enable-lora --max-lora-rank 16 --lora-modules rte-lora=out/rte-lora
    """
    config, model_type = read_json(folder / CONFIGS[0]), read_json(folder / HEAD_CONFIG)["model_type"]
    base, lora = config["base_model_name_or_path"], f"{folder.resolve().name}={folder}"
    call = f"--enable-lora --max-lora-rank {config['r']} --lora-modules"
    serve = f"vllm serve {shlex.quote(base)}"
    if model_type not in DECODERS:
        serve = f"vLLM takes LoRAs of decoders, and this base is a {model_type}; where it can be served:"
    return f"{serve} {call} {shlex.quote(lora)}"
