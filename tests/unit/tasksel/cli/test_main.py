"""Tests of the `tasksel` command: ls, show, embed, rank, and one line for each mistake."""

import json

import pytest

from tasksel import TaskEmbedding
from tasksel.cli.app import out
from tasksel.cli.main import app, main
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.text import Text
from tasksel.tasks.builtin import builtin_tasks

QUICK = ["--rows", "20", "--set", "max_steps=2", "batch=8"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder to stand in, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 200)


@pytest.fixture
def reviews(tmp_path):
    """A user's own file: a text and stars."""
    rows = [f"the film number {i} was {('bad', 'fine', 'great')[i % 3]},{(1, 2, 10)[i % 3]}" for i in range(30)]
    (tmp_path / "reviews.csv").write_text("\n".join(["body,stars", *rows]) + "\n")
    return "reviews.csv"


def said(capsys, *arguments):
    """What a command that ends well prints."""
    code = main(list(arguments))
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refused(capsys, *arguments):
    """What a command that is refused says, which is one line."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


class TestLs:
    def test_lists_the_builtin_suite(self, capsys):
        shown = said(capsys, "ls")
        for task in builtin_tasks():
            [line] = [line for line in shown.splitlines() if f" {task.name} " in line]
            assert task.metric in line
            assert task.kind.replace("_", " ") in line
        assert "tasksel ls --data hub" in shown

    def test_lists_a_suite_of_the_hub(self, capsys):
        shown = said(capsys, "ls", "--data", "hub", "--suite", "superglue")
        assert " boolq " in shown
        assert " mnli " not in shown
        assert "tasksel ls" not in shown

    def test_lists_a_folder(self, capsys, tmp_path):
        folder = tmp_path / "tasks" / "mine"
        folder.mkdir(parents=True)
        card = {"name": "mine", "kind": "regression", "text_fields": ["t"], "licence": "MIT"}
        (folder / "task.json").write_text(json.dumps(card))
        (folder / "train.jsonl").write_text('{"t": "x", "label": 1.5}\n')
        shown = said(capsys, "ls", "--data", "tasks")
        assert " mine " in shown
        assert " MIT " in shown

    def test_a_folder_without_tasks_is_refused(self, capsys, tmp_path):
        (tmp_path / "none").mkdir()
        assert "no task folders there" in refused(capsys, "ls", "--data", "none")
        assert "no folder nowhere" in refused(capsys, "ls", "--data", "nowhere")


class TestShow:
    def test_shows_the_task_and_its_first_rows(self, capsys):
        shown = said(capsys, "show", "entail_travel", "--rows", "50")
        assert '"kind": "pair_classification"' in shown
        assert "rows: train 45, dev 5 (a stratified tenth of train), test 200" in shown
        rows = shown.splitlines()[-3:]
        assert all(row.startswith(("  entailment: ", "  not_entailment: ")) and " | " in row for row in rows)

    def test_too_few_rows_are_refused(self, capsys):
        assert main(["show", "entail_travel", "--rows", "1"]) == 2
        assert capsys.readouterr().err.startswith("error: rows=1: a task needs at least 2 rows")

    @pytest.mark.parametrize(
        ("name", "label"), [("complaints_orders", "|none|, "), ("rating_hotels", "."), ("endings_daily", "['")]
    )
    def test_every_kind_of_label_is_shown(self, capsys, name, label):
        row = said(capsys, "show", name, "--rows", "20").splitlines()[-1]
        assert any(part in row for part in label.split("|") if part)

    def test_shows_a_file_of_ones_own(self, capsys, reviews):
        shown = said(capsys, "show", reviews, "--text", "body", "--label", "stars")
        told = json.loads(shown[: shown.index("\nrows:")])
        assert (told["name"], told["labels"]) == ("reviews", ["1", "2", "10"])
        assert "rows: train 22, dev 2 (a stratified tenth of train), test 6" in shown

    def test_shows_a_task_file(self, capsys, reviews, tmp_path):
        shown = said(capsys, "show", reviews, "--text", "body", "--label", "stars")
        (tmp_path / "task.yaml").write_text(shown[: shown.index("\nrows:")])  # JSON is YAML
        assert said(capsys, "show", "task.yaml") == shown

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["entail_travels"], "no task 'entail_travels'; did you mean 'entail_travel'?"),
            (["reviews.csv"], "say which columns hold the text: --text COLUMN"),
            (["reviews.csv", "--text", "bdy", "--label", "stars"], "'bdy'; did you mean 'body'?"),
            (["review.csv", "--text", "body"], "no file review.csv; in that folder: reviews.csv"),
            (["none.yaml"], "no file none.yaml"),
            (["broken.yaml"], "broken.yaml:2: broken YAML"),
            (["list.yaml"], "list.yaml: a task file is a mapping (name: value), given ['a']"),
            (["wrong.yaml"], "wrong.yaml: no kind 'pair_clasification'; did you mean 'pair_classification'?"),
            (["folder"], "folder/task.json: no kind 'regresion'; did you mean 'regression'?"),
            (["empty"], "empty/task.json: no training file beside it"),
        ],
    )
    def test_a_mistake_is_said_in_one_line(self, capsys, tmp_path, reviews, arguments, answer):
        (tmp_path / "broken.yaml").write_text("name: [x\nkind: y\n")
        (tmp_path / "list.yaml").write_text("- a\n")
        source = "source: {type: builtin}"
        (tmp_path / "wrong.yaml").write_text(f"name: x\nkind: pair_clasification\ntext: [a, b]\nmetric: f1\n{source}\n")
        for name, kind in (("folder", "regresion"), ("empty", "regression")):
            (tmp_path / name).mkdir()
            card = {"name": "x", "kind": kind, "text_fields": ["t"], "label_names": ["a", "b"], "metric": "pearson"}
            (tmp_path / name / "task.json").write_text(json.dumps(card))
        (tmp_path / "folder" / "train.jsonl").write_text('{"t": "x", "label": 1.5}\n')
        assert answer in refused(capsys, "show", *arguments)


class TestInterrupted:
    def test_only_commands_that_keep_their_work_promise_to_go_on(self):
        assert {name for name in app.names() if app.kept(name.split())} == {"embed", "rank", "evaluate", "predict-gain"}

    @pytest.mark.parametrize("command", [["embed"], ["rank", "grammar_garden"]])
    def test_the_same_command_computes_only_what_is_missing(self, capsys, monkeypatch, tiny, command):
        plain, embedded = Text.embed, []

        def embed(embedder, task, *args, **options):
            embedded.append(task.name)
            if len(embedded) == 2:
                raise KeyboardInterrupt
            return plain(embedder, task, *args, **options)

        monkeypatch.setattr(Text, "embed", embed)
        command = [*command, "entail_travel", "entail_kitchen", "--by", "text", "--base", tiny, "--rows", "10"]
        assert main(command) == 130
        assert "the same command computes the others" in capsys.readouterr().err
        said(capsys, *command)
        assert len(embedded) == len(set(embedded)) + 1  # the one that was interrupted, again
        said(capsys, *command)
        assert len(embedded) == len(set(embedded)) + 1


class TestEmbed:
    def test_writes_one_file_a_task(self, capsys, tiny, tmp_path):
        shown = said(capsys, "embed", "entail_travel", "grammar_garden", "--base", tiny, "--out", "made", *QUICK)
        key = Connectivity(max_steps=2, batch=8).key
        files = sorted(path.name for path in (tmp_path / "made").glob("*.safetensors"))
        assert files == [f"{name}-{key}-seed0.safetensors" for name in ("entail_travel", "grammar_garden")]
        made = TaskEmbedding.load(tmp_path / "made" / files[0]).provenance
        assert (made["task"], made["steps"], made["base"]) == ("entail_travel", 2, tiny)
        assert f"made/{files[1]}" in shown.replace("\n", "")

    def test_settings_reach_the_embedder(self, capsys, tiny, tmp_path):
        said(capsys, "embed", "grammar_garden", "--base", tiny, *QUICK, "co-train=true", "--seed", "3")
        [path] = (tmp_path / "embeddings").glob("*.safetensors")
        made = TaskEmbedding.load(path).provenance
        assert made["settings"]["co_train"] is True
        assert made["seed"] == 3

    def test_a_file_of_ones_own(self, capsys, tiny, reviews, tmp_path):
        said(capsys, "embed", reviews, "--text", "body", "--label", "stars", "--base", tiny, *QUICK)
        [path] = (tmp_path / "embeddings").glob("*.safetensors")
        assert TaskEmbedding.load(path).provenance["task"] == "reviews"

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["grammar_gardn"], "did you mean 'grammar_garden'?"),
            (["grammar_garden", "--base", "nobody/none"], "no network for the hub id 'nobody/none'"),
            (["grammar_garden", "--set", "max_step=3"], "did you mean 'max_steps'?"),
            (["grammar_garden", "--set", "max_steps"], "setting 'max_steps': give name=value"),
            (["grammar_garden", "--set", "grouping=none"], "balanced"),
            (["grammar_garden", "--set", "lr=high"], "lr='high' of 'connectivity': give a float, like 0.01"),
        ],
    )
    def test_a_mistake_is_said_in_one_line(self, capsys, tiny, arguments, answer):
        base = [] if "--base" in arguments else ["--base", tiny]
        assert answer in refused(capsys, "embed", *arguments, *base)


class TestRank:
    def test_ranks_the_named_sources(self, capsys, tiny):
        named = ["sentiment_films", "grammar_garden", "entail_travel"]
        shown = said(capsys, "rank", "entail_travel", *named, "--base", tiny, "--rows", "20").splitlines()
        assert shown[0] == "sources for entail_travel by auto"
        rows = [row.split() for row in shown[2:]]
        assert sorted(name for _, name, _ in rows) == ["grammar_garden", "sentiment_films"]  # not the target itself
        assert [place for place, _, _ in rows] == ["1", "2"]
        assert float(rows[0][2]) >= float(rows[1][2])

    def test_without_sources_all_others_are_ranked(self, capsys, tiny, reviews, monkeypatch):
        asked = {}
        monkeypatch.setattr("tasksel.selection.ranking.rank", lambda task, sources, **options: asked.update(task=task, names=[s.name for s in sources], **options) or "table")  # fmt: skip
        assert (
            said(capsys, "rank", reviews, "--text", "body", "--label", "stars", "--base", tiny, "--seed", "2")
            == "table\n"
        )
        assert asked["names"] == [task.name for task in builtin_tasks()]
        assert (asked["task"].name, asked["base"].name, asked["seed"], asked["rows"]) == ("reviews", tiny, 2, None)

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["entail_travel", "entail_travel"], "no sources to rank for 'entail_travel'"),
            (["entail_travel", "sentimnt_films"], "did you mean 'sentiment_films'?"),
            (["entail_travel", "--by", "connectvity"], "did you mean 'connectivity'?"),
            (["entail_travel", "--bases", "x"], "--base"),
        ],
    )
    def test_a_mistake_is_said_in_one_line(self, capsys, tiny, arguments, answer):
        assert answer in refused(capsys, "rank", *arguments, "--base", tiny)


@pytest.mark.parametrize("arguments", [["lss"], ["embd", "x"]])
def test_an_unknown_command_is_answered_with_the_nearest(capsys, arguments):
    near = {"lss": "ls", "embd": "embed"}[arguments[0]]
    assert f"did you mean '{near}'?" in refused(capsys, *arguments)
