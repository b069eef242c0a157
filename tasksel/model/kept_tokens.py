"""Token ids of a task's rows: made for all rows of a large file once, and kept beside them in the cache, so that every draw shares them.

    ids, types   lists of lists of integers: a row's sequences       cut, cut_answers   whether tokens were cut off
                                                                     answers            tokens that are the answer's

A draw of few rows is not worth the tokens of all: it has its own, in memory. Kept tokens are found by the rows, the tokenizer and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tokenizers

from tasksel.display.progress import bar
from tasksel.model.token_rows import Block, Rows, TokenRows, taken
from tasksel.storage.atomic import value_hash
from tasksel.tasks.data_cache import cache_key, is_whole, kept_folder
from tasksel.tasks.examples import Split
from tasksel.tasks.mapped_rows import MappedRows, MappedTable, write_batches
from tasksel.tasks.row_cache import whole_split

SHARE = 4  # a split of at least a quarter of a file's rows is worth the tokens of all
AT_ONCE = 4_096  # rows whose tokens are lists
FILE = "tokens.arrow"
SETTINGS = (
    "between_texts", "pad_token_id", "eos_token_id", "padding_side", "truncation_side", "model_input_names", "chat_template",
    "split_special_tokens",
)  # fmt: skip
Flags = Sequence[bool] | np.ndarray
_keys: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class Tokens:
    """Token ids of rows, and by row whether some were cut off; of prompts the length of their answers too."""

    ids: Rows
    types: Rows | None
    cut: Flags
    answers: Sequence[int] | np.ndarray | None = None
    cut_answers: Flags | None = None

    def take(self, rows: np.ndarray) -> Tokens:
        """Those of the rows of these numbers."""
        types = None if self.types is None else taken(self.types, rows)
        flat = (None if part is None else np.asarray(part)[rows] for part in (self.cut, self.answers, self.cut_answers))
        return Tokens(taken(self.ids, rows), types, *flat)  # type: ignore[arg-type]


Tokenize = Callable[[Split], Tokens]


def tokens_of(split: Split, tokenize: Tokenize, *, tokenizer: Any, settings: Any, name: str) -> Tokens:
    """The token ids of a split's rows: those of a mapped file from the cache, of few rows as lists, of many as arrays.

    Args:
        tokenize: makes them. settings: what decides them beside rows and tokenizer. name: the task's, for messages.
    """
    if isinstance(split.texts, MappedRows) and _is_whole_rows(split, split.texts):
        kept = _kept(split.texts, tokenize, tokenizer, settings, name)
        if kept is not None:
            return kept
    if len(split) <= AT_ONCE:
        return tokenize(split)
    starts = range(0, len(split), AT_ONCE)
    return _whole([_as_arrays(tokenize(split.take(range(i, min(i + AT_ONCE, len(split)))))) for i in starts])


def _is_whole_rows(split: Split, texts: MappedRows[Any]) -> bool:
    """Whether a split's rows are the table's, with their choices and target texts, and not texts that something else was put beside."""
    if (split.choices is not None) != ("choices" in texts.table.columns):
        return False
    return split.labels.dtype != object or np.array_equal(split.labels, texts.table.labels[texts.rows])


def _kept(texts: MappedRows[Any], tokenize: Tokenize, tokenizer: Any, settings: Any, name: str) -> Tokens | None:
    """The tokens of a file's rows in the cache, which are made if these rows are many of them; else None."""
    table, key = texts.table, tokenizer_key(tokenizer)
    if key is None:
        return None
    place = table.path.parent / f"tokens-{table.path.stem}-{cache_key([key, settings])}"
    if not is_whole(place) and len(texts) * SHARE < table.starts[-1]:
        return None

    def write(folder: Path) -> dict[str, Any]:
        return _write(folder, table, tokenize, tokenizer, name)

    if kept_folder(place, f"the token ids of {name}", write) is None:
        return None
    stat = (place / FILE).stat()
    return _open(place / FILE, stat.st_ino, stat.st_mtime_ns).take(texts.rows)


