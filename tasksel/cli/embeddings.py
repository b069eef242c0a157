"""Commands about task embeddings: embed, index build, index nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from tasksel.cli.app import show
from tasksel.cli.arguments import NO_COLUMNS, By, Columns, Data, Files, Folder, Names, Rows, Settings
from tasksel.processes import is_main


def embed(
    tasks: Names, data: Data = None, by: By = "connectivity", settings: Settings = (), base: str = "minilm", rows: Rows = None, seed: int = 0,
    out_folder: Annotated[Path, tyro.conf.arg(name="out")] = Path("embeddings"), columns: Columns = NO_COLUMNS,
) -> None:  # fmt: skip
    """Embed tasks: one safetensors file per task.

    A selector that compares adapters trains one per task first.

    For example:
      tasksel embed entail_travel entail_kitchen
      tasksel embed rte mrpc --by fisher --data path/to/tasks --rows 1000
      tasksel embed rte --set co_train=true max_steps=40 --data path/to/tasks
    """
    from tasksel.embeddings.embedders import get_embedder
    from tasksel.model.base import load_base
    from tasksel.selection.candidate import TaskCandidate, TaskOnBase
    from tasksel.selection.selectors import parse_settings

    model, embedder = load_base(base), get_embedder(by, **parse_settings(settings))
    for task in columns.tasks(tasks, data=data):
        candidate = TaskCandidate(task, rows, seed, folder=out_folder / ".kept" / task.name)
        embedding = TaskOnBase(candidate, model).embedding(embedder)
        if is_main():
            path = out_folder / f"{task.name}-{embedder.key}-seed{seed}.safetensors"
            embedding.save(path)
            show(f"{embedding!r} -> {path}")


def index_build(
    files: Files, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the index's folder")]
) -> None:
    """Put stored embeddings into one index.

    They are connectivity patterns, or embeddings of one vector.

    Example: tasksel index build embeddings/*.safetensors --out my-index
    """
    from tasksel.embeddings.index import build_from_files

    index = build_from_files(files)
    index.save(out_folder)
    show(f"{index!r} -> {out_folder}")


def index_nearest(index: Folder, target: tyro.conf.Positional[Path], k: int | None = None) -> None:
    """Find the tasks of an index nearest to a stored embedding.

    By default 10, or all where there are fewer.

    Example: tasksel index nearest my-index embeddings/rte-connectivity-1a2b3c4d-seed0.safetensors --k 5
    """
    from tasksel.embeddings.base import TaskEmbedding
    from tasksel.embeddings.index import EmbeddingIndex
    from tasksel.selection.ranking import Ranking

    stored = EmbeddingIndex.load(index)
    embedding = TaskEmbedding.load(target)
    names, scores = stored.nearest(embedding, min(10, len(stored)) if k is None else k)[:2]
    task, provenance = embedding.provenance["task"], {"by": embedding.provenance["method"]}
    ranking = Ranking(task, tuple(names), tuple(map(float, scores)), provenance, "similarity")
    show(str(ranking))
