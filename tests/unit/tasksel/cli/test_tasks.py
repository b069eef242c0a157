"""Tests of `tasksel show` with people's files: what is read, what is said, and how much of a text is shown."""

import json

import pytest

from tasksel.cli.main import main

ROWS = [(f"text {i}, and more", "ab"[i % 2]) for i in range(40)]


@pytest.fixture
def show(capsys, tmp_path, monkeypatch):
    """The exit code of `tasksel show` in an empty folder, and all that it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["show", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def separated(separator, rows=ROWS):
    return f"t{separator}label\n" + "".join(f"{text}{separator}{label}\n" for text, label in rows)


def test_reads_what_a_user_says_of_a_file(show, tmp_path):
    write(tmp_path / "a.csv", separated("~", [("café " + text, label) for text, label in ROWS]), "cp1252")
    code, said = show("a.csv", "--text", "t")
    assert code == 2
    assert "a.csv:2: not UTF-8 text (byte 0xe9)" in said
    code, said = show("a.csv", "--text", "t", "--separator", "~", "--encoding", "cp1252")
    assert code == 0
    assert "café text" in said
    (tmp_path / "a.yaml").write_text(said[said.index("{") : said.index("\nrows:")])
    assert show("a.yaml")[0] == 0


def test_expands_a_home_folder(show, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", separated(";"))
    assert show("~/a.csv", "--text", "t")[0] == 0
    assert not (tmp_path / "~").exists()


def test_shows_the_beginning_of_a_long_text(show, tmp_path):
    rows = [{"t": f"{i} " + "x" * 2_000_000, "label": "ab"[i % 2]} for i in range(20)]
    write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    code, said = show("a.jsonl", "--text", "t")
    assert code == 0
    assert "… (2,000,002 characters)" in " ".join(said.split())
    assert len(said) < 10_000


def test_half_of_a_surrogate_pair_is_shown_as_a_replacement(show, tmp_path):
    rows = [{"t": f"half \ud83d {i}", "label": ("a", "\ud800")[i % 2]} for i in range(20)]
    write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    code, said = show("a.jsonl", "--text", "t")
    assert code == 0
    assert "half \ufffd" in said


def test_a_file_of_another_kind_is_answered_with_the_endings_that_are_read(show, tmp_path):
    write(tmp_path / "a.xlsx", "PK")
    code, said = show("a.xlsx", "--text", "t")
    assert code == 2
    assert "cannot read '.xlsx'; allowed: .csv, .tsv" in said


@pytest.mark.parametrize("name", ["rows.json", "none.json", "broken.json", "deep.json", "deep.yaml"])
def test_what_is_no_task_file_is_one_line(show, tmp_path, name):
    write(tmp_path / "rows.json", json.dumps([{"t": "x", "label": "a"}]))
    write(tmp_path / "broken.json", '{"name": "x"')
    write(tmp_path / "deep.json", "[" * 100_000)
    write(tmp_path / "deep.yaml", "a: &a [*a]")
    code, said = show(name)
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    answers = {"rows": "--text COLUMN", "none": "no file none.json", "broken": "broken.json:1: broken JSON"}
    assert answers.get(name.partition(".")[0], "nested more than 50 deep") in said


def test_ls_lists_a_suite_and_refuses_one_that_is_not_there(capsys):
    assert main(["ls", "--suite", "builtin"]) == 0
    assert "sentiment_films" in capsys.readouterr().out
    for suite in ("bultin", ""):
        assert main(["ls", "--suite", suite]) == 2
        assert f"error: no suite '{suite}';" in capsys.readouterr().err
