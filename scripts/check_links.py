"""Checks a built site: every link, anchor, picture and script is there, and no page asks a server for anything.

python scripts/check_links.py site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ELSEWHERE = {"http", "https", "mailto", "data", "javascript"}


class Page(HTMLParser):
    """What a page names: its anchors, its links, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value for key, value in attrs if value}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "link" and named.get("rel") in ("canonical", "prev", "next", "alternate"):
            return
        if "href" in named:
            (self.loaded if tag == "link" else self.links).append(named["href"])
        if "src" in named:
            self.loaded.append(named["src"])


def complaints(site: Path) -> list[str]:
    """One line per link that leads nowhere and per thing that a page would load from a server."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":  # a server shows it under any address
            continue
        for target in [*page.links, *page.loaded]:
            problem = _problem(target, path, pages, loaded=target in page.loaded)
            if problem:
                wrong.append(f"{path.relative_to(site.resolve())}: {target}: {problem}")
    return wrong


def _problem(target: str, path: Path, pages: dict[Path, Page], *, loaded: bool) -> str | None:
    """What is wrong with a link of a page, or None."""
    parts = urlsplit(target)
    if parts.scheme in ELSEWHERE or parts.netloc:
        return "asks a server" if loaded and parts.scheme != "data" else None
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not file.is_file():
        return "no such file"
    if parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors | {"__top", "top"}:
        return "no such anchor"
    return None


if __name__ == "__main__":
    found = complaints(Path(sys.argv[1]))
    print(
        "\n".join(found) if found else f"{sys.argv[1]}: every link leads somewhere, and nothing is loaded from a server"
    )
    sys.exit(bool(found))
