"""The small world that faults happen in: a tiny random BERT, tasks of 40 rows, and one of everything that the commands store.

base/  tasks/<name>/  pool/  outside/  result/  export/  embeddings/  index/  run/  matrix/  rows.csv  new.jsonl  compare.yaml  matrix.yaml
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.faults.trial import attempt, command

TASKS = {"reviews": 1, "trips": 1, "claims": 2}  # texts of a row
WORDS = (
    "the",
    "a",
    "good",
    "bad",
    "calm",
    "late",
    "warm",
    "cold",
    "kettle",
    "ferry",
    "soup",
    "leaks",
    "fits",
    "tore",
    "is",
    "was",
)
RECIPE = "--recipe.epochs 1 --recipe.batch 16 --recipe.max-length 16"
COMPARE = """name: small
base: {base}
data: tasks
sources: {{tasks: [reviews, trips], rows: 32, recipe: {{epochs: 1, batch: 16, max_length: 16}}}}
targets: {{tasks: [claims], rows: 32, seeds: [0]}}
rank: {{by: [all], top: [2]}}
methods: [scalearn, head-only]
recipe: {{epochs: 1, batch: 16, max_length: 16}}
"""
MATRIX = """name: small
base: {base}
data: tasks
sources: {{tasks: [reviews, trips], rows: 32, recipe: {{epochs: 1, batch: 16, max_length: 16}}}}
targets: {{tasks: [reviews, trips, claims], rows: 32, seeds: [0, 1]}}
methods: [sequential]
recipe: {{epochs: 1, batch: 16, max_length: 16}}
"""
BUILD = {  # each piece by the commands themselves, in this order
    "pool": (f"scalearn train-source reviews trips --data tasks --pool pool --base base --rows 32 {RECIPE}",),
    "result": (f"scalearn transfer claims --data tasks --pool pool --sources reviews trips --rows 32 --seeds 0 1 --out result {RECIPE}",),
    "export": ("scalearn export result --out export",),
    "embeddings": ("tasksel embed reviews trips claims --data tasks --base base --by text --out embeddings",),
    "index": ("tasksel index build embeddings/reviews.safetensors embeddings/trips.safetensors --out index",),
    "run": ("scalearn compare compare.yaml --out run",),
    "matrix": (
        "scalearn measure-matrix matrix.yaml --out matrix",
        "tasksel evaluate matrix --by text logme --pool matrix/pool --data tasks --rows 32",
        "tasksel predict-gain matrix --pool matrix/pool --data tasks --rows 32 --max-loss 0.5",
    ),
}  # fmt: skip
SHORT = ("pool", "result", "embeddings", "index")  # the pieces that the short form reads


def texts(name: str, count: int, seed: int) -> list[list[str]]:
    """Made-up texts of a task's rows."""
    draw = random.Random(f"{name} {seed}")
    return [[" ".join(draw.choices(WORDS, k=6)) for _ in range(TASKS[name])] for _ in range(count)]


def write_tasks(root: Path) -> None:
    """A folder per task: 40 rows to train on, 12 to score."""
    for name, count in TASKS.items():
        folder, fields = root / name, ["first", "second"][:count]
        folder.mkdir(parents=True)
        kind = "pair_classification" if count == 2 else "single_sentence_classification"
        task = {"name": name, "suite": "small", "kind": kind, "text_fields": fields, "label_field": "label"}
        (folder / "task.json").write_text(json.dumps({**task, "label_names": ["no", "yes"], "metric": "accuracy"}))
        for split, size in (("train", 40), ("validation", 12)):
            rows = [
                dict(zip(fields, row, strict=True), label=number % 2)
                for number, row in enumerate(texts(name, size, size))
            ]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_base(folder: Path) -> None:
    """A tiny random BERT with the packaged encoder's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from tasksel.model.base import load_base

    tokenizer = AutoTokenizer.from_pretrained(load_base("minilm").path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=130, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_outside(folder: Path, base: Path) -> None:
    """An adapter with a head and no card, as plain `adapters` stores it."""
    import torch

    from tasksel.adapters.folder import save_adapter
    from tasksel.model.adapter_config import SEQ_BN
    from tasksel.model.base import load_base

    torch.manual_seed(0)
    model = load_base(str(base)).model()
    model.add_adapter("plain", {**SEQ_BN, "reduction_factor": 4})
    model.add_head(
        "plain",
        {
            "head_type": "classification",
            "num_labels": 2,
            "layers": 2,
            "activation_function": "tanh",
            "bias": True,
            "use_pooler": False,
            "dropout_prob": None,
            "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        },
    )
    save_adapter(model, folder, "plain")


def build_world(root: Path, pieces: Iterable[str] = tuple(BUILD)) -> Path:
    """The world in a folder, each piece made once, in a child."""
    root.mkdir(parents=True, exist_ok=True)
    _once(root, "tasks", lambda: write_tasks(root / "tasks"))
    _once(root, "small", lambda: _write_small_files(root))
    _once(root, "base", lambda: need(lambda: write_base(root / "base"), root))
    _once(root, "outside", lambda: need(lambda: write_outside(root / "outside", root / "base"), root))
    for piece in pieces:
        _once(root, piece, lambda piece=piece: _build(root, piece))
    return root


def _once(root: Path, piece: str, make: Callable[[], object]) -> None:
    """Makes a piece that is not whole yet; what a stopped making left is removed first."""
    mark = root / f"{piece}.whole"
    if not mark.is_file():
        shutil.rmtree(root / piece, ignore_errors=True)
        make()
        mark.touch()


def _build(root: Path, piece: str) -> None:
    for line in BUILD[piece]:
        need(lambda line=line: command(line), root)
    if piece == "embeddings":
        for path in (root / piece).glob("*-*.safetensors"):
            path.rename(path.with_name(path.name.split("-")[0] + ".safetensors"))  # a name without settings


def _write_small_files(root: Path) -> None:
    """Configurations, a data file and rows to predict."""
    for name, text in (("compare.yaml", COMPARE), ("matrix.yaml", MATRIX)):
        (root / name).write_text(text.format(base=root / "base"))
    lines = [f'"{row[0]}",{"yes" if number % 2 else "no"}\n' for number, row in enumerate(texts("reviews", 40, 1))]
    (root / "rows.csv").write_text("body,label\n" + "".join(lines))
    pairs = [{"first": a, "second": b, "label": number % 2} for number, (a, b) in enumerate(texts("claims", 6, 2))]
    (root / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))


def need(call: object, place: Path) -> None:
    """Makes a call in a child, and fails where it does.

    Raises:
        RuntimeError: with what it printed.
    """
    ended = attempt(call, place)  # type: ignore[arg-type]
    if ended.code != 0:
        raise RuntimeError(f"the world cannot be built: exit code {ended.code}\n{ended.out}{ended.err}")


def warm(root: Path) -> None:
    """Loads the base in this process, with an adapter on it, so that no child loads it again or imports what comes late."""
    from tasksel.model.adapter_config import SEQ_BN
    from tasksel.model.base import load_base

    base = load_base(str(root / "base"))
    base.tokenizer, base.fingerprint  # noqa: B018  both are kept
    base.model().add_adapter("any", SEQ_BN)


def place_of(root: Path, place: Path, *parts: str) -> Path:
    """A new folder with copies of some parts of the world; the base stays where it is and is linked."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "tmp").mkdir(parents=True)
    (place / "base").symlink_to(root / "base")
    (place / "tasks").symlink_to(root / "tasks")
    for part in parts:
        source = root / part
        (place / part).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place / part)
        else:
            shutil.copy2(source, place / part)
    return place
