"""How the code is kept: short files, short functions, a caption in front, nothing printed, and a test folder as the packages are."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 50  # a function's without its docstring
SPEAKS = "tasksel/cli/app.py:"  # the command line, which prints for all others


@pytest.fixture(scope="module")
def modules():
    """Each module of both packages: its text, and what it parses to, by its path."""
    paths = [path for package in ("tasksel", "scalearn") for path in sorted((ROOT / package).rglob("*.py"))]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    return {name: (text, ast.parse(text)) for name, text in texts.items()}


def nodes(modules, *kinds):
    """Every piece of syntax of some kinds, with the path and line where it stands."""
    return [
        (f"{name}:{node.lineno}", node)
        for name, (_, tree) in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def test_no_file_is_long(modules):
    lengths = {name: len(text.splitlines()) for name, (text, _) in modules.items()}
    assert {name: length for name, length in lengths.items() if length > LINES_OF_A_FILE} == {}


def test_no_function_is_long(modules):
    """Its docstring counts too."""
    lengths = {
        f"{place} {node.name}": node.end_lineno - node.lineno + 1
        for place, node in nodes(modules, ast.FunctionDef, ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_A_FUNCTION} == {}


def test_every_file_with_code_begins_with_a_caption(modules):
    begins = {
        name: text.startswith('"""') and bool(ast.get_docstring(tree)) for name, (text, tree) in modules.items() if text
    }
    assert [name for name, captioned in begins.items() if not captioned] == []


def test_nothing_is_printed_but_by_the_command_line(modules):
    calls = [(place, node) for place, node in nodes(modules, ast.Call) if not place.startswith(SPEAKS)]
    assert [place for place, node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


def test_no_except_catches_everything_unnamed(modules):
    assert [place for place, node in nodes(modules, ast.ExceptHandler) if node.type is None] == []


def test_every_unit_test_is_named_after_the_module_or_folder_that_it_tests():
    """`unit/tasksel/tasks/test_load_subsample.py` tests `tasksel/tasks/load.py`; one of a folder's face stands beside the folder."""
    strays = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        folder, name = ROOT / path.parent.relative_to(ROOT / "tests" / "unit"), path.stem.removeprefix("test_")
        words = name.split("_")
        stems = ["_".join(words[:end]) for end in range(len(words), 0, -1)]
        if folder != ROOT and not any((folder / f"{stem}.py").is_file() or (folder / stem).is_dir() for stem in stems):
            strays.append(str(path.relative_to(ROOT)))
    assert strays == []


def test_tests_lie_in_three_folders():
    found = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == {"unit", "integration", "support"}
    assert [path.name for path in (ROOT / "tests").glob("test_*.py")] == []


def _imports(tree, modules):
    """The modules that a module imports when it runs; what only type checkers import is left out."""
    typing_only = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing_only:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in modules else node.module


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions count too."""
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for package in ("tasksel", "scalearn")
        for path in (ROOT / package).rglob("*.py")
    }
    left = {
        name: {other for other in _imports(tree, trees) if other in trees and other != name}
        for name, tree in trees.items()
    }
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == [], "each of these stands in a circle, or imports one that does"
