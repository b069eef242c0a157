"""An index of task embeddings in faiss: one target is ranked against 100,000 tasks in one pass over memory.

    binary    1 - Hamming(a, b) / bits     rows [n, ceil(bits / 8)] uint8, packed     faiss.IndexBinaryFlat
    dense     <a, b> / (|a| |b|)           rows [n, width] float32, kept as units     faiss.IndexFlatIP

Exact, no approximation. A search costs reading the rows once, so it takes every distance, keeps no heap of the best k, and sees ties at the
k-th place too; they are ordered by name. A pattern counts all its bits, heads and neurons alike: the grouping "all" of `tasksel.embeddings.similarity`.

The rows are in memory once: 100,000 BERT-base patterns of 37,008 bits (4,626 bytes) are 463 MB. Building from files or loading needs no second
copy; building from an array needs memory beside the caller's; `add` to a filled index may need the old rows and twice as many for a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tasksel.embeddings.base import TaskEmbedding
from tasksel.errors import UserError, one_line, unknown
from tasksel.storage.atomic import file_hash, is_unused, read_json, whole_folder, write_json
from tasksel.storage.hashed import HASH, altered, without_hash, write_hashed
from tasksel.storage.locks import shared
from tasksel.storage.user_path import user_path

Kind = Literal["binary", "dense"]
GROUPS = ("heads", "neurons")  # a pattern's arrays, in the order in which their bits are joined
MUST_MATCH = ("key", "base_fingerprint", "sizes")  # what embeddings must share to be compared
CARD, NAMES, ROWS = "index.json", "names.json", "rows.faiss"
BLOCK = 1024  # rows brought to unit length at a time, so that no second copy of all is needed


class EmbeddingIndex:
    """Named rows of one kind, searched exactly; use it to rank one target against thousands of stored embeddings.

    Attributes:
        kind: "binary" or "dense". width: bits or numbers of a row. names: in the order in which they were added.
        provenance: what the embeddings share (method, key, base, base_fingerprint, sizes); empty if built from bare arrays.

    >>> pool = EmbeddingIndex.build(["rte", "sst2"], np.packbits([[1, 0, 1, 1], [0, 0, 0, 1]], axis=1), bits=4)
    >>> names, similarities = pool.nearest(np.packbits([1, 0, 1, 0]), 2)
    >>> names, similarities.tolist()
    (['rte', 'sst2'], [0.75, 0.25])
    """

    def __init__(self, kind: Kind, width: int, *, provenance: dict[str, Any] | None = None) -> None:
        if kind not in get_args(Kind):
            raise unknown("kind of index", kind, get_args(Kind))
        if width < 1:
            raise UserError(
                f"an index of width {width}: a row needs at least one {'bit' if kind == 'binary' else 'number'}"
            )
        self.kind, self.width, self.provenance = kind, width, provenance or {}
        self.names: list[str] = []
        faiss = _faiss()
        self._index = faiss.IndexBinaryFlat(8 * self.row_bytes) if kind == "binary" else faiss.IndexFlatIP(width)

    @classmethod
    def build(
        cls,
        names: Sequence[str],
        rows: np.ndarray,
        *,
        bits: int | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> EmbeddingIndex:
        """An index of rows, row i under names[i].

        Args:
            rows: packed uint8 [n, ceil(bits / 8)] for a binary index, floating [n, width] for a dense one.
            bits: of a binary row; by default all of it. The padding bits behind them are 0, as `numpy.packbits` leaves them.

        Raises:
            UserError: no rows, another dtype or shape, and whatever `add` refuses.
        """
        if len(names) == 0 or len(rows) == 0:
            raise UserError("the pool is empty: an index needs at least one embedding")
        if rows.ndim != 2 or not (rows.dtype == np.uint8 or np.issubdtype(rows.dtype, np.floating)):
            raise UserError(
                f"rows of {rows.dtype} {list(rows.shape)}: give packed bits, uint8 [n, bytes], or vectors, float32 [n, width]"
            )
        if rows.dtype != np.uint8 and bits is not None:
            raise UserError(f"bits={bits} for rows of {rows.dtype}: only packed uint8 rows have bits")
        width = rows.shape[1] if rows.dtype != np.uint8 else 8 * rows.shape[1] if bits is None else bits
        index = cls("binary" if rows.dtype == np.uint8 else "dense", width, provenance=provenance)
        index.add(names, rows)
        return index

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return -(-self.width // 8) if self.kind == "binary" else 4 * self.width

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.row_bytes

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        unit = "bits" if self.kind == "binary" else "numbers"
        by = " by {method} on {base}".format(**self.provenance) if self.provenance else ""
        return (
            f"EmbeddingIndex({len(self):,} tasks{by}, {self.kind}, {self.width:,} {unit} each, {self.nbytes:,} bytes)"
        )

    def add(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Adds rows, shaped as in `build`; all of them or, on an error, none.

        Raises:
            UserError: another number of names than rows, a duplicate name, rows of another dtype or width, bits set in the padding,
                a row with NaN or infinity, or a dense row of zeros, which has no direction.
        """
        if len(names) != len(rows):
            raise UserError(f"{len(names)} names for {len(rows)} rows: give one name per row")
        duplicates = [name for name, times in Counter([*self.names, *names]).items() if times > 1]
        if duplicates:
            raise UserError(
                f"{len(duplicates)} duplicate names in the pool, the first is '{duplicates[0]}': give every task its own name"
            )
        starts = range(0, len(rows), BLOCK)
        self._append(len(rows), (self._stored(rows[i : i + BLOCK], names[i : i + BLOCK]) for i in starts))
        self.names += names

    def nearest(self, query: np.ndarray | TaskEmbedding, k: int) -> tuple[list[str], np.ndarray]:
        """The k most similar tasks, best first; equal ones in the order of their names.

        Args:
            query: one row, uint8 [ceil(bits / 8)] or floating [width], or an embedding by the pool's method on its base.

        Returns:
            Names, and similarities as float64 [k].

        Raises:
            UserError: k outside 1 to the number of tasks; a query of another dtype, length, method or base.
        """
        if not 1 <= k <= len(self):
            raise UserError(f"k={k}, but {len(self)} tasks are in the pool: choose 1 to {len(self)}")
        similarities = self._similarities(query)
        kth = np.partition(similarities, len(self) - k)[len(self) - k]
        candidates = np.flatnonzero(similarities >= kth).tolist()  # k, and all that tie with the k-th
        candidates.sort(key=self.names.__getitem__)
        order = np.argsort(-similarities[candidates], kind="stable")  # stable: equal ones stay in the order of names
        best = np.array(candidates)[order[:k]]
        return [self.names[i] for i in best.tolist()], similarities[best]

    def rank_all(self, query: np.ndarray | TaskEmbedding) -> tuple[list[str], np.ndarray]:
        """Every task, best first: `nearest` with k as large as the pool."""
        return self.nearest(query, len(self))

    def save(self, folder: Path) -> None:
        """Writes rows (faiss's own file), names and a card with hashes as one folder, whole or not at all.

        Raises:
            UserError: the folder holds something else than an index.
        """
        folder = user_path(folder)
        if not is_unused(folder) and not (folder / CARD).is_file():
            raise UserError(f"{folder} exists and is no index: choose a new folder")
        faiss = _faiss()
        with whole_folder(folder) as new:
            as_bytes = faiss.serialize_index_binary if self.kind == "binary" else faiss.serialize_index
            (new / ROWS).write_bytes(as_bytes(self._index).tobytes())  # faiss itself prints what a full disk says
            write_json(new / NAMES, self.names)
            card = {"kind": self.kind, "width": self.width, "count": len(self), "made": self.provenance}
            card |= {"faiss": faiss.__version__, "files": {name: file_hash(new / name) for name in (NAMES, ROWS)}}
            write_hashed(new / CARD, card)

    @classmethod
    def load(cls, folder: Path) -> EmbeddingIndex:
        """Reads an index back.

        Raises:
            UserError: no index there, or a file of it that is missing, cut short or altered (named).
        """
        folder = user_path(folder)
        with shared(folder.parent):  # nobody replaces it meanwhile
            return cls._load(folder)

    @classmethod
    def _load(cls, folder: Path) -> EmbeddingIndex:
        if not folder.is_dir():
            raise UserError(f"no index at {folder}")
        card = _card(folder)
        for name, stored_hash in card["files"].items():
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is missing: build the index again")
            if file_hash(folder / name) != stored_hash:
                raise UserError(f"{folder / name} is cut short or altered: build the index again")
        index = cls(card["kind"], card["width"], provenance=card["made"])
        faiss = _faiss()
        try:
            read = faiss.read_index_binary if index.kind == "binary" else faiss.read_index
            index._index = read(str(folder / ROWS))
        except RuntimeError as error:
            raise UserError(
                f"{folder / ROWS}: faiss {faiss.__version__} cannot read what faiss {card['faiss']} wrote ({one_line(error)[:80]}): build the index again"
            ) from error
        index.names = read_json(folder / NAMES)
        return index

    def _similarities(self, query: np.ndarray | TaskEmbedding) -> np.ndarray:
        """The similarity of every row to the query, in the order of the names, float64 [n]."""
        if isinstance(query, TaskEmbedding):
            shared, task = _shared(query), query.provenance["task"]
            _check_match(self.provenance or shared, "the pool", shared, f"the query '{task}'")
            query = row_of(query)
        row = self._stored(np.asarray(query)[None], ["the query"])
        # a radius that includes every row: beyond all bits, and below any cosine
        reach = 8 * self.row_bytes + 1 if self.kind == "binary" else -2.0
        with _one_thread():
            _, values, ids = self._index.range_search(row, reach)
        similarities = np.empty(len(self))
        similarities[ids] = 1.0 - values.astype(np.float64) / self.width if self.kind == "binary" else values
        return similarities

    def _stored(self, rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Checked rows in the form that is indexed: packed bits unchanged, vectors as float32 of unit length."""
        binary = self.kind == "binary"
        shape = (len(names), self.row_bytes if binary else self.width)
        if rows.shape != shape or not (rows.dtype == np.uint8 if binary else np.issubdtype(rows.dtype, np.floating)):
            expected = (
                f"{self.width} bits, uint8 [{shape[1]}]" if binary else f"{self.width} numbers, float32 [{shape[1]}]"
            )
            raise UserError(
                f"'{names[0]}' is {rows.dtype} {list(rows.shape[1:])}, but a row of this index is {expected}"
            )
        if binary:
            padded = rows[:, -1] & ((1 << (8 * self.row_bytes - self.width)) - 1)
            if padded.any():
                name = names[int(padded.argmax())]
                raise UserError(
                    f"'{name}' has bits set behind its {self.width}: padding must be 0, as numpy.packbits leaves it"
                )
            return np.ascontiguousarray(rows)
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        for bad, what in ((~np.isfinite(lengths), "NaN or infinity"), (lengths == 0, "zeros only")):
            if bad.any():
                raise UserError(
                    f"'{names[int(bad.argmax())]}' holds {what}, so that it has no cosine: embed that task again"
                )
        return (rows / lengths).astype(np.float32)

    def _append(self, count: int, blocks: Iterable[np.ndarray]) -> None:
        """Writes stored rows, `count` in all, into faiss's own memory: its `add` would need all of them in one array beside it."""
        rows = self._index.xb if self.kind == "binary" else self._index.codes
        before = self._index.ntotal
        rows.resize((before + count) * self.row_bytes)
        space = _faiss().rev_swig_ptr(rows.data(), rows.size()).reshape(-1, self.row_bytes)
        try:
            at = before
            for block in blocks:
                space[at : at + len(block)] = block.view(np.uint8)
                at += len(block)
        except BaseException:
            rows.resize(before * self.row_bytes)
            raise
        self._index.ntotal = before + count


def build_from_files(paths: Sequence[Path]) -> EmbeddingIndex:
    """An index of stored task embeddings, each under its task's name; one file is in memory at a time.

    Raises:
        UserError: no files, one that is no whole embedding or of a form that has no single row, two of one task, or two of
            different settings, bases or lengths (both named).
    """
    if not paths:
        raise UserError("no embeddings to index: give at least one file")
    shared = _shared(TaskEmbedding.load(paths[0]))
    kind: Kind = "binary" if set(shared["sizes"]) == set(GROUPS) else "dense"
    index = EmbeddingIndex(kind, sum(shared["sizes"].values()), provenance=shared)
    path_of: dict[str, Path] = {}

    def rows() -> Iterator[np.ndarray]:
        for path in paths:
            embedding = TaskEmbedding.load(path)
            _check_match(shared, str(paths[0]), _shared(embedding), str(path))
            name = embedding.provenance["task"]
            if name in path_of:
                raise UserError(f"two embeddings of '{name}', {path_of[name]} and {path}: leave one out")
            path_of[name] = path
            yield index._stored(row_of(embedding)[None], [name])

    index._append(len(paths), rows())
    index.names = list(path_of)
    return index


def row_of(embedding: TaskEmbedding) -> np.ndarray:
    """An embedding as one row: a pattern's bits, heads then neurons, packed without a gap (uint8); or its `vector`.

    Raises:
        UserError: an embedding of another form.
    """
    arrays, sizes = embedding.arrays, _shared(embedding)["sizes"]
    if set(sizes) != set(GROUPS):
        return arrays["vector"]
    return np.packbits(np.concatenate([np.unpackbits(arrays[group], count=sizes[group]) for group in GROUPS]))


def _shared(embedding: TaskEmbedding) -> dict[str, Any]:
    """What an embedding must share with a pool's: method, key, base, and `sizes`: bits of each group, or the numbers of the vector."""
    provenance, arrays = embedding.provenance, embedding.arrays
    patterns = set(arrays) == set(GROUPS)
    fields = ("task", "method", "key", "base", "base_fingerprint", *(["bits"] if patterns else []))
    missing = [what for what in fields if what not in provenance]
    if missing:
        raise UserError(
            f"an embedding of '{provenance.get('task')}' does not record its {', '.join(missing)}: embed that task again"
        )
    if patterns:
        sizes = {group: provenance["bits"][group] for group in GROUPS}
        whole = all(arrays[group].shape == (-(-sizes[group] // 8),) for group in GROUPS)
    else:
        sizes = {name: array.size for name, array in arrays.items()}
        whole = set(arrays) == {"vector"} and arrays["vector"].ndim == 1
    if not whole:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
        raise UserError(
            f"the embedding of '{provenance['task']}' by {provenance['method']} holds {shapes}: an index takes patterns (packed heads and neurons) or one vector"
        )
    return {what: provenance[what] for what in ("method", "key", "base", "base_fingerprint")} | {"sizes": sizes}


def _check_match(a: dict[str, Any], name_a: str, b: dict[str, Any], name_b: str) -> None:
    """Refuses embeddings that cannot be compared."""
    for what in MUST_MATCH:
        if a[what] != b[what]:
            raise UserError(f"{name_a} and {name_b} differ in {what} ({a[what]}, {b[what]}): embed all alike")


def _card(folder: Path) -> dict[str, Any]:
    """The checked card of an index."""
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"{path} is missing: {folder} is no whole index; build it again")
    card = read_json(path)
    if not isinstance(card, dict) or HASH not in card:  # version 0.1 wrote it too
        raise altered(str(path))
    checked: dict[str, Any] = without_hash(card, str(path))
    return checked


@contextmanager
def _one_thread() -> Iterator[None]:
    """faiss shares out queries, not rows: with one query, more threads only wait (on busy cores 48 ms in a search of 0.1 ms)."""
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of the calling thread alone
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _faiss() -> Any:
    """faiss, which only large pools need."""
    try:
        import faiss
    except ImportError as error:
        raise UserError('a pool index needs faiss: pip install "scalearn[select]"') from error
    return faiss
