"""Names of labels and columns as YAML and JSON hold them: what either does not read as text asks for quotes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from tasksel.errors import UserError


def _text(value: Any) -> Any:
    """A name as YAML and JSON have it: a whole number as its text; what they read as another thing than text is refused."""
    if isinstance(value, str | list | tuple | dict):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f'{value!r} is not text: put quotes around each name, ["no", "yes"] (YAML reads no, yes, off, null, 1.10 and dates otherwise)'
    )


def _names(value: Any) -> Any:
    """A list of names; one name is a list of one."""
    if isinstance(value, str | bool) or value is None:
        return (_text(value),)
    return tuple(map(_text, value)) if isinstance(value, list | tuple) else value


def _columns(value: Any) -> Any:
    """A column, or several."""
    names = _names(value)
    return names[0] if isinstance(names, tuple) and len(names) == 1 else names


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
OneOrSeveral = Annotated[str | tuple[str, ...], BeforeValidator(_columns)]
