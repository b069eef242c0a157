"""A base that was moved is found by its weights, where the user says or beside what is stored; another one is refused by name."""

import json
import shutil
from pathlib import Path

import pytest
from stored_edits import edit

import scalearn.cli.main as cli
import tasksel.cli.main as tasksel_cli
from scalearn import AdapterPool, TransferResult, transfer
from tasksel import UserError, get_task
from tasksel.model.base import describe, load_base
from tasksel.model.stored_base import is_gone, stored_base


@pytest.fixture(scope="module")
def made(tiny, pool_folder, fill, recipe, target, tmp_path_factory):
    """A tree with a base, a pool, a result and an export, as it lay when all was made."""
    tree = tmp_path_factory.mktemp("made") / "project"
    shutil.copytree(tiny, tree / "models" / "mine")
    base = load_base(str(tree / "models" / "mine"))
    pool = AdapterPool(tree / "pools" / "p", base=base)
    for source in AdapterPool(pool_folder):
        pool.add(source.folder, name=source.name, task=source.task, rows=20, same_base=True)
    result = transfer(target, list(pool), method="scalearn", rows=16, recipe=recipe, out=tree / "out")
    result.export(tree / "export")
    return tree


@pytest.fixture
def tree(made, tmp_path):
    """The tree elsewhere, its base at another place and under another name, and the old one gone."""
    moved = shutil.copytree(made, tmp_path / "elsewhere" / "project")
    shutil.move(moved / "models" / "mine", tmp_path / "renamed")
    if made.is_dir():
        shutil.move(made, made.with_name("gone"))
    yield moved
    shutil.move(made.with_name("gone"), made)


@pytest.fixture
def renamed(tree, tmp_path):
    return str(tmp_path / "renamed")


@pytest.fixture
def rows(tmp_path):
    texts = [("Two cooks peel carrots", "Nobody cooks"), ("It rains", "It is dry")]
    lines = [dict(zip(get_task("entail_kitchen").text, pair, strict=True)) for pair in texts]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(capsys, *arguments, main=cli.main):
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def commands(tree, rows, tmp_path):
    """Every command that reads a stored base, and whether it needs the base itself."""
    pool = ["--pool", tree / "pools" / "p"]
    few = ["--rows", 16, "--recipe.epochs", 1, "--recipe.batch", 8, "--recipe.max-length", 24]
    rank = ["rank", "entail_kitchen", *pool, "--by", "text", "--rows", 16, "--cache-dir", tmp_path / "kept"]
    return {
        "predict": (cli.main, ["predict", tree / "out", rows], True),
        "predict by an export": (cli.main, ["predict", tree / "export", rows], True),
        "predict a text": (cli.main, ["predict", tree / "out", "--text", "It rains", "--text", "It is dry"], True),
        "export": (cli.main, ["export", tree / "out", "--out", tmp_path / "exported"], True),
        "explain": (cli.main, ["explain", tree / "out", "--rows", 8], True),
        "transfer": (
            cli.main,
            ["transfer", "entail_kitchen", *pool, "--sources", "all", "--out", tmp_path / "o", *few],
            True,
        ),
        "rank": (tasksel_cli.main, rank, True),
        "pool add": (cli.main, ["pool", "add", tree / "export", *pool, "--name", "exported", "--same-base"], True),
        "train-source": (cli.main, ["train-source", "grammar_garden", *pool, "--name", "more", *few], True),
        "pool ls": (cli.main, ["pool", "ls", *pool], False),
        "pool show": (cli.main, ["pool", "show", "entail_travel", *pool], False),
        "pool verify": (cli.main, ["pool", "verify", *pool], False),
        "push": (cli.main, ["push", tree / "export", "--to", "me/mine"], False),
    }


NAMES = list(commands(Path(), Path(), Path()))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_base_where_it_lies_now(
    tree, rows, renamed, make_base, tmp_path, capsys, monkeypatch, name
):
    main, arguments, needed = commands(tree, rows, tmp_path)[name]
    monkeypatch.setattr("scalearn.results.explain.paired_intervals", lambda *_, **__: [(0.0, 0.0)] * 3)  # seconds
    code, out, err = run(capsys, *arguments, main=main)
    if needed:
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "which is gone; say where it lies now: --base FOLDER" in err
    else:
        assert code == 0, err
    code, _, err = run(capsys, *arguments, "--base", make_base(seed=1), main=main)
    assert code == 2
    assert err.count("\n") == 1
    assert str(make_base(seed=1)) in err
    code, _, err = run(capsys, *arguments, "--base", renamed, main=main)
    assert code == 0, err


