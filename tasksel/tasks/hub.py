"""Reads rows of data sets on the Hugging Face hub, or of the cache that an earlier load filled.

No code from the hub is ever run. A data set that still has a loading script is read from the Parquet branch that the
hub converted it to: `revision: refs/convert/parquet`, with `folder` the configuration's folder there. With no network the
cache serves what was loaded before. This is the only file that imports `datasets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasksel.errors import UserError, one_line, unknown
from tasksel.tasks.infer import class_names
from tasksel.tasks.row_sources import HubSource

if TYPE_CHECKING:  # `datasets` takes a second to import, and only rows of the hub need it
    from datasets import Dataset, DatasetDict

PARQUET_BRANCH = "refs/convert/parquet"
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 10.0  # seconds; ours
AT_A_TIME = 4_096  # rows


def hub_rows(
    source: HubSource, *, name: str, label: str | None = None, labels: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """The rows of every split in `source.splits`, by our name for the split.

    A class label is its index; a list of class labels is a list of names, which cannot be mistaken for a multi-hot list.
    With `label` and `labels`, the class labels of that column must be as many as `labels`; where they are the same
    names, and some are numbers (stars), they are returned as names, because an index could be mistaken for a name.

    >>> hub_rows(HubSource(path="nyu-mll/glue", config="rte"), name="rte")["train"][0]  # doctest: +SKIP

    Raises:
        UserError: no network and nothing in the cache, or no such data set, revision, folder, configuration or split;
            a data set that runs code; a pinned commit that the cache does not hold; another number of class labels.
    """
    loaded = hub_data(source, name=name, label=label, labels=labels)
    return {split: plain_rows(rows, label=label, labels=labels) for split, rows in loaded.items()}


def hub_data(
    source: HubSource, *, name: str, label: str | None = None, labels: Sequence[str] = ()
) -> dict[str, Dataset]:
    """`hub_rows` as data sets, which lie on the disk, by our name for the split.

    Raises:
        UserError: see `hub_rows`.
    """
    loaded = load_hub(source, name)
    for split in source.splits.values():
        if split not in loaded:
            raise unknown("split", split, loaded, f"task '{name}', hub id '{source.path}'")
    chosen = {split: loaded[hub_name] for split, hub_name in source.splits.items()}
    for rows in chosen.values():
        _check_labels(rows, source, name, label, labels)
    return chosen


def hub_revision(source: HubSource, *, name: str) -> str:
    """The commit that `source` stands for: what a branch points to now, or, with no network, what the cache holds.

    Raises:
        UserError: see `hub_rows`.
    """
    if source.revision and COMMIT.fullmatch(source.revision):
        return source.revision
    listing = _find(source, name)
    return listing.commit if listing else held_commit(load_hub(source, name))


@dataclass(frozen=True)
class _Listing:
    """What the hub lists of a data set: its commit now, and its files."""

    commit: str
    files: list[str]


def load_hub(source: HubSource, name: str) -> DatasetDict:
    """Every split of a data set; of `source.splits`, where `source.folder` picks one.

    Raises:
        UserError: see `hub_rows`.
    """
    import datasets
    from huggingface_hub.errors import HTTPError

    listing = _find(source, name)
    revision = listing.commit if listing else source.revision
    subset = _subset(source, listing, name)
    with _quiet(), _offline(listing is None):
        try:
            loaded = datasets.load_dataset(source.path, source.config, revision=revision, **subset)
        except (OSError, ValueError, RuntimeError, HTTPError, datasets.exceptions.DatasetsError) as error:
            raise _explained(error, source, name) from error
    cached = held_commit(loaded)
    # With no network the library serves any commit it has. A cache that `datasets` 2 wrote is named after no commit.
    comparable = listing is None or COMMIT.fullmatch(cached)
    if comparable and cached != revision and COMMIT.fullmatch(revision or ""):
        raise UserError(
            f"task '{name}': no network for hub id '{source.path}', and the cache holds commit {cached}, not {revision}; "
            "fill it on a machine that has a network"
        )
    return loaded


def _find(source: HubSource, name: str) -> _Listing | None:
    """What the hub lists of the data set; None where it does not answer: no network, or a fault of the hub.

    The hub is asked first, because the library by itself tries for minutes to reach the hub before it reads its cache,
    and after an error uses whatever the cache holds.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"task '{name}': hub id '{source.path}'"
    try:
        info = HfApi().dataset_info(source.path, revision=source.revision, timeout=TIMEOUT)
    except HFValidationError as error:
        raise UserError(f"{where} is not of the form owner/name") from error
    except GatedRepoError as error:
        raise UserError(f"{where} is gated: ask for access on its page, then log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{where} is not on the hub, or not open to you; check the id") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{where} has no revision '{source.revision}'; give a branch, a tag or a commit") from error
    except (OSError, HTTPError):  # newer clients' own is no OSError
        return None
    files = [file.rfilename for file in info.siblings or ()]
    if f"{source.path.split('/')[-1]}.py" in files:
        raise UserError(
            f"{where} runs code, which is never run here; use its Parquet branch: revision {PARQUET_BRANCH}, "
            "and `folder` for the configuration"
        )
    return _Listing(info.sha or "", files)


