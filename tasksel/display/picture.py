"""A figure with its words: drawn once, kept as SVG and PNG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasksel.display.figures import ENDINGS, look, svg_document
from tasksel.display.layout import settle
from tasksel.storage.atomic import partial_folder


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its words.

    Attributes:
        name: of its files, without the ending. title: a few words.
        alt: what it shows, for who does not see it. caption: how to read it.
        group: what it belongs to, where there are many of its sort.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Any
    group: str = ""

    def __post_init__(self) -> None:
        settle(self.figure)

    @cached_property
    def svg(self) -> str:
        """The figure as an SVG document, the same for the same figure; drawn once."""
        with look(self.name):
            return svg_document(self.figure, self.title, self.alt)

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.svg and NAME.png, each whole or not at all."""
        paths = [folder / f"{self.name}{ending}" for ending in ENDINGS]
        with partial_folder(folder) as partial:
            drawn = [partial / path.name for path in paths]
            drawn[0].write_text(self.svg, encoding="utf-8")
            with look(self.name):
                self.figure.savefig(drawn[1], dpi=200, metadata={"Title": self.title, "Description": self.alt})
            for whole, path in zip(drawn, paths, strict=True):
                whole.replace(path)
        return paths
