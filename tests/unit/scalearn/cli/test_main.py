"""Every command does what it says; every mistake is one line on standard error and exit code 2, with no traceback."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import scalearn.cli.main as cli
from scalearn import AdapterPool, TransferResult, answer
from scalearn.comparison.records import RunFolder
from tasksel.tasks.builtin import builtin_rows
from tasksel.tasks.registry import find_tasks

ROOT = Path(__file__).parents[4]
SMALL = ["--recipe.epochs", "1", "--recipe.batch", "8", "--recipe.max-length", "24"]
COMMANDS = (
    ["train-source"],
    ["pool", "ls"],
    ["pool", "show"],
    ["pool", "add"],
    ["pool", "verify"],
    ["transfer"],
    ["export"],
    ["predict"],
    ["explain"],
    ["push"],
    ["compare"],
    ["report"],
    ["measure-matrix"],
    ["doctor"],
)


@pytest.fixture
def say(capsys):
    """Runs a command that must succeed, and gives what it printed."""

    def run(*arguments):
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert code == 0, said.err
        assert "error:" not in said.err
        return said.out

    return run


@pytest.fixture
def refuse(capsys):
    """Runs a command that must fail as a user's mistake, and gives its one line."""

    def run(*arguments):
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert code == 2
        (line,) = said.err.splitlines()
        assert line.startswith("error: ")
        assert "Traceback" not in said.out + said.err
        return line

    return run


@pytest.fixture(scope="module")
def ranked_pool(pool_folder, tmp_path_factory):
    """A copy of the session's pool, in which embeddings may be stored."""
    folder = tmp_path_factory.mktemp("cli") / "pool"
    shutil.copytree(pool_folder, folder)
    return folder


@pytest.fixture
def reviews(tmp_path):
    """A user's own CSV."""
    lines = [f"{word} stay number {n},{'good' if n % 2 else 'bad'}" for n in range(20) for word in ("a", "the")]
    (tmp_path / "reviews.csv").write_text("body,stars\n" + "\n".join(lines) + "\n")
    return tmp_path / "reviews.csv"


