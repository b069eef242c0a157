"""HTML that cannot be forgotten to be escaped: whatever is not `Html` already becomes text.

>>> print(el("p", "a < b", el("b", "!"), class_="note", data_sort=3))
<p class="note" data-sort="3">a &lt; b<b>!</b></p>
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape


class Html(str):
    """A string that is HTML, made by `el`, `join` or from our own files."""

    __slots__ = ()


def html(value: object) -> Html:
    """HTML as it is, anything else as text; None is nothing."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Html:
    """All parts, each as `html` has it."""
    return Html(escape(between).join(html(part) for part in parts))


def el(name: str, *children: object, **attributes: object) -> Html:
    """An element. An attribute that is None is left out; `_` in its name is `-`, one at the end is dropped (`class_`)."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def line(*cells: Html, **attributes: object) -> Html:
    """A row of a table."""
    return el("tr", *cells, **attributes)


NONE = el("span", "–", class_="none")


def scroll(table: Html, label: str) -> Html:
    """A table in a box of its own that scrolls sideways, also by keyboard."""
    return el("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def heading(words: str, below: str | None = None, *, first: str | None = "down", class_: str | None = None) -> Html:
    """A column's heading, and what it is in; with `first` it sorts, at the first click that way."""
    small = None if below is None else el("small", below)
    if first is None:
        return el("th", words, small, scope="col", class_=class_)
    button = el("button", el("span", words), small, type="button")
    return el("th", button, scope="col", aria_sort="none", data_first=first)


def fold(part: str, *words: object) -> Html:
    """A button that shows and hides the part of that id."""
    return el("button", *words, type="button", class_="fold", aria_expanded="true", aria_controls=part)


def value_cell(value: float | None, *shown: object, class_: str | None = None) -> Html:
    """A cell that sorts by a number; nothing where there is none."""
    if value is None or math.isnan(value):
        return el("td", *(shown or (NONE,)), data_sort="", class_=class_)
    return el("td", *shown, data_sort=f"{value:.6g}", class_=class_)