def _subset(source: HubSource, listing: _Listing | None, name: str) -> dict[str, Any]:
    """The options of `load_dataset` that pick the files of `source.folder`, in the two layouts that the Parquet branch has had.

    The library names the cache of picked files after their addresses, which are not known without a network. So they are
    cached under a name of ours: passed as such when they are fetched, built from the same keywords when they are read.
    """
    from datasets import BuilderConfig

    if source.folder is None:
        return {}
    hub_splits = sorted(set(source.splits.values()))
    keywords = {"folder": source.folder, "splits": " ".join(hub_splits)}
    if listing is None:
        return keywords
    layout = re.compile(re.escape(source.folder) + r"/(?:(?P<newer>[^/]+)/[^/]+|[^/]*-(?P<older>[^/-]+))\.parquet")
    files: dict[str, list[str]] = {}
    for file in listing.files:
        if match := layout.fullmatch(file):
            files.setdefault(match["newer"] or match["older"], []).append(file)
    hint = f"task '{name}', hub id '{source.path}'"
    if not files:
        raise unknown("folder", source.folder, {file.split("/")[0] for file in listing.files if "/" in file}, hint)
    for split in hub_splits:
        if split not in files:
            raise unknown("split", split, files, hint)
    picked = {split: files[split] for split in hub_splits}
    return {"data_files": picked, "config_id": BuilderConfig("default").create_config_id(keywords)}


def held_commit(loaded: Mapping[str, Dataset]) -> str:
    """The commit under which the cache keeps a data set: `.../<config>/<version>/<commit>/<split>.arrow`."""
    return next(Path(file["filename"]).parent.name for split in loaded.values() for file in split.cache_files)


def _explained(error: Exception, source: HubSource, name: str) -> UserError:
    """The library's error as a line for the user, with what to do about it."""
    message = one_line(error)
    if missing := re.search(r"BuilderConfig '(.*?)' not found. Available: \[(.*)\]", message):
        known = re.findall(r"'(.*?)'", missing[2])
        return unknown("config", missing[1], known, f"task '{name}', hub id '{source.path}'")
    if isinstance(error, ConnectionError) or "Couldn't find cache" in message:
        return UserError(
            f"task '{name}': no network for hub id '{source.path}': "
            "give a local folder with --data, or fill the cache on a machine that has one"
        )
    pinned = f" at revision '{source.revision}'" if source.revision else ""
    return UserError(
        f"task '{name}': hub id '{source.path}'{pinned} could not be read ({type(error).__name__}: {message})"
    )


def _check_labels(split: Dataset, source: HubSource, name: str, label: str | None, labels: Sequence[str]) -> None:
    names = class_names(split.features.get(label)) if label and labels else None
    if names is not None and len(names) != len(labels):
        raise UserError(
            f"task '{name}': {len(labels)} label names {list(labels)}, "
            f"but column '{label}' of hub id '{source.path}' has {len(names)}: {list(names)}"
        )


def plain_rows(split: Dataset, *, label: str | None = None, labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows as dictionaries of plain values, lists of class labels as lists of names; `label` and `labels` as in `hub_rows`."""
    rows: list[dict[str, Any]] = split.to_list()
    for column, feature in split.features.items():
        names = class_names(feature)
        if names is None:
            continue
        if hasattr(feature, "feature"):
            for row in rows:
                row[column] = [names[index] for index in row[column] or ()]
        elif column == label and names == tuple(labels) and any(name.lstrip("-").isdecimal() for name in names):
            name_of = dict(enumerate(names))
            for row in rows:
                row[column] = name_of.get(row[column])
    return rows


def each_plain_row(split: Dataset, *, label: str | None = None, labels: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """`plain_rows`, of which some thousands are in memory at a time."""
    for start in range(0, len(split), AT_A_TIME):
        yield from plain_rows(
            split.select(range(start, min(start + AT_A_TIME, len(split)))), label=label, labels=labels
        )


@contextmanager
def _offline(unreachable: bool) -> Iterator[None]:
    """The library's own offline mode within the block, where the hub did not answer."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = unreachable
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines of `datasets` and its hub client within the block."""
    import datasets
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    loggers = (datasets.utils.logging, hub_logging)
    levels = [logger.get_verbosity() for logger in loggers]
    bars = not datasets.utils.are_progress_bars_disabled(), not are_progress_bars_disabled()
    datasets.disable_progress_bars()
    disable_progress_bars()
    for logger in loggers:
        logger.set_verbosity_error()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if bars[0]:
            datasets.enable_progress_bars()
        if bars[1]:
            enable_progress_bars()
