"""Writes the reference pages that the code itself says: every command's `--help`, and the public names of both packages.

python scripts/docs_reference.py docs/reference     # cli.md, api/tasksel.md, api/scalearn.md
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import os
import re
import sys
from pathlib import Path
from types import ModuleType

os.environ["COLUMNS"] = "100"
os.environ["NO_COLOR"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PACKAGES = ("tasksel", "scalearn")
MAIN = {package: f"{package}.cli.main" for package in PACKAGES}  # the module with `main(argv)`


def help_text(package: str, words: list[str]) -> str:
    """What a command prints for `--help`."""
    printed = io.StringIO()
    main = importlib.import_module(MAIN[package]).main
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
    return "\n".join(line.rstrip() for line in plain.rstrip().splitlines())


def subcommands(text: str) -> list[str]:
    """The names of a help text's box of subcommands, sorted; none without that box."""
    if not re.search(r"^\W*subcommands\W*$", text, flags=re.MULTILINE):
        return []
    usage = " ".join(text.split("\n\n", 1)[0].split())
    return sorted(re.findall(r"\{([\w,-]+)\}", usage)[-1].split(","))


def commands(package: str, words: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Every command of a package with its help text, a group before its members."""
    text = help_text(package, list(words))
    inner = [pair for name in subcommands(text) for pair in commands(package, (*words, name))]
    return [(" ".join((package, *words)), text), *inner]


def cli_page() -> str:
    """The page of all commands."""
    parts = [
        "# Command line",
        "What `--help` of every command prints. A mistake is one line on standard error and exit code 2.",
    ]
    for package in PACKAGES:
        for command, text in commands(package):
            level = "##" if command == package else "###"
            parts += [f"{level} {command}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def home(name: str, thing: object, package: str) -> str:
    """The dotted path of the module that defines a public name.

    Raises:
        LookupError: no module of the two packages assigns it.
    """
    module = getattr(thing, "__module__", None)
    if isinstance(module, str) and module.split(".")[0] in PACKAGES and hasattr(thing, "__qualname__"):
        return module
    for module, loaded in sorted(sys.modules.items()):
        if module.split(".")[0] in PACKAGES and vars(loaded).get(name) is thing and _assigns(loaded, name):
            return module
    raise LookupError(f"{package}.{name}: no module assigns it")


def _assigns(module: ModuleType, name: str) -> bool:
    """Whether a module's own text assigns a name at its top."""
    for node in ast.parse(Path(module.__file__ or "").read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
    return False


def public(package: str) -> dict[str, str]:
    """Each public name of a package with the module that defines it."""
    module = importlib.import_module(package)
    return {name: home(name, getattr(module, name), package) for name in module.__all__}


def api_page(package: str, elsewhere: dict[str, str]) -> str:
    """The page of a package's public names, grouped by folder; names that another page describes are linked to it."""
    names = public(package)
    folders: dict[str, list[str]] = {}
    for name, module in names.items():
        if name not in elsewhere:
            folders.setdefault(".".join(module.split(".")[:2]), []).append(name)
    described = importlib.import_module(package).__doc__ or ""
    parts = [
        f"# API of {package}",
        described.strip(),
        f"    import {package} as {'ts' if package == 'tasksel' else 'sl'}",
    ]
    shared = sorted(set(names) & set(elsewhere))
    if shared:
        links = ", ".join(f"[`{name}`]({elsewhere[name]})" for name in shared)
        parts.append(f"Also here, and described there: {links}.")
    for folder in sorted(folders):
        caption = (importlib.import_module(folder).__doc__ or "").strip().split("\n")[0]
        parts += [f"## {folder}", *([caption] if caption else [])]
        for name in sorted(folders[folder], key=str.lower):
            parts.append(f"::: {names[name]}.{name}")
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Writes all pages."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    (folder / "cli.md").write_text(cli_page())
    (folder / "api" / "tasksel.md").write_text(api_page("tasksel", {}))
    described = {name: f"tasksel.md#{module}.{name}" for name, module in public("tasksel").items()}
    scalearn = {name: link for name, link in described.items() if name in importlib.import_module("scalearn").__all__}
    (folder / "api" / "scalearn.md").write_text(api_page("scalearn", scalearn))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
