"""Which files a path stands for: one file, shards that a pattern matches, or those of a folder by split.

    reviews.csv, Reviews.CSV, reviews.jsonl.gz     one file
    data/train-*.jsonl                             its matches, sorted by name
    data/                                          train.csv or train-00000-of-00002.csv, validation..., or shards of one split
    saved/                                         what `datasets` saved to disk: a Dataset's .arrow files, a DatasetDict's by the folders of its splits

Relative paths in a task file are relative to that file.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.storage.user_files import MEGABYTES, whole_characters
from tasksel.storage.user_path import user_path
from tasksel.tasks.text_files import PACKINGS

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
ENDINGS = (*TEXT, ".parquet", ".arrow", ".feather")
ALLOWED = f"{', '.join(ENDINGS)}, the text files also packed ({', '.join(filter(None, PACKINGS))})"
SPLITS: dict[str, tuple[str, ...]] = {"train": ("train",), "validation": ("validation",), "test": ("test",)}
ALSO: dict[str, tuple[str, ...]] = {
    "train": ("training",),
    "validation": ("valid", "val", "dev"),
    "test": (),
}  # in a folder without task.json

SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")  # beside what `save_to_disk` of `datasets` wrote


def ending_of(path: str | Path) -> tuple[str, str] | None:
    """A data file's ending and packing, in small letters; None for another file.

    >>> ending_of("Reviews.CSV"), ending_of("reviews.jsonl.gz"), ending_of("reviews.xlsx")
    (('.csv', ''), ('.jsonl', '.gz'), None)
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    if suffixes and suffixes[-1] in ENDINGS:
        return suffixes[-1], ""
    if len(suffixes) == 2 and suffixes[1] in PACKINGS and suffixes[0] in TEXT:
        return suffixes[0], suffixes[1]
    return None


def is_pattern(path: str | Path) -> bool:
    """Whether a path is a pattern of shards: with `*`, `?` or `[`, and no file of that very name.

    >>> is_pattern("data/train-*.jsonl")
    True
    """
    return glob.has_magic(str(path)) and not Path(path).exists()