def test_a_tree_that_was_moved_as_a_whole_works_as_before(made, rows, tmp_path, capsys):
    moved = shutil.copytree(made, tmp_path / "other" / "name")
    shutil.move(made, made.with_name("gone"))
    try:
        for arguments in (["predict", moved / "out", rows], ["predict", moved / "export", rows]):
            code, out, err = run(capsys, *arguments)
            assert code == 0, err
            assert f"base: {moved / 'models' / 'mine'} has the weights of" in err
            assert len(out.splitlines()) == 2
        assert AdapterPool(moved / "pools" / "p").base.path == str(moved / "models" / "mine")
    finally:
        shutil.move(made.with_name("gone"), made)


def test_a_folder_of_that_name_with_other_weights_is_not_taken(make_base, tmp_path):
    shutil.copytree(make_base(seed=1), tmp_path / "project" / "mine")
    record = {"name": "/no/such/mine", "fingerprint": load_base(make_base()).fingerprint}
    with pytest.raises(UserError, match="'/no/such/mine', which is gone"):
        stored_base(record, owner="out", near=tmp_path / "project" / "out")
    shutil.copytree(make_base(), tmp_path / "mine")
    assert stored_base(record, owner="out", near=tmp_path / "project" / "out").path == str(tmp_path / "mine")


def test_a_base_of_other_weights_is_refused_with_both(make_base):
    record, other = describe(load_base(make_base())), load_base(make_base(seed=1))
    for chosen in (other, other.name):
        with pytest.raises(UserError) as caught:
            stored_base(record, chosen, owner="out/rte")
        for said in ("out/rte: trained on base", record["fingerprint"], other.fingerprint, other.name, "--base"):
            assert said in str(caught.value)
    assert stored_base(record, make_base(), owner="out/rte").fingerprint == record["fingerprint"]


def test_a_folder_whose_weights_have_changed_since_is_refused(make_base, tmp_path):
    shutil.copytree(make_base(seed=1), tmp_path / "mine")
    record = {"name": str(tmp_path / "mine"), "fingerprint": load_base(make_base()).fingerprint}
    with pytest.raises(UserError, match=f"out: trained on base .* with weights {record['fingerprint']}; the one here"):
        stored_base(record, owner="out")


def test_a_hub_id_that_cannot_be_had_says_what_to_do():
    with pytest.raises(
        UserError, match=r"out: base 'no/such-base' cannot be loaded: .*; if its base lies elsewhere, say where: --base"
    ):
        stored_base({"name": "no/such-base", "fingerprint": "0" * 16}, owner="out")


def test_only_a_missing_folder_is_gone(tmp_path):
    assert [is_gone(name) for name in ("minilm", "owner/name", str(tmp_path), str(tmp_path / "x"))] == [
        False,
        False,
        False,
        True,
    ]


def test_a_result_and_its_copy_keep_the_base_that_they_were_given(tree, renamed, tmp_path):
    result = TransferResult.load(tree / "out", base=renamed)
    texts = [("It rains", "It is dry")]
    assert result.save(tmp_path / "copy").predict(texts).tolist() == result.predict(texts).tolist()


def test_a_pool_lists_and_verifies_without_reading_its_base(tree, monkeypatch):
    def refuse(*_):
        raise AssertionError("the base was read")

    monkeypatch.setattr("tasksel.adapters.pool.load_base", refuse)
    monkeypatch.setattr("tasksel.model.stored_base.load_base", refuse)
    pool = AdapterPool(tree / "pools" / "p")
    pool.verify()
    assert "mine" in repr(pool)
    assert pool.base_record["name"].endswith("mine")


def test_a_pool_of_two_bases_is_refused_with_both(tree, make_base, tmp_path):
    card = tree / "pools" / "p" / "sentiment_films" / "card.json"
    edit(card, base={"name": "other", "fingerprint": "0" * 16})
    with pytest.raises(
        UserError, match=r"source 'sentiment_films' in .* was trained on base 'other' .*, 'entail_travel' on"
    ):
        AdapterPool(tree / "pools" / "p")


def test_a_source_of_a_moved_base_is_transferred_by_name_of_the_new_place(tree, renamed, recipe):
    pool = AdapterPool(tree / "pools" / "p")
    with pytest.raises(UserError, match=r"source 'entail_travel': trained on base .*, which is gone"):
        transfer(get_task("entail_kitchen"), list(pool), method="scalearn", rows=16, recipe=recipe)
    moved = AdapterPool(tree / "pools" / "p", base=renamed)
    assert transfer(
        get_task("entail_kitchen"), list(moved), method="scalearn", rows=16, recipe=recipe, base=moved.base
    ).seeds
