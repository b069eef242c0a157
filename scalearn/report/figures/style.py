"""How each transfer method looks: a colour, a marker, and a line that is solid, dashed or dotted.

Colours are Okabe and Ito's, told apart by the colour-blind; no two methods have the same marker, so that colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasksel.display.figures import BLUE, DOTS, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, Style

STYLES = {
    "auto": Style(BLUE, "8", "--"),
    "closed-form": Style(GREEN, "v"),
    "closed-form-base": Style(INK, "P", "--", False),
    "majority": Style(INK, "X", DOTS, False),
    "head-only": Style(INK, "v", DOTS, False),
    "full": Style(INK, "*"),
    "single-adapter": Style(VERMILION, "X"),
    "compacter++": Style(VERMILION, "P", "--"),
    "sequential": Style(VERMILION, "<", "-."),
    "joint": Style(VERMILION, "h", DOTS, False),
    "scalearn": Style(BLUE, "o"),
    "scalearn-uniform": Style(BLUE, "s", "--"),
    "scalearn++": Style(SKY, "o", "-", False),
    "scalearn-uniform++": Style(SKY, "s", "--", False),
    "scalearn-mean": Style(BLUE, "^", "-."),
    "scalearn-softmax": Style(BLUE, "^", DOTS, False),
    "average": Style(GREEN, "D", "--"),
    "fixed-grid": Style(GREEN, "D", DOTS, False),
    "search": Style(GREEN, "p", "-"),
    "soup": Style(PURPLE, ">", "--"),
    "soup-similarity": Style(PURPLE, ">", DOTS, False),
    "fusion": Style(ORANGE, "d", "-."),
}
OTHER = Style(GREY, "", "-")  # a line that stands in the background
SPARE = tuple(Style(colour, marker, "-", filled) for colour, marker, filled in (
    (PURPLE, "8", True), (GREEN, "H", True), (ORANGE, "<", False), (SKY, "p", False),
    (PURPLE, "P", False), (INK, "X", False), (GREEN, "8", False), (ORANGE, "H", False),
))  # fmt: skip


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A look for each method; one that is not in the table gets a spare one, by its place among such ones."""
    names = list(dict.fromkeys(methods))
    strange = [name for name in names if name not in STYLES]
    return {name: STYLES[name] if name in STYLES else SPARE[strange.index(name) % len(SPARE)] for name in names}