def expand(path: str | Path | Sequence[str]) -> list[Path]:
    """The files that a path, a pattern, a folder of shards or a list of those stands for, in order.

    Raises:
        UserError: nothing there, an ending that is not read, files of several kinds in a folder, or something that is no file.
    """
    if not isinstance(path, str | Path):
        return [file for part in path for file in expand(part)]
    path = user_path(path)
    try:
        if is_pattern(path):
            files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute ones too
            if not files:
                raise UserError(f"no file matches {path}")
        else:
            files = _shards(path) if path.is_dir() else [path]
        for file in files:
            _check(file)
    except OSError as error:
        raise UserError(f"{path!s:.300}: cannot be read ({error.strerror})") from error
    return files


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder by split, shards in order; empty where none is named after a split.

    Raises:
        UserError: a split in files of several endings.
    """
    splits: dict[str, list[Path]] = {}
    for stem, path in _named(folder):
        for split, own in SPLITS.items():
            names = own if (folder / "task.json").is_file() else (*own, *ALSO[split])
            if any(re.fullmatch(rf"{name}([-_]\d+(-of-\d+)?)?", stem) for name in names):
                splits.setdefault(split, []).append(path)
    for split, files in splits.items():
        endings = {ending_of(path) for path in files}
        stems = {path.name.split(".")[0] for path in files}
        if len(endings) > 1 or len(stems) < len(files):
            raise UserError(
                f"{folder}: several files for {split}: {', '.join(path.name for path in files[:8])}; leave one"
            )
        counts = {int(match[1]) for stem in stems if (match := re.search(r"-of-(\d+)$", stem))}
        if counts and counts != {len(files)}:
            raise UserError(f"{folder}: {len(files)} of {max(counts)} {split} shards are there; add the others")
    return splits


def _named(folder: Path) -> list[tuple[str, Path]]:
    """The data files of a folder by what may name their split: the file, or in a saved DatasetDict the folder that it lies in."""
    if (folder / SAVED[0]).is_file():
        return [(path.parent.name, path) for path in sorted(folder.glob("*/*.arrow"))]
    return [(path.name.split(".")[0].lower(), path) for path in _data_files(folder)]


def _data_files(folder: Path) -> list[Path]:
    beside = SAVED if any((folder / name).is_file() for name in (SAVED[0], SAVED[2])) else ()
    names = (path for path in folder.iterdir() if path.name[0] not in "._" and path.name not in beside)
    return sorted(path for path in names if ending_of(path) and path.is_file())


def _shards(folder: Path) -> list[Path]:
    """The training files of a folder, or all its files where none is named after a split."""
    splits = split_files(folder)
    if splits:
        if "train" not in splits:
            raise UserError(
                f"{folder}: no training file there, only {', '.join(splits)}; name one train.csv, for example"
            )
        return splits["train"]
    files = _data_files(folder)
    if not files:
        raise UserError(f"{folder}: a folder without a data file; allowed: {ALLOWED}")
    if len({ending_of(file) for file in files}) > 1:
        listed = ", ".join(file.name for file in files[:8])
        raise UserError(f"{folder}: files of several kinds ({listed}); name one of them, or a pattern (data/*.csv)")
    return files


def _check(path: Path) -> None:
    """Refuses what is no file, or has an ending that is not read, or a name that no stored task could hold."""
    if whole_characters(str(path)) != str(path):
        raise UserError(f"{whole_characters(str(path))}: the name of the file is not UTF-8; rename it")
    if not path.exists():
        siblings = [other.name for other in _data_files(path.parent)] if path.parent.is_dir() else []
        raise UserError(f"no file {path!s:.300}" + (f"; in that folder: {', '.join(siblings[:8])}" if siblings else ""))
    if ending_of(path) is None:
        kind = f"'{path.suffix}'" if path.suffix else "a file without an ending"
        raise UserError(f"{path}: cannot read {kind}; allowed: {ALLOWED}")
    if not path.is_file():
        raise UserError(f"{path}: not a file that can be read twice (a folder, pipe or device); store its rows in one")


def is_task_file(path: Path) -> bool:
    """Whether a `.json` file describes a task, and does not hold rows: a mapping with a `kind`, and a `source` or `metric`."""
    if path.suffix.lower() != ".json" or not path.is_file() or path.stat().st_size > MEGABYTES * 2**20:
        return False
    try:
        fields = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(fields, dict) and "kind" in fields and ("source" in fields or "metric" in fields)


def beside(described: Path, files: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """The files that a task file names, relative to it: absolute paths by split.

    Up to version 0.1 they were relative to the working directory: a path that is only there is still read, which is said.
    """

    def resolve(name: str) -> str:
        path, folder = user_path(name), described.resolve().parent
        place = folder / path
        if not path.is_absolute() and not _is_there(place) and _is_there(path):
            say(f"{described}: '{name}' is read from the working directory; write it relative to the task file")
            place = Path.cwd() / path
        return str(place)

    return {
        split: resolve(name) if isinstance(name, str) else tuple(map(resolve, name)) for split, name in files.items()
    }


def _is_there(path: Path) -> bool:
    return path.exists() or bool(glob.glob(str(path)))  # noqa: PTH207


def named_files(path: str | Path, validation: str | Path | None = None) -> dict[str, str | tuple[str, ...]]:
    """The files of a task by split, as absolute paths: of a folder whose files are named after splits, those splits.

    Raises:
        UserError: see `expand`.
    """
    folder = user_path(path)
    splits = split_files(folder) if folder.is_dir() else {}
    files = {"train": splits.get("train") or expand(path)}
    if validation is not None:
        files["validation"] = expand(validation)
    elif "validation" in splits:
        files["validation"] = splits["validation"]
    if "test" in splits:  # named, never read
        files["test"] = splits["test"]
    resolved = {split: tuple(str(file.resolve()) for file in paths) for split, paths in files.items()}
    return {split: paths[0] if len(paths) == 1 else paths for split, paths in resolved.items()}


def data_name(path: str | Path) -> str:
    """The name of a data file without its endings, of shards without their pattern, or of a folder.

    >>> data_name("data/Reviews.v2.csv.gz"), data_name("data/train-*.jsonl")
    ('Reviews.v2', 'train')
    """
    path = user_path(path)
    if path.is_dir():
        return path.resolve().name
    ending = "".join(ending_of(path) or ())
    return re.sub(r"\[.*?\]|[*?]", "", path.name[: len(path.name) - len(ending)]).strip("-_.") or "data"
