"""The page as text: what it says, that all of it is escaped, that it needs nothing else."""

import base64
import hashlib
import html
import importlib.util
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_rows import BASES, SOURCES, TARGETS, config, made_rows, make_run

from scalearn.comparison.records import RunFolder, name_of
from scalearn.report.figures.gallery import draw_gallery
from scalearn.report.page.details import source_words
from scalearn.report.page.page import page, write_page
from scalearn.report.page.sentences import gain_words, summary
from scalearn.report.statistics import Paired, comparisons
from tasksel.storage.atomic import write_json

VOID = {"meta", "path", "use", "rect"}
EVIL = "<script>alert('x')</script>\" onclick=\"{{name}}"


class Parsed(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.scripts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def drawn(run, config=None):
    """The page of a run, whatever its rows are by now."""
    compared = comparisons(run.rows, run.config if config is None else config)
    return page(run, compared, draw_gallery(run, compared))


def page_of(folder, rows=None, **made):
    run = RunFolder(make_run(folder, **made))
    if rows is not None:
        run.rows = rows
    return drawn(run)


@pytest.fixture(scope="module")
def whole(reported):
    return reported[1].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(whole):
    return Parsed(whole)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("evil") / "run")
    update = {"target": EVIL, "metric": EVIL, "sources": {EVIL: EVIL}, "data": EVIL, "recipe": {EVIL: EVIL}}
    rows = [row.model_copy(update={**update, "base": {"name": EVIL, "fingerprint": EVIL}, "protocol": EVIL}) for row in made_rows() if row.target == "rte"]  # fmt: skip
    rows = [row for row in rows if row.k < 2 and row.seed < 2]
    run = RunFolder(folder)
    run.rows, run.rankings = rows, []
    told = {"names": [EVIL, "b", "c"], "suites": {EVIL: EVIL}, "by": EVIL, "base": EVIL}
    write_json(folder / "map.json", told | {"similarity": [[1, 0.5, 0.2], [0.5, 1, 0.1], [0.2, 0.1, 1]]})
    run.provenance = {"experiment": {"name": EVIL}, "plan": [name_of(rows[0]), EVIL], "command": EVIL, "versions": {EVIL: EVIL}, "machine": {"x": EVIL}}  # fmt: skip
    return drawn(run, {})


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)


