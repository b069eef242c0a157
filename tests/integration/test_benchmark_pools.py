"""The pool benchmark at tiny sizes: it runs, its page follows from numbers, and its recall would see a wrong ranking. No time is judged."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pools

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed_and_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *texts, **_: said.extend(texts))
        for library in ("OMP", "OPENBLAS"):
            patch.setenv(f"{library}_NUM_THREADS", "1")  # what main sets is taken back
        pools.main(["--sizes", "50", "100", "--sources", "5", "--rounds", "1", "--threads", "1", "--out", str(folder)])
    return "\n".join(said), (folder / "pools.md").read_text()


def test_every_pool_stands_in_the_table_with_full_recall(printed_and_page):
    for text in printed_and_page:
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| c")
        ]
        rows += [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| d")
        ]
        assert [row[1:3] for row in rows] == [["50", "faiss"], ["50", "numpy"], ["100", "faiss"], ["100", "numpy"]] * 2
        assert {len(row) for row in rows} == {12}
        for row in rows:
            assert row[-1] == ("1.00" if row[2] == "faiss" else "–")
            assert all(re.fullmatch(r"[\d,]+\.?\d*|–", cell) for cell in row[3:])
            assert row.count("–") == (0 if row[2] == "faiss" else 6)


def test_the_page_names_its_command_machine_and_wishes(printed_and_page):
    _, page = printed_and_page
    assert (
        "    python -m benchmarks.pools --sizes 50 100 --sources 5 --rounds 1 --threads 1 --out docs/results\n" in page
    )
    assert re.search(r"1 threads?, Python 3\.\d+\.\d+, numpy \d\S*, faiss \d", page)
    assert len(re.findall(r"wanted < (?:0\.5|5) s: (?:met|NOT MET)", page)) == 3
    assert "None" not in page
    assert "nan" not in page


def test_max_is_measured_both_ways(printed_and_page):
    _, page = printed_and_page
    assert re.findall(r"^\| (exact|faiss) \| \d", page, re.MULTILINE) == ["exact", "faiss"]
    apart = float(re.search(r"differ by at most (\S+)\.\n", page).group(1))
    assert apart < 1e-5


def test_recall_counts_what_is_as_similar_as_the_kth():
    similarity = np.array([0.9, 0.5, 0.8, 0.5, 0.1])
    assert pools.recall([0, 2, 1], similarity) == 1.0
    assert pools.recall([0, 2, 3], similarity) == 1.0  # ties with row 1 at the third place
    assert pools.recall([0, 2, 4], similarity) == pytest.approx(2 / 3)
    assert pools.recall([0, 0, 0], similarity) == pytest.approx(1 / 3)  # the best one three times is one
    assert pools.recall([0, 2, 4], similarity, slack=0.5) == 1.0


def test_brute_force_equals_loops():
    for kind in pools.WIDTH:
        rows, target = pools.rows_of(kind, 300)[:270], pools.targets_of(kind, 300)[0]
        found = pools.brute_force(kind, rows, target)
        for i in (0, 255, 256, 269):
            if kind == "binary":
                wanted = np.mean(np.unpackbits(rows[i]) == np.unpackbits(target))
            else:
                wanted = sum(float(a) * float(b) for a, b in zip(rows[i], target, strict=True))
            assert found[i] == pytest.approx(wanted, abs=1e-3 if kind == "dense" else 1e-12)


def test_rows_are_clustered_and_always_the_same():
    rows = pools.rows_of("binary", 400)
    np.testing.assert_array_equal(rows, pools.rows_of("binary", 400))
    assert rows.shape == (400, 4626)
    target = pools.targets_of("binary", 400)[0]
    near = np.sort(pools.brute_force("binary", rows, target))
    assert near[-1] == pytest.approx(0.625, abs=0.02)  # its kin: (3/4)^2 + (1/4)^2
    assert near[200] == pytest.approx(0.5, abs=0.02)  # the others


def test_a_measurement_has_a_process_of_its_own():
    import os

    assert pools.alone(os.getpid) != os.getpid()


def test_a_broken_wish_is_said():
    assert pools.bound(0.4, 0.5) == "wanted < 0.5 s: met"
    assert pools.bound(5.1, 5.0) == "wanted < 5 s: NOT MET"


@pytest.mark.parametrize("options", [["--sizes", "9"], ["--rounds", "0"], ["--sources", "0"]])
def test_impossible_sizes_are_refused(options, capsys):
    with pytest.raises(SystemExit) as refused:
        pools.parse(options)
    assert refused.value.code == 2
    assert "a pool needs at least 10 tasks, all else at least 1" in capsys.readouterr().err


def test_the_commands_in_the_documents_are_valid():
    text = (ROOT / "docs/results/pools.md").read_text() + pools.__doc__
    commands = re.findall(r"^ +python -m benchmarks\.pools(.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        pools.parse(re.split(r"  +", command.strip())[0].split())
