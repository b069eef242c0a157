"""Arguments that several commands take, each with its help; the commands of both packages share them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

Name = tyro.conf.Positional[str]
Names = tyro.conf.Positional[tuple[str, ...]]
Files = tyro.conf.Positional[tuple[Path, ...]]
Folder = tyro.conf.Positional[Path]
MatrixPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="matrix.jsonl, or the folder that holds it")]
By = Annotated[str, tyro.conf.arg(help="a selector; a+b fuses two (docs/reference/selectors.md lists them)")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", help="the selector's settings, as name=value")]
PoolFolder = Annotated[Path | None, tyro.conf.arg(name="pool", help="a pool of trained sources")]
BaseName = Annotated[
    str | None, tyro.conf.arg(name="base", help="alias, hub id or folder; by default that of the pool, or minilm")
]
StoredBase = Annotated[
    str | None,
    tyro.conf.arg(
        name="base", help="where the base lies now, if it was moved: alias, hub id or folder of the same weights"
    ),
]
CacheDir = Annotated[Path, tyro.conf.arg(help="the folder that keeps a target's embeddings and adapter")]
Data = Annotated[str | None, tyro.conf.arg(help="a folder of task folders, 'hub', or nothing for the built-in suite")]
Text = Annotated[tuple[str, ...], tyro.conf.arg(help="for a data file: the text column, or two for a pair")]
Label = Annotated[str, tyro.conf.arg(help="for a data file: the label column")]
Rows = Annotated[int | None, tyro.conf.arg(help="at most so many training rows (a seeded, stratified draw)")]
CACHE_DIR = Path("embeddings/.kept")
WAS_STORE = {"--store": "--cache-dir"}
