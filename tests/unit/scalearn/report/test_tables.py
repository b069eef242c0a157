"""What the tables say is what the rows say, in each of their three forms; what is missing is named."""

import io
import re

import pytest
from rich.console import Console
from run_rows import BASES, GAINS, SOURCES, TARGETS, config, made_rankings, made_rows, make_run

from scalearn.comparison.records import RunFolder
from scalearn.methods.registry import METHODS
from scalearn.report.statistics import Comparison, Condition, comparisons
from scalearn.report.tables import (  # fmt: skip
    block_of,
    costs_sheet,
    main_sheet,
    paired_sheet,
    probability,
    rankings_sheet,
    score,
    sheets,
    signed,
    sources_sheet,
    table,
)
from tasksel.display.tables import Block, Item, Sheet, Terminal, items, latex, listed, markdown, plain, tex

HEAD, ADAPTER, FUSION = Condition("head-only"), Condition("single-adapter"), Condition("fusion", "connectivity", 2)


@pytest.fixture(scope="module")
def comparison():
    return Comparison(made_rows(), config())


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    run = RunFolder(make_run(tmp_path_factory.mktemp("partial"), partial=True))
    (found,) = comparisons(run.rows, run.config)
    return found


@pytest.fixture
def odd():
    """A sheet with every sign that a form could trip over."""
    lines = (items("a|b_c", Item("50 % ± 1", "best")), items("<i> & $x$ #1 {y} ~^\\", Item("[3]", "second")))
    return Sheet("odd", "A title with 5 % & more", ("condition", "score"), (Block("one", lines[:1]), Block("two", lines[1:])), ("Note <b> here",))  # fmt: skip


def line_of(sheet, label):
    """The items of the one line that begins so."""
    (found,) = (line for block in sheet.blocks for line in block.lines if line[0].text == label)
    return found


def nested(text):
    """Whether every environment ends where it should."""
    inside = []
    for verb, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if verb == "begin":
            inside.append(name)
        elif not inside or inside.pop() != name:
            return False
    return not inside


def printed(shown, width):
    out = io.StringIO()
    Console(file=out, width=width).print(shown)
    return out.getvalue()


def test_a_line_holds_the_means_of_its_way_in_percent(comparison):
    for size in comparison.sizes:
        sheet = main_sheet(comparison, size)
        for condition in comparison.conditions:
            if condition.by == "each":
                continue
            line = line_of(sheet, comparison.label(condition))
            cells = [comparison.cell(target, size, condition) for target in (*TARGETS, "average")]
            assert [item.text for item in line[1:-1]] == [
                f"{100 * cell.mean:.1f} ± {100 * cell.std:.1f}" for cell in cells
            ]
            assert line[-1].text == f"{cells[0].transfer_parameters:,.0f}"


def test_the_head_names_targets_with_their_metrics(comparison):
    assert main_sheet(comparison, 16).head == (
        "condition",
        "rte\naccuracy",
        "mrpc\nf1",
        "stsb\npearson",
        "average",
        "trainable\nparameters",
    )


def test_one_target_has_no_average(comparison):
    rows = [row for row in made_rows() if row.target == "rte"]
    assert main_sheet(Comparison(rows), 16).head == ("condition", "rte\naccuracy", "trainable\nparameters")


def test_best_and_second_of_each_column_are_marked_once(comparison):
    sheet = main_sheet(comparison, 16)
    for column, target in enumerate([*TARGETS, "average"], 1):
        marked = {
            line[column].mark: line[0].text for block in sheet.blocks for line in block.lines if line[column].mark
        }
        best, second = comparison.best(target, 16)
        assert marked == {"best": comparison.label(best), "second": comparison.label(second)}


def test_ways_with_the_very_same_mean_share_a_mark():
    rows = [row.model_copy(update={"score": 0.5, "target": "rte"}) for row in made_rows() if row.method in ("head-only", "single-adapter", "fusion") and row.by in (None, "all")]  # fmt: skip
    worse = [row.model_copy(update={"score": 0.4}) if row.method == "fusion" else row for row in rows]
    marks = {
        line[0].text: line[1].mark for block in main_sheet(Comparison(worse), "full").blocks for line in block.lines
    }
    assert marks == {"head-only": "best", "single-adapter": "best", "fusion": ""}


