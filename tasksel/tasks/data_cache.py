"""The cache of parsed rows and token ids in the user's cache: folders and values that are made once, whole or absent, and made anew where damaged.

    <cache>/data/<key>/card.json                   the rows of each split, and the size and hash of each file
                       train.arrow, …              texts and labels (`tasksel.tasks.mapped_rows`)
                       draws/<key>.npz, .json      the row numbers of a draw; the fingerprint of its rows
                       tokens-<split>-<key>/       token ids (`tasksel.model.kept_tokens`)
    <cache>/data/shapes/<key>.json                 what was inferred of a file: a task's kind, its label names
    <cache>/data/files/<key>.json                  the hash of a file's content (`tasksel.tasks.content`)

A key holds the content, the options by which it was read, and the version of this package: another version makes entries of its own. All of it
can be made again, and is where it is gone, damaged or of another version; what cannot be written is done without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasksel.display.progress import say, say_once
from tasksel.errors import UserError, one_line
from tasksel.storage.atomic import file_hash, value_hash, whole_folder
from tasksel.storage.hashed import read_hashed, write_hashed
from tasksel.storage.locks import waiting_lock
from tasksel.tasks.stored_rows import cache_root

SMALL = 2**18  # bytes of files that are read sooner than they are looked up here
LAYOUT = 1  # of the files here; raised when they, or how rows are parsed, change
CARD = "card.json"
_unkept: set[Path] = set()  # entries that could not be written, in this process


def data_cache() -> Path:
    """Where parsed rows and token ids are kept: the folder `data` of the cache."""
    return cache_root() / "data"


def cache_key(made_of: Any) -> str:
    """A key of what is kept: of what it is made of, the layout and the version."""
    return value_hash([LAYOUT, version("scalearn"), made_of])


def kept_folder(place: Path, what: str, write: Callable[[Path], Mapping[str, Any]]) -> Path | None:
    """A folder of the cache, made where it is not there or not whole; None where it cannot be kept, which is said once.

    One process makes it; others that want it at the same time wait.

    Args:
        what: it holds, for messages. write: fills a folder, and gives what its card says.
    """
    if is_whole(place):
        return place
    if place in _unkept:
        return None
    try:
        with waiting_lock(place, lambda: say(f"{what}: another process makes them; waiting for it")):
            if not is_whole(place):
                if (place / CARD).exists():
                    say(f"{place} is cut short, altered or of another version: it is made anew")
                with whole_folder(place) as partial:
                    card = {"layout": LAYOUT, "version": version("scalearn"), **write(partial)}
                    write_hashed(partial / CARD, card | {"files": _files(partial)})
        return place
    except UnicodeEncodeError:  # half of a surrogate pair, which no such file holds
        _unkept.add(place)
    except OSError as error:
        _unkept.add(place)
        say_once(
            f"{what} cannot be kept in the cache and are read anew each time ({data_cache()}: {error.strerror or one_line(error)}); "
            "make room there, or set SCALEARN_CACHE to another folder"
        )
    return None


def cache_line() -> str:
    """What the cache takes, and where, for a user.

    >>> cache_line()  # doctest: +SKIP
    '1.2 GB of 3 data sets, 1 of them of another version, in ~/.cache/scalearn/data; delete it to free them'
    """
    place = data_cache()
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    versions = [_version(card) for card in place.glob("*/" + CARD)]
    others = sum(made_by != version("scalearn") for made_by in versions)
    of_others = f", {others} of them of another version" if others else ""
    what = f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
    return f"{what} of {len(versions)} data sets{of_others}, in {place}; delete it to free them"


def _version(card: Path) -> str | None:
    """The version that made an entry; None where its card does not say."""
    with contextlib.suppress(UserError, OSError, LookupError, TypeError):
        return str(read_hashed(card)["version"])
    return None


def is_whole(folder: Path) -> bool:
    """Whether a folder of the cache is there, of this layout, and its files are as they were written."""
    if not (folder / CARD).is_file():
        return False
    try:
        card = read_hashed(folder / CARD)
        files = card["files"].items() if card["layout"] == LAYOUT else [(CARD, {})]
        return all(_is_as_written(folder / name, kept) for name, kept in files)
    except (UserError, LookupError, TypeError, AttributeError):
        return False


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: {**_stamp(path), "sha256": file_hash(path)} for path in sorted(folder.iterdir())}


def _stamp(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "written": stat.st_mtime_ns}


def _is_as_written(path: Path, kept: dict[str, Any]) -> bool:
    """Whether a file has its size, and the time that it was written or, where it was copied, its content."""
    try:
        now = _stamp(path)
        return now["size"] == kept["size"] and (now["written"] == kept["written"] or _is_equal(path, kept["sha256"]))
    except OSError:
        return False


@lru_cache(maxsize=256)
def _known_equal(path: Path, written: int, sha256: str) -> bool:
    return file_hash(path) == sha256


def _is_equal(path: Path, sha256: str) -> bool:
    return _known_equal(path, path.stat().st_mtime_ns, sha256)


def kept_value(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A value of the cache, made where it is not there or damaged, and kept where it can be."""
    with contextlib.suppress(UserError, OSError):
        kept = read_hashed(path)
        if isinstance(kept, dict):
            return kept
    value = make()
    with contextlib.suppress(OSError, UserError):  # UserError: text that is no UTF-8
        write_hashed(path, value)
    return value
