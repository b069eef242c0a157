"""What the docs name is there: commands parse, public names exist, keys of stored files are described, links lead somewhere, versions agree."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

import scalearn
import tasksel
from scalearn.cli.main import app as scalearn_app
from tasksel.cli.main import app as tasksel_app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
APPS = {"tasksel": tasksel_app, "scalearn": scalearn_app}
GENERATED = {
    DOCS / "reference" / "cli.md",
    DOCS / "reference" / "api" / "tasksel.md",
    DOCS / "reference" / "api" / "scalearn.md",
}
OLD = {RESULTS / "identify.md"}  # its commands are of an older version, which it checks out
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(set(DOCS.rglob("*.md")) - GENERATED)]


def load_script(name):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def code(page):
    """The lines of a page's code blocks, fenced or indented by four blanks."""
    text = page.read_text()
    fenced = [
        line for block in re.findall(r"```(?:bash)?\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()
    ]
    return [*fenced, *re.findall(r"^    (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)]


def commands(page):
    """(tool, arguments) of every command of the two tools that a page shows."""
    found = []
    for line in code(page):
        match = re.match(r"(?:.*accelerate launch .*-m )?(tasksel|scalearn) ([a-z].+)", line)
        if match and "CONFIG.yaml" not in line and "…" not in line:
            found.append((match[1], shlex.split(match[2], comments=True)))
    return found


def offenders(find):
    """What `find` gives for each page, with the page's name before it."""
    return [f"{page.relative_to(ROOT)}: {offence}" for page in PAGES for offence in find(page)]


def test_every_command_that_a_page_shows_parses(monkeypatch):
    monkeypatch.chdir(ROOT)

    def misread(page):
        for tool, arguments in commands(page) if page not in OLD else ():
            try:
                APPS[tool].parse(arguments)
            except (SystemExit, tasksel.UserError) as error:
                yield f"{tool} {shlex.join(arguments)}: {error}"

    assert offenders(misread) == []


def test_commands_are_looked_at():
    assert sum(len(commands(page)) for page in PAGES) > 50


def test_every_public_name_that_a_page_uses_is_there():
    def absent(page):
        for short, package in (("ts", tasksel), ("sl", scalearn)):
            used = set(re.findall(rf"\b{short}\.([A-Za-z_]\w*)", page.read_text()))
            yield from (f"{short}.{name}" for name in used - set(package.__all__))
        used = set(re.findall(r"\bts\.Task\.(\w+)", page.read_text()))
        yield from (f"ts.Task.{name}" for name in used if not hasattr(tasksel.Task, name))

    assert offenders(absent) == []


def test_every_link_of_a_page_leads_to_a_file_and_a_heading():
    def broken(page):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
            file = (page.parent / target).resolve() if target else page
            if file in GENERATED:
                continue
            if not file.exists():
                yield target
            elif anchor and anchor not in {slug(line) for line in file.read_text().splitlines() if line[:1] == "#"}:
                yield f"{target}#{anchor}"

    assert offenders(broken) == []


def slug(heading):
    """The anchor of a heading, as Markdown's table of contents makes it."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading.lstrip("#").strip())).lower()
    return re.sub(r"[-\s]+", "-", plain)


def test_every_page_is_in_the_navigation():
    told = (ROOT / "mkdocs.yml").read_text()
    shown = {DOCS / name for name in re.findall(r"[\w/]+\.md", told[told.index("\nnav:") :])}
    by_link = {
        path
        for path in DOCS.rglob("*.md")
        if path.parent.name == "report"
        or path.name
        in (
            "judge.md",
            "benefit.md",
            "shortlist.md",
            "step.md",
            "environments.md",
            "lora.md",
            "throughput.md",
            "comparison.md",
            "scheduling.md",
            "data.md",
            "tables.md",
        )
    }
    assert shown - GENERATED == set(DOCS.rglob("*.md")) - by_link - GENERATED


def test_the_reference_describes_every_command_and_every_public_name(tmp_path):
    load_script("docs_reference").write(tmp_path)
    cli = (tmp_path / "cli.md").read_text()
    for command in ("tasksel evaluate", "tasksel index build", "scalearn compare", "scalearn pool add"):
        assert f"\n### {command}\n" in cli
    pages = (tmp_path / "api" / "tasksel.md").read_text() + (tmp_path / "api" / "scalearn.md").read_text()
    for package in (tasksel, scalearn):
        for name in package.__all__:
            assert re.search(rf"^::: [\w.]+\.{name}$", pages, flags=re.MULTILINE), name


@pytest.mark.parametrize(
    ("file", "section"),
    [
        ("glue_minilm/rows.jsonl", "### rows.jsonl"), ("glue_minilm/rankings.jsonl", "### rankings.jsonl"), ("glue_minilm/experiment.json", "## A run"),
        ("glue_minilm/map.json", "## A run"), ("matrix/matrix.jsonl", "## matrix.jsonl"), ("matrix/provenance.json", "## matrix.jsonl"),
        ("matrix/scores.jsonl", "## scores.jsonl"), ("matrix/pairs.jsonl", "## pairs.jsonl"),
    ],
)  # fmt: skip
def test_the_page_of_file_formats_describes_every_key_of_a_published_file(file, section):
    with (RESULTS / file).open() as lines:
        stored = json.load(lines) if file.endswith(".json") else json.loads(lines.readline())
    assert_described(stored, section)


def test_the_page_of_file_formats_describes_every_key_of_a_card(pool_folder):
    assert_described(json.loads((pool_folder / "entail_travel" / "card.json").read_text()), "## A pool")


def assert_described(stored, section):
    """Every key stands in backquotes in a section of the page."""
    page = (DOCS / "reference" / "file_formats.md").read_text()
    begin = page.index(f"\n{section}\n") + 1
    level = section.split(" ")[0]
    end = re.search(rf"^#{{1,{len(level)}}} ", page[begin + len(section) :], flags=re.MULTILINE)
    part = page[begin : begin + len(section) + end.start()] if end else page[begin:]
    assert [key for key in stored if f"`{key}`" not in part] == []


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == scalearn.__version__
    assert f"## [{scalearn.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        ('<a href="gone.html">x</a>', "no such file"),
        ('<a href="other.html#gone">x</a>', "no such anchor"),
        ('<img src="gone.svg">', "no such file"),
        ('<script src="https://example.org/x.js"></script>', "asks a server"),
    ],
)
def test_a_broken_link_of_the_site_is_named(html, complaint, tmp_path):
    (tmp_path / "other.html").write_text(
        '<h1 id="there">x</h1><a href="https://example.org">fine</a><a href="#there">fine</a>'
    )
    (tmp_path / "index.html").write_text('<a href="other.html#there">fine</a>' + html)
    (line,) = load_script("check_links").complaints(tmp_path)
    assert line.startswith("index.html: ")
    assert line.endswith(complaint)


def test_the_page_of_versions_has_those_of_the_constraint_files():
    page = (DOCS / "reference" / "compatibility.md").read_text()
    columns = [
        dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / name).read_text(), flags=re.MULTILINE))
        for name in ("constraints.txt", "constraints-next.txt")
    ]
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+|–) \| ([\d.]+|–) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 6
    assert rows == [(name, *(versions.get(name, "–") for versions in columns)) for name, *_ in rows]