def test_blocks_follow_what_a_method_is():
    assert {name: block_of(Condition(name)) for name in METHODS if name != "joint"} == {
        **dict.fromkeys(("majority", "closed-form-base", "head-only", "full", "single-adapter", "compacter++"), 0),
        "auto": 2,
        **dict.fromkeys(
            ("closed-form", "sequential", "average", "fixed-grid", "search", "soup", "soup-similarity", "fusion"), 1
        ),
        **dict.fromkeys(("scalearn", "scalearn-uniform", "scalearn++", "scalearn-uniform++"), 2),
        **dict.fromkeys(("scalearn-mean", "scalearn-softmax"), 2),
    }
    assert (block_of(Condition("of-an-older-version")), block_of(Condition("of-an-older-version", "all", 3))) == (0, 1)


def test_blocks_stand_in_the_papers_order(comparison):
    told = config()
    told["methods"] = list(GAINS)[::-1]
    sheet = main_sheet(Comparison(made_rows(), told), "full")
    assert [block.name for block in sheet.blocks] == ["without sources", "with sources", "ScaLearn"]
    assert [line[0].text for line in sheet.blocks[0].lines] == ["single-adapter", "head-only"]


def test_what_each_source_gives_stands_in_its_own_table(comparison):
    assert not any("from" in line[0].text for block in main_sheet(comparison, 4).blocks for line in block.lines)
    sheet = sources_sheet(comparison, 4)
    lines = [line for block in sheet.blocks for line in block.lines]
    assert [line[0].text for line in lines] == list(SOURCES)
    cell = comparison.cell("mrpc", 4, Condition("scalearn", "each", 1, False, "qqp"))
    assert lines[1][3].text == score(cell, 5)
    assert sources_sheet(Comparison(made_rows()[:5]), "full") is None


def test_a_score_says_how_many_seeds_it_lacks(partial):
    cell = partial.cell("mrpc", 16, FUSION)
    assert score(cell, 5) == f"{100 * cell.mean:.1f} ± {100 * cell.std:.1f} [4]"
    assert score(cell, 4).endswith(f"± {100 * cell.std:.1f}")
    assert score(None, 5) == "–"


def test_one_seed_has_no_spread_and_a_lost_one_is_said():
    row = made_rows()[0]
    assert score(Comparison([row]).cell("rte", "full", HEAD), 1) == f"{100 * row.score:.1f}"
    lost = Comparison([row.model_copy(update={"score": None})])
    assert score(lost.cell("rte", "full", HEAD), 1) == "diverged"
    text = markdown(main_sheet(lost, "full"))
    assert "Diverged, and left out of means: head-only on rte (1 of 1 seeds)" in text
    assert "One seed (0): no spread is known" in text
    assert "**" not in text


def test_what_is_not_finished_is_a_dash_and_named(partial):
    sheet = main_sheet(partial, 4)
    line = line_of(sheet, "scalearn (3 by connectivity)")
    assert [item.text for item in line[3:5]] == ["–", "–"]
    (gaps,) = (note for note in sheet.notes if "Not finished" in note)
    assert "scalearn (3 by connectivity) on stsb (0 of 5 seeds)" in gaps
    assert "on rte" not in gaps
    assert not any("Not finished" in note for note in main_sheet(partial, "full").notes)
    assert any("fusion (2 by connectivity) on mrpc (1 of 5 seeds)" in note for note in main_sheet(partial, 16).notes)


def test_a_long_list_is_cut_and_counted():
    assert listed([str(i) for i in range(12)]) == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more"
    assert listed(["a"] * 10) == "; ".join(["a"] * 10)