@pytest.fixture
def rows_file(tmp_path):
    rows = builtin_rows("entail_kitchen")["validation"][:8]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_ends_well_and_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert "xample:" in shown
    _, example = shown.split("xample:", 1)
    assert f"scalearn {' '.join(command)} " in example


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_example_in_the_help_is_understood(command, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    lines = [line.strip().removeprefix("Example: ") for line in capsys.readouterr().out.splitlines()]
    examples = [shlex.split(line.split("-m ")[-1]) for line in lines if " ".join(["scalearn", *command, ""]) in line]
    examples = [words[1:] for words in examples if words[0] == "scalearn"]
    assert examples
    for words in examples:
        call = cli.parse(words)
        if words[0] == "train-source" and "--data" not in words and ".csv" not in words[1]:
            assert all(name in find_tasks() for name in call.keywords.get("tasks", call.args[0] if call.args else ()))


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert all(command[0] in shown for command in COMMANDS)


# --- what works ---


def test_train_source_trains_and_then_skips(say, tiny, tmp_path, monkeypatch):
    call = ["train-source", "grammar_school", "--pool", tmp_path / "pool", "--base", tiny, "--rows", "16", *SMALL]
    assert "Source('grammar_school': dev " in say(*call)
    card = AdapterPool(tmp_path / "pool")["grammar_school"].card
    assert (card.rows, card.recipe.epochs, card.recipe.batch, card.recipe.lr) == (16, 1, 8, 3e-4)
    monkeypatch.setattr("tasksel.adapters.train.fit", lambda *_, **__: pytest.fail("trained again"))
    say(*call)


def test_train_source_takes_a_file_and_a_name(say, tiny, reviews, tmp_path):
    say(
        "train-source",
        reviews,
        "--text",
        "body",
        "--label",
        "stars",
        "--name",
        "hotel",
        "--pool",
        tmp_path / "pool",
        "--base",
        tiny,
        *SMALL,
    )
    source = AdapterPool(tmp_path / "pool")["hotel"]
    assert source.task.labels == ("bad", "good")


def test_pool_ls_lists_every_source(say, pool):
    shown = say("pool", "ls", "--pool", pool.folder)
    assert all(name in shown for name in pool.names)
    assert "bert" in shown


def test_pool_show_prints_the_card_as_json(say, pool):
    shown = json.loads(say("pool", "show", "entail_travel", "--pool", pool.folder))
    assert shown == json.loads(pool["entail_travel"].card.model_dump_json())


def test_pool_verify_counts_what_it_checked(say, pool):
    assert say("pool", "verify", "--pool", pool.folder).startswith("3 sources")


def test_pool_add_takes_in_a_folder(say, tiny, loud_adapter, tmp_path):
    from tasksel.adapters.folder import save_adapter
    from tasksel.model.base import load_base

    model = loud_adapter(load_base(tiny).model(), "guest")
    save_adapter(model, tmp_path / "guest", "guest")
    say(
        "pool",
        "add",
        tmp_path / "guest",
        "--pool",
        tmp_path / "pool",
        "--base",
        tiny,
        "--task",
        "grammar_garden",
        "--rows",
        "50",
    )
    source = AdapterPool(tmp_path / "pool")["grammar_garden"]
    assert source.rows == 50


def test_transfer_ranks_chooses_and_stores(say, ranked_pool, tmp_path):
    call = [
        "transfer",
        "entail_kitchen",
        "--pool",
        ranked_pool,
        "--top",
        "2",
        "--rows",
        "24",
        "--seeds",
        "0",
        "1",
        "--out",
        tmp_path / "out",
        *SMALL,
    ]
    shown = say(*call)
    result = TransferResult.load(tmp_path / "out")
    ranked = [line.split()[1] for line in shown.splitlines() if line.strip()[:2] in ("1 ", "2 ")]
    assert list(result.run.sources) == ranked
    assert str(result) in shown
    assert list(result.scores) == [0, 1]
    assert (result.run.rows, result.run.recipe.batch, result.run.recipe.lr) == (24, 8, 1e-3)


def test_transfer_takes_sources_by_name_or_all(say, pool, tmp_path):
    common = ["transfer", "entail_kitchen", "--pool", pool.folder, "--rows", "16", *SMALL]
    say(*common, "--sources", "sentiment_films", "entail_travel", "--out", tmp_path / "named")
    assert list(TransferResult.load(tmp_path / "named").run.sources) == ["sentiment_films", "entail_travel"]
    say(*common, "--sources", "all", "--method", "scalearn-uniform", "--out", tmp_path / "all")
    assert list(TransferResult.load(tmp_path / "all").run.sources) == pool.names


def test_a_ranking_gives_the_similarities_that_a_soup_weighs_by(say, refuse, ranked_pool, tmp_path):
    call = ["transfer", "entail_kitchen", "--pool", ranked_pool, "--rows", "24", "--method", "soup-similarity", *SMALL]
    shown = say(*call, "--top", "2", "--out", tmp_path / "out")
    ranked = [float(line.split()[2]) for line in shown.splitlines() if line.strip()[:2] in ("1 ", "2 ")]
    assert TransferResult.load(tmp_path / "out").run.similarities == pytest.approx(ranked, abs=1e-4)
    told = refuse(*call, "--sources", "all", "--out", tmp_path / "none")
    assert "let a ranking choose the sources" in told


def test_a_targets_own_source_is_left_out_unless_told(say, pool, tmp_path):
    common = ["transfer", "entail_travel", "--pool", pool.folder, "--rows", "16", "--sources", "all", *SMALL]
    say(*common, "--out", tmp_path / "others")
    assert "entail_travel" not in TransferResult.load(tmp_path / "others").run.sources
    say(*common, "--include-target", "--out", tmp_path / "own")
    assert "entail_travel" in TransferResult.load(tmp_path / "own").run.sources


def test_a_source_of_the_targets_name_and_other_rows_is_a_source(say, refuse, pool, tmp_path):
    path = tmp_path / "entail_travel.csv"
    path.write_text("body,v\n" + "".join(f"a row of ours {i},{'ab'[i % 2]}\n" for i in range(40)))
    columns = ["--text", "body", "--label", "v", "--kind", "classification"]
    common = ["transfer", path, *columns, "--pool", pool.folder, "--sources", "all", *SMALL]
    say(*common, "--method", "scalearn-uniform", "--out", tmp_path / "out")
    assert list(TransferResult.load(tmp_path / "out").run.sources) == pool.names
    assert "'joint' tells tasks apart by their names" in refuse(*common, "--method", "joint", "--out", tmp_path / "no")


def test_transfer_takes_a_file_and_a_method_without_sources(say, pool, reviews, tmp_path):
    say(
        "transfer",
        reviews,
        "--text",
        "body",
        "--label",
        "stars",
        "--method",
        "head-only",
        "--pool",
        pool.folder,
        "--out",
        tmp_path / "out",
        *SMALL,
    )
    result = TransferResult.load(tmp_path / "out")
    assert result.run.sources == {}
    assert result.task.labels == ("bad", "good")


def test_transfer_ends_with_a_whole_answer_and_shows_it_again(say, pool, reviews, tmp_path, monkeypatch):
    out = tmp_path / "out"
    columns = ["--text", "body", "--label", "stars", "--pool", pool.folder, "--sources", "all", "--out", out]
    call = ["transfer", reviews, *columns, "--method", "closed-form", "--recipe.max-length", "24"]
    first = say(*call)
    wanted = ("stored in", "95 % interval", "no sources, closed form", "constant guess", "true  bad  good  right")
    assert all(
        words in first for words in (*wanted, "the sources, in their order", "8 validation rows are few", "time: ")
    )
    *_, predict, explain, export = (shlex.split(line)[1:] for line in first.splitlines())
    monkeypatch.chdir(tmp_path)
    shutil.copy(reviews, "new.csv")
    assert "40 predictions in predictions.csv" in say(*predict)
    assert [explain[0], export[0]] == ["explain", "export"]
    say(*export)
    monkeypatch.setattr("scalearn.results.answer._computed", lambda *_: pytest.fail("computed again"))
    again = say(*call)
    tables = [text[: text.index("time: ")] for text in (first, again)]
    assert tables[0] == tables[1]
    assert str(answer(TransferResult.load(out))) in "\n".join(line.rstrip() for line in again.splitlines())


def test_export_and_predict_agree(say, results, rows_file, tmp_path):
    folder = results["scalearn"].folder
    assert str(tmp_path / "exported") in say("export", folder, "--out", tmp_path / "exported", "--seed", "1")
    for model, seed in ((folder, ["--seed", "1"]), (tmp_path / "exported", [])):
        shown = say("predict", model, rows_file, "--out", tmp_path / f"{model.name}.jsonl", *seed)
        assert "8 predictions" in shown
        assert f"score on the labels in {rows_file}: " in shown
    one, two = (
        [list(json.loads(line)["scores"].values()) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in (folder.name, "exported")
    )
    np.testing.assert_allclose(one, two, atol=2e-5)


def test_predict_prints_a_line_a_row(say, results, rows_file):
    lines = say("predict", results["scalearn"].folder, rows_file).splitlines()
    assert len(lines) == 9
    assert lines[0].split()[0] in results["scalearn"].task.labels


def test_predict_takes_one_text(say, results, kinds, tmp_path):
    pair = ("--text", "The pan is hot", "--text", "The pan is cold")
    lines = [line.split() for line in say("predict", results["scalearn"].folder, *pair).splitlines()]
    assert lines[0] == [lines[1][0]]  # the best first
    assert sorted(line[0] for line in lines[1:]) == sorted(results["scalearn"].task.labels)
    assert float(lines[1][1]) >= float(lines[2][1])
    choices = ("--choice", "She ate it.", "--choice", "It flew.")
    shown = say("predict", kinds["choices"].folder, "--text", "She cut the bread.", *choices).splitlines()
    assert shown[0] in ("She ate it.", "It flew.")
    say("predict", results["scalearn"].folder, *pair, "--out", tmp_path / "one.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [row["prediction"]] == lines[0]


def test_explain_shows_and_stores(say, results, experiment_run, tmp_path):
    shown = say("explain", results["scalearn++"].folder, "--rows", "10", "--out", tmp_path / "found.json")
    told = json.loads((tmp_path / "found.json").read_text())
    assert all(name in shown for name in told["sources"])
    assert (told["rows"], told["method"]) == (10, "scalearn++")
    assert "by scalearn, seed 1" in say("explain", experiment_run, "entail_kitchen", "--seed", "1", "--rows", "10")


def test_push_only_says_what_it_would_send(say, results, tmp_path, monkeypatch):
    monkeypatch.setattr("scalearn.results.push.HfApi", lambda: pytest.fail("the hub was asked"))
    folder = results["scalearn"].export(tmp_path / "export")
    shown = say("push", folder, "--to", "me/mine")
    assert "/me/mine (public)" in shown
    assert "nothing was sent; --yes sends it" in shown
    assert results["scalearn"].run.base["name"] + " of this machine is named in these files" in shown


def test_report_shows_and_writes_what_is_stored(say, experiment_run, tmp_path):
    shown = say("report", experiment_run, "--out", tmp_path / "report")
    for row in RunFolder(experiment_run).rows:
        assert row.method in shown
    assert "report.html" in shown
    page = (tmp_path / "report" / "report.html").read_text()
    assert "entail_kitchen" in page
    assert (tmp_path / "report" / "report.md").is_file()


def test_run_plans_and_writes_nothing(say, config, tmp_path, no_training):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    shown = say("compare", tmp_path / "config.yaml", "--out", tmp_path / "out", "--plan")
    assert "12 steps, 0 done; nothing was run" in shown
    assert "  12  to do  entail_kitchen with all rows by head-only, seed 1" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("order", ["configuration first", "options first"])
def test_dotted_options_change_what_the_file_says(say, config, tmp_path, no_training, order):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = [
        "--out",
        tmp_path / "out",
        "--plan",
        "--targets.seeds",
        "5",
        "--methods",
        "scalearn++",
        "--rank.top",
        "3",
    ]
    call = (
        [tmp_path / "config.yaml", *options] if order == "configuration first" else [*options, tmp_path / "config.yaml"]
    )
    shown = say("compare", *call)
    assert "5 steps, 0 done" in shown
    assert "entail_kitchen with all rows by scalearn++ from 3 sources by connectivity, seed 5" in shown


def test_run_runs_and_a_second_time_finds_all_done(say, config, tmp_path, monkeypatch):
    config["targets"]["seeds"], config["methods"] = [0], ["scalearn-uniform"]
    config["sources"]["tasks"], config["rank"]["top"] = ["entail_travel"], 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    call = ["compare", tmp_path / "config.yaml", "--out", tmp_path / "out", "--recipe.lr", "0.002"]
    shown = say(*call)
    assert "sources for entail_kitchen by connectivity, seed 0: entail_travel " in shown
    assert "scalearn-uniform" in shown
    assert "report.html" in shown
    [row] = RunFolder(tmp_path / "out").rows
    assert TransferResult.load(tmp_path / "out" / "store" / "results" / row.key).run.recipe.lr == 0.002
    monkeypatch.setattr("tasksel.adapters.train.fit", lambda *_, **__: pytest.fail("trained again"))
    say(*call)
    assert "3 steps, 3 done" in say(*call, "--plan")


def test_doctor_is_content_with_a_sound_pool(say, pool):
    shown = say("doctor", "--pool", pool.folder)
    assert "PROBLEM" not in shown
    assert "packaged encoder" in shown


# --- what does not ---


def test_a_command_misspelt_is_answered_with_the_nearest(refuse):
    assert "did you mean 'transfer'" in refuse("tranfser", "rte")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train-source", "sentimnt_films"], "no task 'sentimnt_films'; did you mean 'sentiment_films'?"),
        (
            ["train-source", "entail_travel", "grammar_garden", "--name", "one"],
            "--name goes with one task; 2 are named",
        ),
        (["train-source"], "name at least one task"),
        (["train-source", "entail_travel", "--recipe.epoch", "3"], "--recipe.epochs"),
        (["train-source", "entail_travel", "--rows", "many"], "--rows"),
        (["train-source", "entail_travel", "--rows", "1"], "at least 2 rows"),
        (["train-source", "entail_travel", "--overwrite", "sometimes"], "only-missing"),
        (["train-source", "entail_travel", "--name", "../up"], "cannot name a pool entry"),
        (["train-source", "entail_travel", "--rows", "9"], "trained with other data or settings"),
        (["pool", "show", "entail_travl"], "no source 'entail_travl'; did you mean 'entail_travel'?"),
        (["pool", "sho", "entail_travel"], "did you mean 'show'"),
        (["pool", "add", "no/such/folder/at/all"], "no/such/folder/at/all"),
        (["transfer", "entail_kichen", "--out", "{out}"], "no task 'entail_kichen'; did you mean 'entail_kitchen'?"),
        (["transfer", "entail_kitchen", "--out", "{out}", "--method", "scalern"], "did you mean 'scalearn'?"),
        (["transfer", "entail_kitchen", "--out", "{out}", "--methd", "scalearn"], "--method"),
        (["transfer", "entail_kitchen", "--out", "{out}", "--top", "4"], "--top 4, but the pool"),
        (["transfer", "entail_kitchen", "--out", "{out}", "--top", "0"], "choose 1 to 3"),
        (
            ["transfer", "entail_kitchen", "--out", "{out}", "--top", "2", "--by", "conectivity"],
            "did you mean 'connectivity'?",
        ),
        (["transfer", "entail_kitchen", "--out", "{out}", "--sources", "rte"], "no source 'rte'"),
        (
            ["transfer", "entail_kitchen", "--out", "{out}", "--sources", "entail_travel", "entail_travel"],
            "is chosen more than once",
        ),
        (
            ["transfer", "entail_kitchen", "--out", "{out}", "--sources", "all", "--seeds", "1", "1"],
            "without duplicates",
        ),
        (["transfer", "entail_kitchen"], "--out"),
        (["transfer", "{reviews}", "--out", "{out}"], "--text COLUMN"),
        (["transfer", "{reviews}", "--text", "bdy", "--label", "stars", "--out", "{out}"], "did you mean 'body'?"),
        (["transfer", "{reviews}", "--text", "body", "--out", "{out}"], "'label'"),
        (["transfer", "none.csv", "--text", "body", "--out", "{out}"], "no file none.csv"),
        (["transfer", "rte", "--data", "no/folder", "--out", "{out}"], "no folder no/folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_what_to_do(refuse, no_training, pool, reviews, tmp_path, arguments, said):
    given = [argument.format(out=tmp_path / "out", reviews=reviews) for argument in arguments]
    assert said in refuse(*given, "--pool", pool.folder)
    assert not (tmp_path / "out").exists()


def test_a_pool_that_is_not_there_is_said(refuse, tmp_path):
    for command in (
        ["pool", "ls"],
        ["pool", "verify"],
        ["pool", "show", "a"],
        ["transfer", "entail_kitchen", "--out", tmp_path / "out"],
    ):
        assert f"no pool at {tmp_path / 'none'}" in refuse(*command, "--pool", tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_another_base_than_the_pools_is_said(refuse, pool, make_base):
    assert "was trained on base" in refuse(
        "train-source", "grammar_school", "--pool", pool.folder, "--base", make_base(seed=1)
    )


def test_a_base_that_is_not_there_is_said(refuse, tmp_path):
    assert "base 'no-such-base' cannot be loaded" in refuse(
        "train-source", "grammar_school", "--pool", tmp_path / "pool", "--base", "no-such-base"
    )


def test_a_broken_pool_is_said_by_verify_and_doctor(refuse, own_pool):
    (own_pool["grammar_garden"].folder / "adapter.safetensors").unlink()
    assert "grammar_garden/adapter.safetensors is missing" in refuse("pool", "verify", "--pool", own_pool.folder)
    assert "1 problem(s): pool" in refuse("doctor", "--pool", own_pool.folder)


def test_what_cannot_be_exported_is_said(refuse, results, tmp_path):
    assert "learns no adapter" in refuse("export", results["head-only"].folder, "--out", tmp_path / "out")
    assert "no transfer result there" in refuse("export", tmp_path, "--out", tmp_path / "out")
    assert "no seed 9" in refuse("export", results["scalearn"].folder, "--seed", "9", "--out", tmp_path / "out")
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds no export" in refuse("export", results["scalearn"].folder, "--out", tmp_path)


def test_what_cannot_be_predicted_is_said(refuse, results, rows_file, tmp_path):
    folder = results["scalearn"].folder
    assert "no file" in refuse("predict", folder, tmp_path / "none.jsonl")
    assert "neither a transfer result" in refuse("predict", tmp_path, rows_file)
    assert "cannot write '.xlsx'" in refuse("predict", folder, rows_file, "--out", tmp_path / "out.xlsx")
    (tmp_path / "bare.csv").write_text("premise\nonly this\n")
    assert f"no column at {tmp_path / 'bare.csv'}:2" in refuse("predict", folder, tmp_path / "bare.csv")
    (tmp_path / "broken.jsonl").write_text('{"premise": \n')
    assert "broken.jsonl:1: broken JSON" in refuse("predict", folder, tmp_path / "broken.jsonl")


def test_a_text_that_does_not_fit_the_task_is_said(refuse, results, kinds, rows_file):
    folder, one = results["scalearn"].folder, ("--text", "a")
    said = refuse("predict", folder, *one)
    assert "takes a pair of texts, given 1: --text" in said
    assert "takes one text, given 2" in refuse("predict", kinds["single"].folder, *one, *one)
    assert "an empty --text" in refuse("predict", kinds["single"].folder, "--text", " ")
    for mistake in ((rows_file, *one), (), ("--choice", "a"), (rows_file, "--choice", "a")):
        assert "give a FILE, or --text" in refuse("predict", folder, *mistake)
    assert "--choice is for multiple choice" in refuse("predict", folder, *one, *one, "--choice", "b")
    assert "give 2 to 3 choices" in refuse("predict", kinds["choices"].folder, *one, "--choice", "b")
    assert "an empty --choice" in refuse("predict", kinds["choices"].folder, *one, "--choice", "b", "--choice", "")


def test_what_cannot_be_explained_is_said(refuse, results, experiment_run, tmp_path):
    folder = results["scalearn"].folder
    assert "'head-only' has no mix" in refuse("explain", results["head-only"].folder)
    assert "no transfer result there" in refuse("explain", tmp_path)
    assert "name one of its targets" in refuse("explain", experiment_run)
    assert "size 16: it is not finished" in refuse("explain", experiment_run, "entail_kitchen", "--size", "16")
    assert "is no run" in refuse("explain", folder, "entail_kitchen")
    assert "no seed 9" in refuse("explain", folder, "--seed", "9")
    assert "rows is 0" in refuse("explain", folder, "--rows", "0")
    assert "cannot write '.csv'" in refuse("explain", folder, "--out", tmp_path / "found.csv")


def test_what_cannot_be_pushed_is_said(refuse, results, tmp_path, monkeypatch):
    assert "is no export" in refuse("push", results["scalearn"].folder, "--to", "me/mine")
    folder = results["scalearn"].export(tmp_path / "export")
    assert "of the form user/name" in refuse("push", folder, "--to", "mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refuse("push", folder, "--to", "me/mine", "--yes")


def test_what_cannot_be_run_is_said(refuse, config, tmp_path, no_training):
    path, out = tmp_path / "config.yaml", ["--out", tmp_path / "out"]
    assert "no configuration" in refuse("compare", path, *out)
    path.write_text(yaml.safe_dump({**config, "method": ["scalearn"]}))
    assert "method: no key 'method'; did you mean 'methods'?" in refuse("compare", path, *out)
    path.write_text(yaml.safe_dump(config))
    assert "rank.top is 9" in refuse("compare", path, *out, "--rank.top", "9")
    assert "no protocol 'papr'; did you mean 'paper'" in refuse("compare", path, *out, "--protocol", "papr")
    assert "1 rows for 'entail_kitchen', which has 2 classes" in refuse("compare", path, *out, "--targets.sizes", "1")
    assert "--targets.rows" in refuse("compare", path, *out, "--targets.row", "9")
    assert "--out" in refuse("compare", path)
    assert "Missing from scalearn compare: PATH config" in refuse("compare", *out)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_reported_is_said(refuse, tmp_path):
    assert "no run there" in refuse("report", tmp_path)


def test_an_interrupted_command_promises_only_what_it_keeps(capsys, monkeypatch, pool):
    monkeypatch.setattr("scalearn.cli.doctor.checks", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted: the same command starts from the beginning\n"
    keep = {name for name in cli.app.names() if cli.app.kept(name.split())}
    assert keep == {"train-source", "transfer", "compare", "measure-matrix"}
    cli.parse(["compare", "quickstart", "--out", "out"])  # which registers the command anew
    assert "goes on from there" in cli.app.kept(["compare", "quickstart"])
