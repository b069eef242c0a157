"""A pool: a folder of source adapters for one base model, all bottlenecks or all LoRAs, each in its library's own format beside a card.

    pool/<name>/adapter_config.json, adapter.safetensors      a bottleneck, as the `adapters` library has it
    pool/<name>/adapter_config.json, adapter_model.safetensors      a LoRA, as PEFT has it
    pool/<name>/head_config.json, model_head.safetensors      the `adapters` library's (where a head was trained)
    pool/<name>/card.json                                     base, task, rows, settings, scores, versions, a hash of every file
    pool/<name>/embeddings/*.safetensors                      task embeddings, made when first asked for

An entry appears all at once; a folder without a card is not an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasksel.adapters.bottleneck import Bottlenecks, read_bottlenecks
from tasksel.adapters.card import FILE, Card, entry_name, read_card
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import CONFIG, HEAD, WEIGHTS, save_adapter, weights_name
from tasksel.adapters.importing import load_outside_adapter
from tasksel.adapters.kind import KINDS, Kind, kind_of
from tasksel.adapters.lora_folder import StoredLora, read_lora
from tasksel.errors import UserError, unknown
from tasksel.model.base import Base, describe, load_base
from tasksel.model.pooling import Pooling
from tasksel.model.stored_base import is_gone, stored_base
from tasksel.storage.atomic import PARTIAL, file_hash, read_json, whole_folder
from tasksel.storage.hashed import write_hashed
from tasksel.storage.locks import shared
from tasksel.storage.provenance import versions
from tasksel.storage.user_path import user_path
from tasksel.tasks.load import load_data
from tasksel.tasks.task import Task
from tasksel.training.exclusive import exclusive


@dataclass(frozen=True)
class Source:
    """One source adapter of a pool, every file of which can be checked: a `tasksel.selection.candidate.Candidate`.

    Attributes:
        moved_task: its task, where the caller says that its data lies elsewhere now than the card has it.

    >>> source = AdapterPool("pools/mine")["rte"]  # doctest: +SKIP
    >>> source.card.scores  # doctest: +SKIP
    {'dev': 0.61, 'accuracy': 0.58}
    """

    folder: Path
    card: Card
    moved_task: Task | None = None

    @property
    def name(self) -> str:
        """The name of its folder, which a user may change."""
        return self.folder.name

    @property
    def task(self) -> Task | None:
        """The task it was trained on, where that is known."""
        return self.moved_task or self.card.task

    @property
    def rows(self) -> int | None:
        """The cap on the rows it was trained on."""
        return self.card.rows

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return self.card.seed

    @property
    def data(self) -> str | None:
        """The fingerprint of the rows it was trained on."""
        return self.card.data

    @property
    def fingerprint(self) -> str:
        """The hash of its weights."""
        return self.card.files[weights_name(self.card.files)][:16]

    @property
    def kind(self) -> Kind:
        """Whether it is a bottleneck or a LoRA."""
        return "bottleneck" if WEIGHTS in self.card.files else "lora"

    @property
    def pooling(self) -> Pooling | None:
        """What its head reads of a text's tokens; None without a head."""
        return self.card.pooling or ("first" if HEAD in self.card.files else None)

    @cached_property
    def trained(self) -> AdapterCheckpoint:
        """Its adapter and head, as `tasksel` runs and compares them."""
        with shared(self.folder.parent):
            self.verify()
        return AdapterCheckpoint(self.folder, self.card.adapter)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its adapter configuration, with the keys of its library."""
        stored: dict[str, Any] = read_json(self.folder / CONFIG)
        return stored if self.kind == "lora" else stored["config"]

    def lora(self) -> StoredLora:
        """Its LoRA: A and B by the path of their module in the encoder, ranks and alphas.

        Raises:
            UserError: a file that was altered, cut short or lost.
        """
        with shared(self.folder.parent):  # no other process replaces it between the check and the reading
            self.verify()
            return read_lora(self.folder, origin=f"source '{self.name}'")

    def bottlenecks(self) -> dict[str, Bottlenecks]:
        """Its projections [1, r, d] by the module path of their slot.

        Raises:
            UserError: a file that was altered, cut short or lost; an adapter of a form that cannot be folded (named).
        """
        with shared(self.folder.parent):  # no other process replaces it between the check and the reading
            self.verify()
            return read_bottlenecks(
                self.folder / WEIGHTS, self.card.adapter, self.config, owner=f"source '{self.name}'"
            )

    def check_base(self, base: Base) -> None:
        """Refuses a source of another base.

        Raises:
            UserError: with both bases.
        """
        trained_on = self.card.base
        if trained_on.get("fingerprint") != base.fingerprint:
            raise UserError(
                f"source '{self.name}' in {self.folder.parent} was trained on base '{trained_on.get('name')}' ({trained_on.get('fingerprint')}), "
                f"not on '{base.name}' ({base.fingerprint}): use that base, or another pool"
            )

    def verify(self) -> None:
        """Compares every file with its hash.

        Raises:
            UserError: a missing, truncated or altered file, by name.
        """
        for name, expected in self.card.files.items():
            path = self.folder / name
            if not path.is_file():
                raise UserError(f"source '{self.name}': {path} is missing; train or add it again")
            if file_hash(path) != expected:
                if read_card(self.folder / FILE) != self.card:
                    raise UserError(f"source '{self.name}' in {self.folder.parent} was replaced meanwhile; run again")
                raise UserError(
                    f"source '{self.name}': {path} is not the file that was stored (cut short or altered); train or add it again"
                )

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.card.scores.items())
        return f"Source({self.name!r}: {scores or self.card.origin})"


def cards_in(folder: Path) -> list[Path]:
    """The cards of a pool in name order; what is still being written is none of it."""
    return [path for path in sorted(folder.glob(f"*/{FILE}")) if not path.parent.name.startswith(PARTIAL)]


class AdapterPool:
    """Source adapters by name, in a folder.

    Iterating gives the sources in name order. The folder is made when the first adapter is stored.

    Args:
        folder: where the pool lies.
        base: alias, hub id or folder of the base model, or the model; by default the one its adapters were trained on, loaded when it is first
            needed.
        tasks: by source name, tasks whose data lies elsewhere now than a card says.

    >>> pool = AdapterPool("pools/mine", base="minilm")  # doctest: +SKIP
    >>> pool.names, pool.select(["rte", "mrpc"])  # doctest: +SKIP

    Raises:
        UserError: the pool belongs to another base model; a card that cannot be read.
    """

    def __init__(
        self, folder: str | Path, *, base: str | Base | None = None, tasks: Mapping[str, Task] | None = None
    ) -> None:
        self.folder, self._tasks = user_path(folder), dict(tasks or {})
        self._base = base
        self._read()
        if base is None and not self._sources:
            raise UserError(
                f"no pool at {self.folder}: name its base model to begin one (base='minilm', a hub id or a folder)"
            )
        self._check_one_base()
        if base is not None:
            self._load(base)

    @property
    def base_record(self) -> dict[str, str]:
        """Name and fingerprint of the base, as the cards have it; the base is not loaded where there are cards."""
        records = [source.card.base for source in self]
        there = (record for record in records if not is_gone(record.get("name", "")))
        return next(there, records[0]) if records else describe(self.base)

    @cached_property
    def base(self) -> Base:
        """The base model.

        Raises:
            UserError: it is gone, or has other weights.
        """
        if self._base is not None:
            return self._load(self._base)
        return stored_base(self.base_record, owner=f"pool {self.folder}", near=self.folder)

    def _load(self, base: str | Base) -> Base:
        """The base, if every source was trained on it."""
        loaded = base if isinstance(base, Base) else load_base(base)
        for source in self:
            source.check_base(loaded)
        return loaded

    def _check_one_base(self) -> None:
        """Refuses sources of several bases or kinds."""
        first = next(iter(self), None)
        for source in self:
            first_base, own_base = first.card.base if first else {}, source.card.base
            if first and first.kind != source.kind:
                raise UserError(
                    f"source '{source.name}' in {self.folder} is of {KINDS[source.kind]}, '{first.name}' of {KINDS[first.kind]}: "
                    "a pool is of one kind; move one of them to another pool"
                )
            if first and first_base.get("fingerprint") != own_base.get("fingerprint"):
                raise UserError(
                    f"source '{source.name}' in {self.folder} was trained on base '{own_base.get('name')}' ({own_base.get('fingerprint')}), "
                    f"'{first.name}' on '{first_base.get('name')}' ({first_base.get('fingerprint')}): a pool is of one base; move one of them to another pool"
                )

    @property
    def kind(self) -> Kind | None:
        """Whether its sources are bottlenecks or LoRAs; None of an empty pool."""
        return next((source.kind for source in self), None)

    def check_kind(self, kind: Kind) -> None:
        """Refuses a source of another kind than the pool's.

        Raises:
            UserError: with both kinds.

        >>> pool.check_kind("lora")  # doctest: +SKIP
        """
        if self.kind not in (None, kind):
            raise UserError(
                f"the pool {self.folder} holds {KINDS[self.kind]}, and this is of {KINDS[kind]}: a pool is of one kind; choose another pool"
            )

    def _read(self) -> None:
        with shared(self.folder):
            cards = {path.parent.name: path for path in cards_in(self.folder)}
            self._sources = {
                name: Source(path.parent, read_card(path), self._tasks.get(name)) for name, path in cards.items()
            }

    def __getitem__(self, name: str) -> Source:
        if name not in self._sources:
            raise unknown("source", name, self._sources, f"pool: {self.folder}")
        return self._sources[name]

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources.values())

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def names(self) -> list[str]:
        """The sources' names."""
        return list(self._sources)

    def select(self, names: Iterable[str]) -> list[Source]:
        """These sources, in this order.

        Raises:
            UserError: an unknown name (with the nearest one), a name given twice.
        """
        chosen = list(names)
        twice = sorted({name for name in chosen if chosen.count(name) > 1})
        if twice:
            raise UserError(f"source '{twice[0]}' is chosen more than once")
        return [self[name] for name in chosen]

    def add(
        self,
        origin: str | Path,
        *,
        name: str | None = None,
        task: Task | None = None,
        rows: int | None = None,
        same_base: bool = False,
    ) -> Source:
        """Adds an adapter that was trained elsewhere with plain `adapters` or PEFT, from a folder or a hub id; it is checked, and saved anew.

        Args:
            name: the entry's name, by default the adapter's own; of several adapters in a folder, the one to add.
            task: what it was trained on, so that selectors that read rows can rank it. Of weights that were added without it, it is put on their card.
            rows: at most so many of the task's training rows.
            same_base: you know that it was trained on the pool's base though its file names another.

        >>> pool.add("path/to/adapter", task=get_task("rte", data="path/to/tasks"))  # doctest: +SKIP

        Raises:
            UserError: another base, width or kind of adapter; no weights, or a .bin that holds more than tensors; a value or weight that is wrong
                (named); several adapters and no name; a name that is taken.
        """
        wanted = name or (task.name if task else None)
        if wanted and not (task and self._lacks_task(wanted)):
            self._need_new(entry_name(wanted))  # before anything is loaded
        outside = load_outside_adapter(origin, self.base, same_base=same_base, name=name)
        self.check_kind(kind_of(outside.model.adapter_configs[outside.adapter]))
        held = next(
            (source.name for source in self if source.card.key == outside.key and source.card.task is None), None
        )
        name = held if task and held and name in (None, held) else entry_name(wanted or outside.name)
        card: dict[str, Any] = {"key": outside.key, "task": task, "rows": rows}
        card["data"] = load_data(task, rows=rows).fingerprint if task else None
        place = "" if outside.place == "." else f" ({outside.place})"
        with exclusive(self.folder / name):
            self.reread()  # another process may have added one of that name meanwhile
            if not (task and self._lacks_task(name) and self[name].card.key == outside.key):
                self._need_new(name)
            return self.store(outside.model, outside.adapter, name=name, origin=f"added from {origin}{place}", **card)

    def _lacks_task(self, name: str) -> bool:
        """Whether an entry of this name was added without its task, which may still be said."""
        return name in self and self[name].card.task is None

    def _need_new(self, name: str) -> None:
        if name in self:
            raise UserError(f"the pool already holds '{name}'; give another name (--name)")

    def store(self, model: Any, adapter: str, **card: Any) -> Source:
        """Saves an adapter of `model`, and the head of its name, as an entry; one of that name is replaced.

        Only the main process of a launch may call it. `card` are the fields of `Card`.

        Raises:
            UserError: a name that cannot name a folder.
        """
        name = entry_name(card["name"])
        with whole_folder(self.folder / name) as partial:
            save_adapter(model, partial, adapter)
            files = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
            card["pooling"] = model.heads[adapter].pooling if adapter in model.heads else None
            stored_card = Card(base=describe(self.base), adapter=adapter, versions=versions(), files=files, **card)
            write_hashed(partial / FILE, stored_card.model_dump(mode="json"))
        self._read()  # in name order, as every other process of a launch reads it
        return self[name]

    def reread(self) -> None:
        """Looks at the folder again (another process may have written)."""
        self._read()

    def verify(self) -> None:
        """Checks every file of every entry against its hash.

        Raises:
            UserError: the first file that is missing or altered.
        """
        for source in self:
            source.verify()

    def __repr__(self) -> str:
        base = self.base_record.get("name") if self._sources else self.base.name
        return f"AdapterPool({str(self.folder)!r}, base={base!r}: {', '.join(self._sources) or 'empty'})"


def pool_sources(folder: Path, base: Base, *, tasks: Mapping[str, Task] | None = None) -> list[Source]:
    """The sources of a pool that must have some, in name order; see `AdapterPool`.

    Raises:
        UserError: no source there, a card that cannot be read, a source of another base.
    """
    sources = list(AdapterPool(folder, base=base, tasks=tasks))
    if not sources:
        raise UserError(f"no sources in {folder}: a pool has a folder with a card.json for each (scalearn pool ls)")
    return sources