def _write(folder: Path, table: MappedTable, tokenize: Tokenize, tokenizer: Any, name: str) -> dict[str, Any]:
    whole, ends = whole_split(table), table.starts
    of_ids = np.uint16 if max(tokenizer.get_vocab().values()) < 2**16 else np.int32

    def batches() -> Iterator[Any]:
        with bar(f"token ids of {name}", len(ends) - 1) as advance:
            for start, end in pairwise(ends):
                yield _batch(_as_arrays(tokenize(whole.take(range(start, end)))), of_ids)
                advance("")

    return {"rows": write_batches(folder / FILE, batches())}


def _batch(tokens: Tokens, of_ids: type[np.integer[Any]]) -> Any:
    """A record batch of the arrays of some rows, with ids of this type; types are small numbers."""
    import pyarrow as pa

    columns: dict[str, tuple[Rows | None, type[np.integer[Any]]]]
    columns = {"ids": (tokens.ids, of_ids), "types": (tokens.types, np.int8)}
    arrays = {name: _nested(rows.blocks[0], of) for name, (rows, of) in columns.items() if isinstance(rows, TokenRows)}
    flat = {"cut": tokens.cut, "answers": tokens.answers, "cut_answers": tokens.cut_answers}
    arrays |= {name: pa.array(np.asarray(part)) for name, part in flat.items() if part is not None}
    return pa.RecordBatch.from_pydict(arrays)


def _nested(block: Block, dtype: type[np.integer[Any]]) -> Any:
    import pyarrow as pa

    sequences = pa.ListArray.from_arrays(pa.array(block.sequences), pa.array(block.tokens.astype(dtype)))
    return pa.ListArray.from_arrays(pa.array(block.rows), sequences)


@lru_cache(maxsize=32)
def _open(path: Path, inode: int, written: int) -> Tokens:
    """The tokens of a whole file, mapped; the parts that are one number a row are in memory."""
    columns = MappedTable(path).columns

    def rows(name: str) -> TokenRows:
        lists = columns[name]
        return TokenRows(tuple(
            Block(rows.offsets.to_numpy(), rows.values.offsets.to_numpy(), rows.values.values.to_numpy()) for rows in lists
        ))  # fmt: skip

    def flat(name: str) -> np.ndarray | None:
        if name not in columns:
            return None
        return np.concatenate([array.to_numpy(zero_copy_only=False) for array in columns[name]])

    cut = flat("cut")
    assert cut is not None
    return Tokens(rows("ids"), rows("types") if "types" in columns else None, cut, flat("answers"), flat("cut_answers"))


def _as_arrays(tokens: Tokens) -> Tokens:
    """The same, with a block in place of lists."""
    ids, types = (None if rows is None else TokenRows((Block.of(rows),)) for rows in (tokens.ids, tokens.types))
    assert ids is not None
    return replace(tokens, ids=ids, types=types)


def _whole(pieces: list[Tokens]) -> Tokens:
    """The tokens of pieces, one after the other."""

    def blocks(parts: Iterable[Any]) -> TokenRows | None:
        rows = list(parts)
        return None if rows[0] is None else TokenRows(tuple(block for piece in rows for block in piece.blocks))

    def flat(parts: Iterable[Any]) -> np.ndarray | None:
        arrays = list(parts)
        return None if arrays[0] is None else np.concatenate(arrays)

    ids, cut = blocks(piece.ids for piece in pieces), flat(piece.cut for piece in pieces)
    assert ids is not None
    assert cut is not None
    answers, cut_answers = flat(piece.answers for piece in pieces), flat(piece.cut_answers for piece in pieces)
    return Tokens(ids, blocks(piece.types for piece in pieces), cut, answers, cut_answers)


def tokenizer_key(tokenizer: Any) -> str | None:
    """16 hex digits of all that decides a tokenizer's ids; None of one that does not say it, whose tokens are not kept."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    if tokenizer not in _keys:
        state = {**json.loads(backend.to_str()), "truncation": None, "padding": None}  # those two are set by each call
        settings = {name: getattr(tokenizer, name, None) for name in SETTINGS}
        _keys[tokenizer] = value_hash([type(tokenizer).__name__, tokenizers.__version__, state, settings])
    return _keys[tokenizer]
