"""A small stand-in for the Hugging Face hub: serves repositories laid out in a folder, on 127.0.0.1, for tests.

    <root>/<datasets | models>/<owner>/<name>/<revision, quoted>/<files>

A revision that is a commit (40 hex digits) stands for itself; a branch such as `main` or `refs/convert/parquet` (as a
folder: `refs%2Fconvert%2Fparquet`) gets the commit that `commit_of` makes from its name. What the client asks for was
read off huggingface_hub 0.36: repository info, the file tree, `paths-info`, and `resolve` with HEAD, ranges and ETag.
No LFS, no xet, no uploads.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = re.compile(r"[0-9a-f]{40}")
MOST_BYTES_POSTED = 1 << 20
API = re.compile(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Missing(Exception):
    """Something that the hub answers with 404 and a code the client knows; `commit` where the revision was there."""

    def __init__(self, code: str, commit: str | None = None) -> None:
        super().__init__(code)
        self.code, self.commit = code, commit


class Repositories:
    """The folder of repositories, read afresh for each request."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, kind: str, repo: str, revision: str, files: dict[str, bytes]) -> str:
        """Lays out one revision of a repository and gives its commit."""
        for path, content in files.items():
            target = self.root / kind / repo / quote(revision, safe="") / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return self.commit_of(kind, repo, revision)

    @staticmethod
    def commit_of(kind: str, repo: str, revision: str) -> str:
        """The commit of a revision: itself, or 40 digits made from its name."""
        if COMMIT.fullmatch(revision):
            return revision
        return hashlib.sha1(f"{kind}/{repo}/{revision}".encode()).hexdigest()

    def find(self, kind: str, repo: str, revision: str) -> tuple[Path, str]:
        """The folder and the commit of a revision, given by its name or its commit."""
        folder = self.root / kind / repo
        if not folder.is_dir():
            raise Missing("RepoNotFound")
        for entry in folder.iterdir():
            named = unquote(entry.name)
            commit = self.commit_of(kind, repo, named)
            if revision in (named, commit):
                return entry, commit
        raise Missing("RevisionNotFound")

    def info(self, kind: str, repo: str, revision: str) -> dict[str, object]:
        """What the hub says of a repository."""
        folder, commit = self.find(kind, repo, revision)
        files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        told = {"_id": commit[:24], "id": repo, "sha": commit, "private": False, "gated": False, "disabled": False}
        return {**told, "downloads": 0, "likes": 0, "tags": [], "siblings": [{"rfilename": file} for file in files]}

    def tree(self, kind: str, repo: str, revision: str, inside: str, *, recursive: bool) -> list[dict[str, object]]:
        """The entries of a folder of a revision."""
        folder, commit = self.find(kind, repo, revision)
        start = folder / inside
        if not start.is_dir():
            raise Missing("EntryNotFound", commit)
        return [self._entry(folder, path) for path in sorted(start.rglob("*") if recursive else start.iterdir())]

    def paths(self, kind: str, repo: str, revision: str, wanted: list[str]) -> list[dict[str, object]]:
        """Those of the wanted paths that are there."""
        folder, _ = self.find(kind, repo, revision)
        return [self._entry(folder, folder / path) for path in wanted if (folder / path).exists()]

    @staticmethod
    def _entry(folder: Path, path: Path) -> dict[str, object]:
        name = path.relative_to(folder).as_posix()
        oid = hashlib.sha1(name.encode()).hexdigest()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": oid, "size": 0}
        return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}


class HubStandin:
    """The server; a context manager. `url` is for HF_ENDPOINT, `asked` holds every request, as `HEAD /path`.

    >>> with HubStandin(tmp_path) as hub:                                         # doctest: +SKIP
    ...     hub.repositories.write("datasets", "a/b", "main", {"README.md": b"hello"})
    """

    def __init__(self, root: Path) -> None:
        self.repositories = Repositories(root)
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandin
    timeout = 10
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Says nothing: `asked` is the log."""

    def _answer(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length") or 0)
        posted = self.rfile.read(min(length, MOST_BYTES_POSTED)).decode()
        try:
            if found := API.fullmatch(urlsplit(self.path).path):
                self._api(*(unquote(part) if part else "" for part in found.groups()), posted=posted)
            elif found := RESOLVE.fullmatch(urlsplit(self.path).path):
                kind, repo, revision, path = (unquote(part) if part else "" for part in found.groups())
                self._file("datasets" if kind else "models", repo, revision, path)
            else:
                raise Missing("NotFound")
        except Missing as missing:
            commit = {"X-Repo-Commit": missing.commit} if missing.commit else {}
            self._send(404, b"{}", {"X-Error-Code": missing.code, "X-Error-Message": missing.code, **commit})

    def _api(self, kind: str, repo: str, verb: str, revision: str, path: str, *, posted: str) -> None:
        repositories = self.hub.repositories
        told: object
        if verb == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            told = repositories.tree(kind, repo, revision, path, recursive=recursive)
        elif verb == "paths-info":
            wanted = json.loads(posted)["paths"] if posted.startswith("{") else parse_qs(posted).get("paths", [])
            told = repositories.paths(kind, repo, revision, wanted)
        else:
            told = repositories.info(kind, repo, revision or "main")
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, kind: str, repo: str, revision: str, path: str) -> None:
        folder, commit = self.hub.repositories.find(kind, repo, revision)
        file = folder / path
        if not file.is_file() or folder.resolve() not in file.resolve().parents:
            raise Missing("EntryNotFound", commit)
        content = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(206, content[first : last + 1], headers)
        else:
            self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