def test_seeds_that_differ_by_target_are_told(comparison):
    told = config()
    told["targets"]["seeds_of"] = {"stsb": [0, 1]}
    notes = " ".join(main_sheet(Comparison(made_rows(), told), "full").notes)
    assert "over seeds (0, 1, 2, 3, 4 for rte, mrpc; 0, 1 for stsb)" in notes
    assert "over seeds (0, 1, 2, 3, 4)" in " ".join(main_sheet(comparison, "full").notes)


def test_rows_trained_on_and_scored_are_told(comparison):
    assert "Rows trained on / scored: rte 16 / 500; mrpc 16 / 500; stsb 16 / 500" in main_sheet(comparison, 16).notes


def test_differences_are_the_comparisons(comparison):
    sheet, holm = paired_sheet(comparison, 4), comparison.holm(4, "fusion")
    condition = Condition("average", "connectivity", 2)
    line = [item.text for item in line_of(sheet, comparison.label(condition))]
    found = comparison.paired(4, condition, "fusion")
    assert found.difference < 0
    interval = f"−{-100 * found.difference:.1f} [−{-100 * found.low:.1f}, −{-100 * found.high:.1f}]"
    assert line[5:] == [interval, probability(found.p), probability(holm[condition]), "0 / 0 / 3"]
    assert line_of(sheet, "single-adapter")[1:5] == items("–", "–", "–", "–")


def test_wins_ties_and_losses_are_counted_by_target():
    up = {0: 0.02, 1: 0.03, 2: 0.025}
    change = {"rte": up, "mrpc": {seed: -step for seed, step in up.items()}, "stsb": {0: 0.05, 1: -0.05, 2: 0.0}}
    first = made_rows()[0]
    rows = [
        first.model_copy(update={"target": target, "seed": seed, "method": method, "score": 0.5 + step * (method == "full")})
        for target, steps in change.items()
        for seed, step in steps.items()
        for method in ("full", "single-adapter")
    ]  # fmt: skip
    line = [item.text for item in line_of(paired_sheet(Comparison(rows), "full"), "full")]
    assert line[4] == "1 / 1 / 1"


def test_there_is_no_table_of_differences_without_another_side():
    rows = [row for row in made_rows() if row.method in ("head-only", "scalearn")]
    assert paired_sheet(Comparison(rows), "full") is None
    assert [sheet.name for sheet in sheets(Comparison(rows), "full")] == ["main-full", "costs-full", "sources-full"]
    only = [row for row in made_rows() if row.method in ("head-only", "single-adapter")]
    assert len(paired_sheet(Comparison(only), "full").head) == 5


def test_the_tests_limits_are_said_where_it_is_shown(comparison):
    notes = " ".join(paired_sheet(comparison, 4).notes)
    assert "not corrected for the number of comparisons" in notes
    assert "With few seeds only large differences are found" in notes


def test_costs_are_means_over_targets(comparison):
    condition = Condition("scalearn", "connectivity", 3)
    line = [item.text for item in line_of(costs_sheet(comparison, "full"), comparison.label(condition))]
    assert line[1:] == [
        "3 of 3",
        "384",
        "55",
        "2.5 kB",
        "7.5",
        "203.0 MB",
    ]  # (66 + 66 + 33) / 3; 2 + 0.5 * 3 + 4 seconds


def test_costs_that_no_row_tells_are_dashes():
    row = made_rows()[0].model_copy(update={"bytes": None, "peak_memory": None})
    assert [item.text for item in line_of(costs_sheet(Comparison([row]), "full"), "head-only")][4::2] == ["–", "–"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0.0123, "+1.2"), (-0.0123, "−1.2"), (0.0004, "0.0"), (-0.0004, "0.0"), (0.0, "0.0")],
)
def test_a_difference_has_its_sign(given, shown):
    assert signed(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"), [(None, "–"), (1.0, "1.00"), (0.25, "0.25"), (0.0312, "0.031"), (9e-5, "< 0.0001")]
)
def test_a_p_value_has_two_digits(given, shown):
    assert probability(given) == shown


