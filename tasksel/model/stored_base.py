"""The base that something stored was trained on: where its name says, or where the user says that it lies now.

A stored thing names its base (an alias, a hub id, a folder's whole path) and the fingerprint of its weights. A folder may be moved or renamed;
the fingerprint says whether another one is the same base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base


def stored_base(
    record: Mapping[str, str], base: str | Base | None = None, *, owner: str, near: Path | None = None
) -> Base:
    """The base of something stored.

    Where its folder is gone and no other is named, a folder of the same name beside what is stored, or beside a folder that it lies in, is taken
    if it holds the same weights: so a tree of bases, pools and results may be moved as a whole.

    Args:
        record: its name and fingerprint, as it was stored (`tasksel.model.base.describe`).
        base: where it lies now; by default where it lay.
        owner: what is stored, for a message.
        near: where that lies.

    Raises:
        UserError: a base that is gone; one with other weights.

    >>> stored_base({"name": "minilm", "fingerprint": "0123456789abcdef"}, owner="out/rte")  # doctest: +SKIP
    """
    name, fingerprint = record.get("name", ""), record.get("fingerprint", "")
    located = _loaded(base) if base is not None else _where_it_lay(name, fingerprint, owner, near)
    if located.fingerprint != fingerprint:
        raise UserError(
            f"{owner}: trained on base '{name}' with weights {fingerprint}; the one here, '{located.name}', has {located.fingerprint}: "
            "name the base that it was trained on (--base)"
        )
    return located


def is_gone(name: str) -> bool:
    """Whether a base is named by a folder that is not there.

    >>> is_gone("minilm"), is_gone("/no/such/folder")
    (False, True)
    """
    return Path(name).is_absolute() and not Path(name).is_dir()


def _loaded(base: str | Base) -> Base:
    return load_base(base) if isinstance(base, str) else base


def _where_it_lay(name: str, fingerprint: str, owner: str, near: Path | None) -> Base:
    """The base of that name, or the moved folder that holds it."""
    if is_gone(name):
        for folder in _moved_to(Path(name), near):
            if (moved := _same_weights(folder, fingerprint)) is not None:
                say(f"base: {folder} has the weights of '{name}', which is gone")
                return moved
        raise UserError(
            f"{owner}: trained on base '{name}', which is gone; say where it lies now: --base FOLDER (its weights must be the same)"
        )
    try:
        return load_base(name)
    except UserError as error:
        raise UserError(f"{owner}: {error}; if its base lies elsewhere, say where: --base FOLDER") from error


def _moved_to(gone: Path, near: Path | None) -> Iterator[Path]:
    """Folders that end as the one that is gone does, below those that something stored lies in; the nearest and longest first."""
    parts = gone.parts[1:]
    for above in near.resolve().parents if near is not None else ():
        for length in range(len(parts), 0, -1):
            folder = above.joinpath(*parts[-length:])
            if (folder / "config.json").is_file():
                yield folder


def _same_weights(folder: Path, fingerprint: str) -> Base | None:
    """The base in a folder, if its weights are these."""
    try:
        base = load_base(str(folder))
        return base if base.fingerprint == fingerprint else None
    except UserError:
        return None
