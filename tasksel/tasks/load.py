"""From a task to the rows that are trained on and scored.

    rows -> Split (texts, labels) -> train | dev | test        `tasksel.model.encoding` makes token ids of them

`dev` is a seeded, stratified tenth of train, for choosing checkpoints; `test` is the public validation set and is only ever scored.
Rows of files above `SMALL`, and of a hub, are parsed once per content and then read from the cache (`tasksel.tasks.row_cache`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from tasksel.bounds import check_seed
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.builtin import builtin_rows
from tasksel.tasks.content import Stamp, content_hash, need_unchanged
from tasksel.tasks.data_cache import SMALL, cache_key, data_cache, kept_folder
from tasksel.tasks.data_files import ending_of, expand
from tasksel.tasks.draws import Draw, draw_rows, held_out_rows
from tasksel.tasks.draws import stratified as stratified
from tasksel.tasks.examples import Split
from tasksel.tasks.files import Row, iter_rows
from tasksel.tasks.hub import COMMIT, each_plain_row, held_commit, hub_data, hub_revision
from tasksel.tasks.mapped_rows import MappedRows
from tasksel.tasks.parsing import Reader, parse, parse_into, say_of
from tasksel.tasks.row_cache import KeptRows
from tasksel.tasks.splits import count_twins, is_compared, say_lost_classes, say_twins
from tasksel.tasks.task import FileSource, HubSource, Task

LONG = 20 * 2**20  # bytes of files whose parsing is said
PARSED = ("kind", "text", "label", "labels", "among", "choices", "num_choices", "explode", "chat")  # what decides rows
_said: set[str] = set()  # rows of which it has been said what was left out


@dataclass(frozen=True)
class Data:
    """A task's rows, split for training.

    Attributes:
        train: rows to learn from.
        dev: rows to choose the checkpoint by.
        test: the public validation set, only ever scored.
        more: other splits that are scored too, by name (MNLI's mismatched).

    >>> from tasksel.tasks.registry import get_task
    >>> data = load_data(get_task("sentiment_films"), rows=100)
    >>> len(data.train), len(data.dev), len(data.test)
    (90, 10, 200)
    """

    train: Split
    dev: Split
    test: Split
    more: dict[str, Split] = field(default_factory=dict)
    # where the fingerprint of these rows is kept; a copy, which may hold other rows, has none
    _kept: Callable[[Callable[[], str]], str] | None = field(init=False, default=None, repr=False, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every row of every split, wherever the rows are read from."""
        return self._kept(self._hash) if self._kept else self._hash()

    def _hash(self) -> str:
        """`value_hash` of the texts, choices and labels of all splits, without holding the text that is hashed."""
        digest = hashlib.sha256()
        for number, split in enumerate((self.train, self.dev, self.test, *self.more.values())):
            texts, choices, labels = map(_json_pieces, (split.texts, split.choices, split.labels.tolist()))
            for piece in chain(("[[" if number == 0 else ", [",), texts, (", ",), choices, (", ",), labels, ("]",)):
                digest.update(piece.encode(errors="surrogatepass"))
        digest.update(b"]")
        return digest.hexdigest()[:16]


def _json_pieces(items: Sequence[Any] | None) -> Iterator[str]:
    """The JSON text of a list, some thousands of items at a time."""
    if items is None:
        yield "null"
        return
    yield "["
    for start in range(0, len(items), 4_096):
        text = json.dumps([*items[start : start + 4_096]], ensure_ascii=False)
        yield (", " if start else "") + text[1:-1]
    yield "]"


def load_data(task: Task, *, rows: int | None = None, seed: int = 0) -> Data:
    """A task's splits.

    Args:
        rows: at most so many rows for train and dev together, by a seeded, stratified draw; a task with `draw.shots` ignores it.
        seed: of that draw, and of the dev rows.

    Raises:
        UserError: a missing column, an empty text, a label outside the label set (each with its place), a train split of one class,
            fewer shots than classes or more than rows.

    >>> from tasksel.tasks.registry import get_task
    >>> load_data(get_task("entail_travel"), rows=50, seed=1).train.texts[0][0].endswith(".")
    True
    """
    check_seed(seed)
    splits = read_splits(task)
    if "train" not in splits:
        raise UserError(f"task '{task.name}' has no train split, only {', '.join(splits) or 'test'}; name one")
    kept, made_of = _kept_rows(splits), ["draw", task.draw.model_dump(mode="json"), rows, seed]
    make = partial(draw_rows, task, {name: split.labels for name, split in splits.items()}, rows=rows, seed=seed)
    _say_twins(task, splits, kept)
    data = _drawn(splits, kept.draw(made_of, make) if kept else make())
    if kept:
        object.__setattr__(data, "_kept", partial(kept.fingerprint, made_of))
    say_lost_classes(task, data.train)
    return data


def _drawn(splits: dict[str, Split], draw: Draw) -> Data:
    """The rows of a draw."""
    train = splits["train"]
    test = splits.get("validation", train)
    more = {name: splits[name] if rows is None else splits[name].take(rows) for name, rows in draw.more.items()}
    return Data(train.take(draw.train), train.take(draw.dev), test if draw.test is None else test.take(draw.test), more)


def _kept_rows(splits: dict[str, Split]) -> KeptRows | None:
    """Where the rows lie in the cache, if they do."""
    texts = splits["train"].texts
    return KeptRows(texts.table.path.parent) if isinstance(texts, MappedRows) else None


def _say_twins(task: Task, splits: dict[str, Split], kept: KeptRows | None) -> None:
    """Says how many of the texts that are scored stand in train too."""
    if is_compared(task):
        return
    train, held_out = splits["train"], "validation" not in splits
    if kept:
        say_twins(task, kept.card["twins"], kept.card["scored"], held_out=held_out)
        return
    learned, test = held_out_rows(train.labels) if held_out else (None, None)
    scored = splits["validation"] if test is None else train.take(test)
    known = train if learned is None else train.take(learned)
    say_twins(task, count_twins(known, scored), len(scored), held_out=held_out)


def read_splits(task: Task) -> dict[str, Split]:
    """Every split that the task's source names, unshuffled and whole.

    Raises:
        UserError: see `load_data`.
    """
    if isinstance(task.source, HubSource):
        return _hub_splits(task)
    if isinstance(task.source, FileSource):
        return _file_splits(task, task.source)
    rows = builtin_rows(task.name, task.source.seed)
    return parse(task, {split: partial(_placed, task, split, partial(iter, rows[split])) for split in rows})


def _file_splits(task: Task, source: FileSource) -> dict[str, Split]:
    """Rows of files, small ones as they are, others from the cache."""
    paths = {split: expand(path) for split, path in source.files.items() if split != "test"}
    stamps = tuple(Stamp.of(file) for files in paths.values() for file in files)
    size = sum(stamp.size for stamp in stamps)
    if size < SMALL:
        return _parsed(task.model_dump_json(), stamps)
    contents = {split: [[ending_of(file), content_hash(file)] for file in files] for split, files in paths.items()}
    made_of = [contents, source.separator, source.encoding]
    kept = _kept_splits(task, made_of, lambda: _file_readers(source), stamps)
    return kept or _parsed(task.model_dump_json(), stamps)


def _kept_splits(
    task: Task, made_of: Any, readers: Callable[[], dict[str, Reader]], stamps: Sequence[Stamp] = ()
) -> dict[str, Split] | None:
    """Every split from the cache, where rows of this content are put if they are not there; None where they cannot be kept.

    Args:
        made_of: the content, and how it is read. readers: what reads it. stamps: of the files that hold it, which must not change meanwhile.
    """
    size = sum(stamp.size for stamp in stamps)
    key = cache_key([made_of, task.model_dump(mode="json", include=set(PARSED))])

    def write(folder: Path) -> dict[str, Any]:
        if size >= LONG:
            say(f"{task.name}: {size / 2**20:,.0f} MB of rows are read into the cache ({data_cache()})")
        said = parse_into(folder, task, readers())
        need_unchanged(stamps)
        return said

    folder = kept_folder(data_cache() / key, f"the rows of {task.name}", write)
    if folder is None:
        return None
    kept = KeptRows(folder)
    if key not in _said:
        say_of(task, kept.card)
    _said.add(key)
    return kept.splits()


@lru_cache(maxsize=2)  # the files of a target, which several stages read in turn; more would keep large data in memory
def _parsed(task_json: str, stamps: tuple[Stamp, ...]) -> dict[str, Split]:
    task = Task.model_validate_json(task_json)
    assert isinstance(task.source, FileSource)
    return parse(task, _file_readers(task.source))


def _file_readers(source: FileSource) -> dict[str, Reader]:
    """What reads the rows of each split."""
    options = {"separator": source.separator, "encoding": source.encoding}
    return {split: partial(iter_rows, path, **options) for split, path in source.files.items() if split != "test"}


def _hub_splits(task: Task) -> dict[str, Split]:
    """Rows of a hub's data set at a commit, from the cache."""
    assert isinstance(task.source, HubSource)
    commit = _commit(task.source.model_dump_json(), task.name)
    kept = None
    if COMMIT.fullmatch(commit):  # a cache of `datasets` 2 knows none
        made_of = task.source.model_copy(update={"revision": commit}).model_dump(mode="json")
        kept = _kept_splits(task, made_of, lambda: _hub_readers(task, commit))
    return kept or _hub_parsed(task.model_dump_json())


@lru_cache(maxsize=128)
def _commit(source_json: str, name: str) -> str:
    """The commit that a source stands for, asked for once per process."""
    return hub_revision(HubSource.model_validate_json(source_json), name=name)


@lru_cache(maxsize=8)
def _hub_parsed(task_json: str) -> dict[str, Split]:
    task = Task.model_validate_json(task_json)
    return parse(task, _hub_readers(task))


def _hub_readers(task: Task, commit: str | None = None) -> dict[str, Reader]:
    """What reads the rows of each split of a hub's data set, which must be the commit's."""
    assert isinstance(task.source, HubSource)
    label = task.label if isinstance(task.label, str) else None
    loaded = hub_data(task.source, name=task.name, label=label, labels=task.labels)
    if commit and held_commit(loaded) != commit:
        raise UserError(f"task '{task.name}': hub id '{task.source.path}' changed while it was read; run again")
    rows_of = {name: partial(each_plain_row, split, label=label, labels=task.labels) for name, split in loaded.items()}
    return {name: partial(_placed, task, name, rows) for name, rows in rows_of.items() if name != "test"}


def _placed(task: Task, split: str, rows: Callable[[], Iterable[dict[str, Any]]]) -> Iterator[Row]:
    """Rows that are not in a file, each with the place that an error message names."""
    return (Row(values, f"{task.name}/{split}:{n}") for n, values in enumerate(rows(), 1))