def test_rankings_are_means_over_seeds():
    rows = made_rankings()[:2]
    swapped = [rows[0], rows[1].model_copy(update={"scores": (0.1, 0.2, 0.3, 0.4, 2.5)})]
    (line,) = rankings_sheet(swapped).blocks[0].lines
    assert line[1].text == "rte"
    expected = {name: (a + b) / 2 for name, a, b in zip(rows[0].names, rows[0].scores, swapped[1].scores, strict=True)}
    order = sorted(expected, key=lambda name: (-expected[name], name))
    assert line[-1].text == ", ".join(f"{name} {expected[name]:.3f}" for name in order)
    assert order != list(rows[0].names)
    assert line[3].text == "2"
    assert rankings_sheet([]) is None


def test_markdown_is_a_table_with_the_marks(comparison):
    lines = [line for line in markdown(main_sheet(comparison, 4)).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {7}
    best = main_sheet(comparison, 4)
    (found,) = (item.text for block in best.blocks for line in block.lines for item in line[1:2] if item.mark == "best")
    assert f"**{found}**" in "\n".join(lines)
    assert "| *ScaLearn* |  |  |  |  |  |" in lines


def test_markdown_shows_signs_as_they_are(odd):
    text = markdown(odd)
    assert r"| a\|b\_c | **50 % ± 1** |" in text
    assert r"| \<i\> & $x$ #1 {y} \~^\\ | <u>\[3\]</u> |" in text
    assert r"Note \<b\> here" in text
    assert plain("two\nlines") == "two lines"


def test_latex_is_balanced_with_as_many_cells_as_columns(comparison, odd):
    for sheet in (*sheets(comparison, 16), odd, rankings_sheet(made_rankings())):
        text = latex(sheet)
        assert nested(text)
        bare = re.sub(r"\\[\\{}&]", "", text.replace("\\\\", ""))
        assert bare.count("{") == bare.count("}")
        (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
        lines = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len(lines) == 1 + sum(len(block.lines) for block in sheet.blocks)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(columns) - 1}
        assert text.count("\\midrule") == len(sheet.blocks)


def test_latex_shows_signs_as_they_are(odd):
    text = latex(odd)
    assert r"a$|$b\_c & \textbf{50 \% $\pm$ 1} \\" in text
    assert (
        r"$<$i$>$ \& \$x\$ \#1 \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{} & \underline{[3]} \\" in text
    )
    assert r"\caption{A title with 5 \% \& more}" in text
    assert tex("– −") == "-- $-$"


def test_a_terminal_has_bold_and_underline_and_takes_no_name_for_a_style():
    sheet = Sheet("x", "t", ("condition", "score"), (Block("", (items("[red]name", Item("9.0", "best")), items("b", Item("8.0", "second")))),))  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=60, force_terminal=True, color_system="standard").print(Terminal(sheet))
    assert "\x1b[1m9.0\x1b[0m" in out.getvalue()
    assert "\x1b[4m8.0\x1b[0m" in out.getvalue()
    assert "[red]name" in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_number_is_whole_at_any_width(comparison, width):
    text = printed(Terminal(main_sheet(comparison, 16)), width)
    assert max(map(len, text.splitlines())) <= width
    for block in main_sheet(comparison, 16).blocks:
        for line in block.lines:
            assert all(item.text in text for item in line[1:])
            assert line[0].text in text or width == 40  # the longest alone is 38 letters


def test_a_wide_terminal_has_one_table_and_a_narrow_one_says_where_it_goes_on(comparison):
    sheet = main_sheet(comparison, 16)
    assert "continued" not in printed(Terminal(sheet), 200)
    assert printed(Terminal(sheet), 80).count("Scores in %, 16 rows, continued") == 1


def test_a_comparison_prints_each_size_and_says_once_how_it_is_read(partial):
    text = printed(table(partial), 400)
    assert [text.count(f"Scores in %, {size}\n") or text.count(f"Scores in %, {size} ") for size in ("all rows", "16 rows", "4 rows")] == [1, 1, 1]  # fmt: skip
    assert text.count("Mean ± standard deviation") == 1
    assert text.count("Not finished") == 1


def test_a_size_without_rows_of_this_base_has_no_table(comparison):
    assert sheets(comparison, 32) == []
    assert BASES[0]["name"] == comparison.base