class TestPage:
    def test_is_well_formed_with_ids_of_their_own(self, parsed):
        assert parsed.open == []
        ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in parsed.tags:
            for name in ("aria-controls", "href"):
                if name in attributes:
                    assert attributes[name].removeprefix("#") in ids

    def test_asks_for_nothing_from_anywhere(self, whole, parsed):
        for tag, attributes in parsed.tags:
            assert tag not in ("link", "img", "image", "iframe", "object", "embed", "base", "form")
            assert "src" not in attributes
            assert attributes.get("href", "#").startswith("#")
            assert not any(name.startswith("on") for name in attributes)
        assert not re.search(r"url\((?!#)|@import|@font-face", whole)

    def test_lets_only_its_own_script_run(self, parsed):
        (policy,) = (a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
        (script,) = parsed.scripts
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")

    def test_the_same_run_gives_the_same_page(self, whole, reported_again):
        assert reported_again[1].read_text(encoding="utf-8") == whole

    def test_writes_a_whole_file(self, tmp_path, no_pictures):
        run = RunFolder(make_run(tmp_path / "run"))
        compared = comparisons(run.rows, run.config)
        path = write_page(run, compared, draw_gallery(run, compared), tmp_path / "deep" / "report.html")
        assert path == tmp_path / "deep" / "report.html"
        assert path.read_text(encoding="utf-8").endswith("</html>\n")
        assert [other.name for other in path.parent.iterdir()] == ["report.html"]

    def test_is_packed_with_its_parts(self):
        folder = importlib.util.find_spec("scalearn").submodule_search_locations[0]
        told = (Path(folder).parent / "pyproject.toml").read_text()
        packed = json.loads(re.search(r"^scalearn = (\[.*\"py.typed\"\])$", told, re.M)[1])
        assert {"report/page/*.css", "report/page/*.js", "report/page/*.html"} <= set(packed)


class TestSummary:
    def test_says_the_best_at_each_size_and_its_gain(self):
        (compared,) = comparisons(made_rows(), config())
        told = summary(compared)
        best, _ = compared.best("average", "full")
        gain = compared.paired("full", best, "single-adapter")
        assert told[0].startswith(
            f"With all rows, {compared.label(best)} has the highest average over the 3 targets: 81.8."
        )
        assert f"{100 * gain.difference:.1f} points above single-adapter, more than the noise" in told[0]
        assert [line.split(",")[0] for line in told[:3]] == ["With all rows", "With 16 rows", "With 4 rows"]
        assert "The best of 18 conditions" in told[3]

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (Paired("single-adapter", 0.01, -0.002, 0.022, 0.08, 5), "no more than the noise between seeds: the 95 % interval of the paired difference over 5 seeds is −0.2 to +2.2, which holds 0"),
            (Paired("single-adapter", 0.01, 0.002, 0.018, 0.02, 5), "more than the noise between seeds"),
            (Paired("single-adapter", -0.01, -0.018, -0.002, 0.02, 5), "1.0 points below single-adapter, fewer"),
            (Paired("single-adapter", 0.01, math.nan, math.nan, None, 3), "no spread to test it by"),
            (None, "cannot be said"),
        ],
    )  # fmt: skip
    def test_is_honest_about_noise(self, found, words):
        assert words in gain_words(found)

    def test_says_so_where_no_sources_are_best(self):
        rows = [
            row.model_copy(update={"score": 0.95}) if row.method == "single-adapter" else row for row in made_rows()
        ]
        told = summary(comparisons(rows, config())[0])[0]
        assert "single-adapter has the highest average" in told
        assert "scalearn (2 by connectivity) comes nearest, 13.2 points below" in told

    def test_says_so_where_there_is_no_average(self):
        rows = [row for row in made_rows() if row.target != "stsb"]
        assert "no condition has finished on every target" in summary(comparisons(rows, config())[0])[0]

    def test_one_target_needs_no_average(self):
        rows = [row for row in made_rows() if row.target == "rte"]
        assert "has the highest score on rte" in summary(comparisons(rows)[0])[0]

    def test_one_seed_cannot_tell(self):
        rows = [row for row in made_rows() if row.seed == 0]
        assert "cannot be said" in summary(comparisons(rows)[0])[0]


