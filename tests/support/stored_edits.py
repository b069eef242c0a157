"""Edits stored JSON as whoever may: with its format and hash made anew, so that what is refused is the value."""

import json

from tasksel.storage.hashed import read_hashed, write_hashed


def edit(path, **change):
    """Changes fields of a hashed file."""
    write_hashed(path, read_hashed(path) | change)


def as_version_0_1(path, *, without=()):
    """Rewrites a hashed file as version 0.1 wrote it: without a hash, and without these fields."""
    path.write_text(json.dumps({name: value for name, value in read_hashed(path).items() if name not in without}))