class TestTables:
    def test_every_score_is_there(self, parsed):
        (compared,) = comparisons(made_rows(), config())
        for target in TARGETS:
            for size in compared.sizes:
                cell = compared.cell(target, size, compared.conditions[2])
                low, high = cell.interval
                assert f"{100 * cell.mean:.1f} {100 * low:.1f}–{100 * high:.1f}" in parsed.text

    def test_best_and_second_are_marked_without_colour(self, whole):
        (compared,) = comparisons(made_rows(), config())
        columns = 4 * 3  # the average and three targets, at three sizes
        assert len(re.findall(r'<td data-sort="[\d.]+" class="best"><strong>', whole)) == columns
        assert len(re.findall(r'<td data-sort="[\d.]+" class="second"><span class="score">', whole)) == columns
        assert whole.count('<span class="hidden"> best</span>') == columns
        assert whole.count('<span class="hidden"> second</span>') == columns
        best, second = compared.best("rte", "full")
        assert f'>{100 * compared.cell("rte", "full", best).mean:.1f}</span><span class="hidden"> best' in whole
        assert f'>{100 * compared.cell("rte", "full", second).mean:.1f}</span><span class="hidden"> second' in whole

    def test_every_heading_of_a_main_table_sorts_by_a_button(self, whole):
        for head in re.findall(r'<table class="main">.*?<thead>(.*?)</thead>', whole):
            headings = re.findall(r"<th.*?</th>", head)
            assert headings
            assert all('aria-sort="none"' in one and "<button" in one for one in headings)

    def test_a_line_has_seeds_sources_tests_and_recipe(self, parsed):
        rows = [row for row in made_rows() if (row.target, row.size, row.method) == ("mrpc", "full", "single-adapter")]
        assert " ".join(f"{100 * row.score:.1f}" for row in rows) in parsed.text
        assert "lr 0.006, epochs 30" in parsed.text or "epochs 30, lr 0.006" in parsed.text
        assert "mnli, qnli" in parsed.text
        assert "Paired t tests over 5 seeds" in parsed.text

    def test_sources_that_differ_by_seed_say_how_often(self):
        rows = [row for row in made_rows() if (row.target, row.size, row.method, row.k) == ("rte", 16, "fusion", 2)]
        other = rows[-1].model_copy(update={"sources": {"mnli": "0", "cola": "0"}})
        assert source_words([*rows[:-1], other]) == "mnli, qnli (4 of 5 seeds), cola (1 of 5 seeds)"

    def test_sources_alone_have_a_table_and_are_never_best(self, parsed, whole):
        assert "scalearn from one source alone, with 16 rows" in parsed.text
        main = re.findall(r'<tbody><tr><th scope="row" data-sort="([^"]+)"><button', whole)
        assert len(main) == 18 * 3
        assert not any("from" in name for name in main)
        alone = re.findall(r'<tbody><tr><th scope="row" data-sort="(\w+)">\1</th>', whole)
        assert set(SOURCES) <= set(alone)

    def test_costs_are_told(self, parsed):
        assert re.search(r"fusion \(2 by connectivity\) 12,288 55 49 KiB 7\.0 s 19\d MiB", parsed.text)


class TestWhatIsMissing:
    def test_a_partial_run_names_what_is_missing_and_what_diverged(self, tmp_path, no_pictures):
        run = RunFolder(make_run(tmp_path / "run", partial=True))
        told = Parsed(drawn(run)).text
        assert f"{len(run.missing)} of 1,035 planned units are not finished" in told
        assert "stsb with 4 rows by scalearn from 3 sources by connectivity, seeds 0, 1, 2, 3, 4" in told
        assert "1 finished unit has no score" in told
        assert "mrpc, 16 rows, fusion (2 by connectivity), seed 1" in told

    def test_an_empty_run_says_so(self, tmp_path):
        told = Parsed(page_of(tmp_path / "run", bases=0)).text
        assert "No unit of this run is finished" in told
        assert "1,035 of 1,035 planned units are not finished" in told
        assert "scalearn run made.yaml --out runs/made" in told

    def test_mixed_bases_are_parts_of_their_own(self, tmp_path, no_pictures):
        told = Parsed(page_of(tmp_path / "run", bases=2))
        heads = [word for word in told.words if word.endswith(", protocol sound")]
        assert {f"{base['name']}, protocol sound" for base in BASES} <= set(heads)
        assert {"part-0", "part-1"} <= {attributes.get("id") for _, attributes in told.tags}

    def test_without_matplotlib_the_tables_are_there(self, tmp_path, no_pictures):
        told = page_of(tmp_path / "run")
        assert "<svg" not in told
        assert "pictures need matplotlib: pip install" in Parsed(told).text
        assert "★" in told

    def test_nothing_is_missing_from_a_whole_run(self, parsed):
        assert "not finished" not in parsed.text
        assert "1,035 of 1,035 planned units finished" in parsed.text


class TestForeignNames:
    def test_are_text_wherever_they_stand(self, evil):
        found = Parsed(evil)
        assert found.open == []
        assert len(found.scripts) == 1
        assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
        assert found.text.count("<script>alert('x')</script>") > 20
        assert evil.count("<script") == 1
        assert html.unescape(re.search(r"<title>(.*?)</title>", evil, re.S)[1]) == f"{EVIL}: report"

    def test_are_drawn_as_text_too(self, evil):
        assert "&lt;script&gt;alert('x')&lt;/script&gt;" in "".join(re.findall(r"<svg.*?</svg>", evil, re.S))
