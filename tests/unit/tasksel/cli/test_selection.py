"""The commands that choose and judge: rank, embed --by, judge, benefit, index; one line for each mistake."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scoring_setup import SOURCES, TARGETS, write_matrix
from stored_edits import edit

from tasksel import TaskEmbedding
from tasksel.cli.app import out
from tasksel.cli.main import main
from tasksel.embeddings.vocabulary import Vocabulary
from tasksel.evaluation.score_records import SelectorScores, read_scores
from tasksel.evaluation.score_selectors import fuse
from tasksel.evaluation.transfer_matrix import read_matrix
from tasksel.gain.pair_features import FILE as PAIRS
from tasksel.gain.pair_features import PairFeatures
from tasksel.gain.predictor import evaluate_gain_prediction
from tasksel.storage.jsonl import append_row


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder to stand in, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 200)


@pytest.fixture
def matrix(tmp_path):
    """A folder with a small measured matrix."""
    write_matrix(tmp_path / "m" / "matrix.jsonl")
    return tmp_path / "m"


@pytest.fixture
def scored(matrix):
    """The same with scores of two methods: one that is right and one that is wrong."""
    for target in TARGETS:
        for by, sign in (("text", -1.0), ("vocabulary", 1.0)):
            scores = {name: sign * place for place, name in enumerate(SOURCES)}
            append_row(matrix / "scores.jsonl", SelectorScores(by, target, 0, scores, 1.5, 0.5, 100))
    return matrix


@pytest.fixture
def trained(tmp_path, pool_folder):
    """A copy of the pool."""
    shutil.copytree(pool_folder, tmp_path / "pool", ignore=shutil.ignore_patterns("embeddings"))
    return "pool"


def run(capsys, *arguments):
    """What a command that ends well prints, and what it says on the way in one line."""
    code = main(list(map(str, arguments)))
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out, " ".join(captured.err.split())


def refused(capsys, *arguments):
    """What a command that is refused says, which is one line."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


def methods_in(table):
    """The first cells of a printed table's rows, in order."""
    known = (
        "random",
        "oracle",
        "one seed",
        "text",
        "vocabulary",
        "size",
        "kind",
        "leep",
        "text+vocabulary",
        "kind+size",
    )
    return [name for line in table.splitlines() for name in known if re.match(rf" +{re.escape(name)}  +\S*\d", line)]


@pytest.mark.parametrize(
    "command", [["evaluate"], ["predict-gain"], ["rank"], ["embed"], ["index", "build"], ["index", "nearest"]]
)
def test_help_has_examples(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code in (0, None)
    told = capsys.readouterr().out
    assert "xample" in told
    assert f"\n  tasksel {' '.join(command)} " in told or f"Example: tasksel {' '.join(command)} " in told


class TestJudge:
    def test_shows_a_row_for_every_method_best_first(self, capsys, scored):
        table, said = run(capsys, "evaluate", scored, "--by", "vocabulary", "text")
        rows = methods_in(table)
        assert sorted(rows) == ["one seed", "oracle", "random", "text", "vocabulary"]
        assert rows[-1] == "vocabulary"  # the wrong way round
        assert rows.index("text") < rows.index("random")
        assert "2 targets; ground truth: mean of 2 seeds of 'sequential' transfer from 3 sources" in " ".join(
            table.split()
        )
        assert said == ""

    def test_the_file_may_be_named_instead_of_its_folder(self, capsys, scored):
        assert run(capsys, "evaluate", scored / "matrix.jsonl", "--by", "text") == run(
            capsys, "evaluate", scored, "--by", "text"
        )

    def test_a_fused_method_is_made_of_stored_scores_without_a_pool(self, capsys, scored):
        before = (scored / "scores.jsonl").read_bytes()
        table, said = run(capsys, "evaluate", scored, "--by", "text", "vocabulary+text")
        assert "text+vocabulary" in methods_in(table)
        assert said == ""
        assert (scored / "scores.jsonl").read_bytes() == before

    def test_out_holds_the_tables_and_the_picture(self, capsys, scored, tmp_path):
        shown, _ = run(capsys, "evaluate", scored, "--by", "text", "--out", "judged")
        assert "judge.md and judge.svg are in judged" in shown
        assert sorted(path.name for path in (tmp_path / "judged").iterdir()) == ["judge.md", "judge.svg"]
        told = (tmp_path / "judged" / "judge.md").read_text()
        assert re.search(r"^\| text +\| 1.000 ", told, re.MULTILINE)
        assert "| selector | sentiment_phones | entail_kitchen |" in told

    def test_targets_and_seeds_choose_what_is_judged(self, capsys, scored):
        append_row(
            scored / "scores.jsonl", SelectorScores("text", TARGETS[0], 1, dict.fromkeys(SOURCES, 0.0), 1.5, 0.5, 100)
        )
        table, _ = run(capsys, "evaluate", scored, "--by", "text", "--targets", TARGETS[0], "--seeds", "0")
        assert "1 targets; ground truth" in " ".join(table.split())
        assert re.search(r"text +1\.000", table), "seed 1, which ranks nothing, is left out"
        both, _ = run(capsys, "evaluate", scored, "--by", "text", "--targets", TARGETS[0])
        assert not re.search(r"text +1\.000", both)

    def test_targets_and_seeds_that_are_not_there_are_named(self, capsys, scored):
        assert "no target in the matrix 'rte'" in refused(
            capsys, "evaluate", scored, "--by", "text", "--targets", "rte"
        )
        assert "no scores under seed 9" in refused(capsys, "evaluate", scored, "--by", "text", "--seeds", "9")

    def test_a_folder_that_cannot_be_written_is_one_line(self, capsys, scored, tmp_path):
        (tmp_path / "file").write_text("mine")
        assert main(["evaluate", str(scored), "--by", "text", "--out", str(tmp_path / "file")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / 'file'}: ")
        assert said.count("\n") == 1

    def test_methods_without_scores_are_named(self, capsys, scored):
        table, said = run(capsys, "evaluate", scored, "--by", "text", "size", "text+size")
        assert "text" in methods_in(table)
        assert "size" not in methods_in(table)
        assert re.search(r"left out, as \S*scores.jsonl has no scores by them \(--pool .*\): size, size\+text$", said)

    def test_all_names_those_that_are_not_there(self, capsys, scored):
        _, said = run(capsys, "evaluate", scored)
        assert ": connectivity, " in said
        assert not re.search(r"[ ,](text|random|oracle)(,|$)", said)

    @pytest.mark.parametrize("by", [[], ["--by", "size", "kind", "esm", "nce"], ["--by", "size+text"]])
    def test_without_any_scores_it_says_what_to_do(self, capsys, matrix, by):
        said = refused(capsys, "evaluate", matrix, *by)
        first = "connectivity" if not by else by[1]
        assert f"no scores by {first}" in said
        assert "compute them from trained sources (--pool POOL, --data TASKS)" in said
        assert ("…" in said) == (len(by) != 2)

    def test_random_alone_needs_no_scores(self, capsys, matrix):
        table, _ = run(capsys, "evaluate", matrix, "--by", "random", "oracle")
        assert sorted(methods_in(table)) == ["one seed", "oracle", "random"]

    def test_scores_are_computed_from_a_pool_and_kept(self, capsys, matrix, trained, tiny, monkeypatch):
        arguments = ["evaluate", matrix, "--by", "size", "vocabulary", "kind+size", "--pool", trained, "--base", tiny, "--rows", "20"]  # fmt: skip
        table, _ = run(capsys, *arguments)
        found = read_scores(matrix)
        assert set(found) == {(by, target, 0) for by in ("size", "vocabulary", "kind+size") for target in TARGETS}  # fmt: skip
        assert set(methods_in(table)) >= {"size", "vocabulary", "kind+size"}
        monkeypatch.setattr(Vocabulary, "embed", lambda *args, **kwargs: pytest.fail("embedded again"))
        monkeypatch.setattr("tasksel.model.base.load_base", lambda *args: pytest.fail("nothing is to be computed"))
        assert run(capsys, *arguments)[0] == table

    def test_each_seed_is_scored(self, capsys, matrix, trained, tiny):
        run(capsys, "evaluate", matrix, "--by", "text", "--pool", trained, "--base", tiny, "--rows", "20", "--seeds", "0", "3")  # fmt: skip
        assert list(read_scores(matrix)) == [("text", t, seed) for t in TARGETS for seed in (0, 3)]

    def test_a_method_that_cannot_rank_a_target_is_said(self, capsys, tmp_path, trained, tiny):
        write_matrix(tmp_path / "m" / "matrix.jsonl", ["rating_hotels", "sentiment_phones"])
        table, said = run(capsys, "evaluate", "m", "--by", "leep", "size", "--pool", trained, "--base", tiny, "--rows", "20")  # fmt: skip
        assert "leep cannot rank sources for 'rating_hotels'" in said
        assert "Left out for every selector, as 'leep' has not ranked them: rating_hotels." in said
        assert set(methods_in(table)) >= {"leep", "size"}

    def test_a_line_that_was_cut_short_is_said_and_the_whole_ones_are_judged(self, capsys, scored):
        path = scored / "matrix.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines)[:-10])
        table, said = run(capsys, "evaluate", scored, "--by", "text")
        assert re.search(
            rf"matrix.jsonl:{len(lines)} ?: the last line is cut short \(a killed run\) and is left out", said
        )
        assert f"{len(lines) - 1} whole rows" in said
        assert "text" in methods_in(table)
        assert path.read_bytes() == b"".join(lines)[:-10]  # what is read is not changed

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["--by", "vocabulry"], "no selector 'vocabulry'; did you mean 'vocabulary'?"),
            (["--by", "text", "--method", "sequental"], "no method in the matrix 'sequental'; did you mean 'sequential'?"),
            (["--by", "size", "--pool", "none"], "no sources in none"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_said_in_one_line(self, capsys, scored, tiny, arguments, answer):
        assert answer in refused(capsys, "evaluate", scored, *arguments, "--base", tiny)

    def test_a_target_that_is_no_task_is_named(self, capsys, tmp_path, trained, tiny):
        write_matrix(tmp_path / "m" / "matrix.jsonl", ["sentiment_phones", "rte"])
        said = refused(capsys, "evaluate", "m", "--by", "size", "--pool", trained, "--base", tiny)
        assert "target 'rte' of the matrix is not among the tasks: say where they lie (--data)" in said
        assert not (tmp_path / "m" / "scores.jsonl").exists()

    def test_a_source_without_a_score_is_named(self, capsys, scored, tmp_path):
        write_matrix(tmp_path / "m" / "matrix.jsonl", sources=["paraphrase_office"])
        assert "'text' has no score for source 'paraphrase_office' of target" in refused(
            capsys, "evaluate", scored, "--by", "text"
        )

    def test_no_matrix_is_said(self, capsys, tmp_path):
        assert "no file nowhere" in refused(capsys, "evaluate", "nowhere")
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "matrix.jsonl").touch()
        assert "no finished run in it yet" in refused(capsys, "evaluate", "empty")


class TestBenefit:
    targets = ("sentiment_phones", "entail_kitchen", "question_type", "grammar_school")

    @pytest.fixture
    def told(self, tmp_path):
        """A matrix of four targets with the features of every pair."""
        write_matrix(tmp_path / "m" / "matrix.jsonl", self.targets)
        for number, target in enumerate(self.targets):
            for place, source in enumerate(SOURCES):
                features = {"cosine/0": 0.9 - 0.1 * place + 0.01 * number, "absolute cosine/0": 0.5}
                append_row(tmp_path / "m" / PAIRS, PairFeatures(target, source, 64 + place, features))
        return tmp_path / "m"

    def test_says_what_is_saved_and_writes_it(self, capsys, told, tmp_path):
        shown, said = run(capsys, "predict-gain", told, "--out", "b")
        assert "12 transfers, 4 targets, 3 sources" in shown
        assert "benefit.md, benefit.json and benefit.svg are in b" in shown
        assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["benefit.json", "benefit.md", "benefit.svg"]
        assert (tmp_path / "b" / "benefit.md").read_text().strip() in shown
        json.loads((tmp_path / "b" / "benefit.json").read_text())
        assert said == ""

    def test_scores_of_other_methods_are_features_too(self, capsys, told, monkeypatch):
        given = []
        monkeypatch.setattr(
            "tasksel.gain.predictor.evaluate_gain_prediction",
            lambda pairs, **more: given.extend(pairs) or evaluate_gain_prediction(pairs, **more),
        )
        for target in self.targets:
            for by in ("text", "vocabulary", *(["size"] if target != self.targets[0] else [])):
                values = {name: float(place) for place, name in enumerate(SOURCES)}
                append_row(told / "scores.jsonl", SelectorScores(by, target, 0, values, 1.0, 1.0, 1))
        shown, _ = run(capsys, "predict-gain", told, "--also", "text", "vocabulary+text")
        assert "12 transfers" in shown
        assert [pair.features["text"] for pair in given] == [SOURCES.index(pair.source) for pair in given]
        assert given[0].features.keys() == {"cosine/0", "absolute cosine/0", "text", "text+vocabulary"}
        for arguments, by in ((["size"], "size"), (["text", "--seed", "4"], "text")):
            said = refused(capsys, "predict-gain", told, "--also", *arguments)
            assert f"no score of 'entail_travel' for 'sentiment_phones' by '{by}'" in said

    def test_pairs_without_features_are_named(self, capsys, told):
        path = told / PAIRS
        path.write_text("".join(line for line in path.read_text().splitlines(True) if '"sentiment_films"' not in line))
        shown, said = run(capsys, "predict-gain", told)
        assert "8 transfers, 4 targets, 2 sources" in shown
        assert "has no features of them (--pool and --data compute them): sentiment_films -> entail_kitchen, " in said

    def test_a_run_that_diverged_under_every_seed_is_named(self, capsys, told):
        path = told / "matrix.jsonl"
        rows = read_matrix(path).rows
        path.unlink()
        for row in rows:
            diverged = (row.target, row.source) == ("grammar_school", "entail_travel")
            append_row(path, replace(row, score=None) if diverged else row)
        shown, said = run(capsys, "predict-gain", told)
        assert "11 transfers" in shown
        assert "left out, as it diverged under every seed: entail_travel -> grammar_school" in said

    def test_features_are_computed_from_a_pool(self, capsys, told, trained, tiny, monkeypatch):
        asked = {}

        def append_pair_features(bench, targets, path, *, seed):
            asked.update(
                sources=[s.name for s in bench.sources], targets=targets, path=path, seed=seed, rows=bench.rows
            )

        monkeypatch.setattr("tasksel.gain.pair_features.append_pair_features", append_pair_features)
        run(capsys, "predict-gain", told, "--pool", trained, "--base", tiny, "--rows", "20", "--seed", "2")
        expected = {"sources": list(SOURCES), "targets": self.targets, "path": told / PAIRS, "seed": 2, "rows": 20}
        assert asked == expected

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["--also", "vocabulry"], "did you mean 'vocabulary'?"),
            (["--also", "text"], "no scores by text in"),
            (["--max-loss", "-1"], "max_loss is -1.0; give 0 or more"),
            (["--method", "scalearn"], "no finished rows of method 'scalearn'"),
        ],
    )
    def test_a_mistake_is_said_in_one_line(self, capsys, told, arguments, answer):
        assert answer in refused(capsys, "predict-gain", told, *arguments)

    def test_without_features_it_says_what_to_do(self, capsys, matrix):
        said = refused(capsys, "predict-gain", matrix)
        assert "pairs.jsonl: compute them from trained sources (--pool POOL, --data TASKS)" in said


class TestRank:
    def test_by_fused_methods(self, capsys, tiny):
        found = {}
        for by in ("text", "vocabulary", "vocabulary+text"):
            shown, _ = run(capsys, "rank", "entail_kitchen", *SOURCES, "--by", by, "--base", tiny, "--rows", "20")
            lines = [line.split() for line in shown.splitlines()]
            assert " ".join(lines[0]) == f"sources for entail_kitchen by {'+'.join(sorted(by.split('+')))}"
            found[by] = {name: float(score) for _, name, score in lines[2:]}
        parts = [SelectorScores(by, "t", 0, found[by], 0, 0, 0) for by in ("text", "vocabulary")]
        assert found["vocabulary+text"] == pytest.approx(fuse("a+b", parts).scores, abs=1e-4)

    def test_a_pools_sources(self, capsys, trained, tiny):
        arguments = ["rank", "entail_kitchen", "--pool", trained, "--base", tiny, "--by", "size", "--rows", "20"]
        shown, _ = run(capsys, *arguments)
        assert [line.split()[1] for line in shown.splitlines()[2:]] == list(SOURCES)  # all alike: by name
        assert shown.splitlines()[2].split()[2] == "64.0000"
        shown, _ = run(capsys, *arguments[:2], "sentiment_films", *arguments[2:])
        assert [line.split()[1] for line in shown.splitlines()[2:]] == ["sentiment_films"]

    def test_a_source_that_is_not_in_the_pool_is_answered_with_the_nearest(self, capsys, trained, tiny):
        said = refused(capsys, "rank", "entail_kitchen", "sentiment_film", "--pool", trained, "--base", tiny)
        assert "no source 'sentiment_film'; did you mean 'sentiment_films'?" in said
        assert "pool: pool" in said

    def test_a_pool_of_another_base_is_refused(self, capsys, trained, make_base):
        said = refused(capsys, "rank", "entail_kitchen", "--pool", trained, "--base", make_base(seed=1))
        assert "source 'entail_travel' in pool was trained on base" in said

    def test_a_pools_data_are_taken_from_where_they_lie_now(self, capsys, trained, tiny, tmp_path):
        for name in ("grammar_garden", "mine"):
            folder = tmp_path / "tasks" / name
            folder.mkdir(parents=True)
            card = {"name": name, "kind": "single_sentence_classification", "text_fields": ["t"], "label_names": ["a", "b"], "metric": "accuracy"}  # fmt: skip
            (folder / "task.json").write_text(json.dumps(card))
            rows = [{"t": f"quince {i} {name}", "label": i % 2} for i in range(30)]
            (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in SOURCES:  # so that the rows are read, not taken for known
            edit(tmp_path / trained / name / "card.json", data=None)
        shown, _ = run(capsys, "rank", "mine", "--pool", trained, "--base", tiny, "--by", "vocabulary", "--data", "tasks")  # fmt: skip
        scores = {name: float(score) for _, name, score in (line.split() for line in shown.splitlines()[2:])}
        assert scores.pop("grammar_garden") > 0  # its rows of the folder speak of quinces too
        assert set(scores.values()) == {0.0}

    def test_settings_reach_the_method(self, capsys, tiny):
        asked = ["rank", "entail_kitchen", *SOURCES, "--by", "text", "--base", tiny, "--rows", "20"]
        few, all_rows = (run(capsys, *asked, "--set", f"rows={rows}")[0] for rows in (2, 20))
        assert few != all_rows
        assert "no setting of 'text' 'row'; did you mean 'rows'" in refused(capsys, *asked, "--set", "row=2")
        asked[asked.index("text")] = "text+size"
        assert "'text+size' fuses several selectors and takes no settings" in refused(capsys, *asked, "--set", "rows=2")

    def test_by_oracle_are_the_measured_scores(self, capsys, matrix, tiny):
        shown, _ = run(capsys, "rank", "entail_kitchen", "--by", "oracle", "--matrix", matrix, "--base", tiny)
        lines = [line.split() for line in shown.splitlines()[2:]]
        assert lines == [
            ["1", "entail_travel", "0.6505"],
            ["2", "grammar_garden", "0.6305"],
            ["3", "sentiment_films", "0.6105"],
        ]

    def test_by_oracle_among_the_named_sources(self, capsys, matrix, tiny):
        named = ["sentiment_films", "grammar_garden"]
        shown, _ = run(capsys, "rank", "entail_kitchen", *named, "--by", "oracle", "--matrix", matrix, "--base", tiny)
        assert [line.split()[1] for line in shown.splitlines()[2:]] == named[::-1]

    def test_by_oracle_of_a_pool(self, capsys, matrix, trained, tiny):
        shown, _ = run(capsys, "rank", "entail_kitchen", "--by", "oracle", "--matrix", matrix, "--base", tiny, "--pool", trained)  # fmt: skip
        assert [line.split()[1] for line in shown.splitlines()[2:]] == list(SOURCES)

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["entail_kitchen", *SOURCES, "--by", "oracle"], "the oracle needs a measured matrix: scalearn measure-matrix CONFIG measures one (--matrix)"),
            (["entail_kitchen", "--by", "oracle", "--matrix", "none"], "no file none"),
            (["rating_hotels", "--by", "oracle", "--matrix", "m"], "no target in the matrix 'rating_hotels'"),
            (["entail_kitchen", "rating_hotels", "--by", "oracle", "--matrix", "m"], "no measured source for 'entail_kitchen' 'rating_hotels'"),
            (["entail_kitchen", "--by", "text+vocabulry"], "did you mean 'vocabulary'?"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_said_in_one_line(self, capsys, matrix, tiny, arguments, answer):
        assert answer in refused(capsys, "rank", *arguments, "--base", tiny)


class TestEmbed:
    def test_by_another_method(self, capsys, tiny, tmp_path):
        shown, _ = run(capsys, "embed", "entail_travel", "--by", "vocabulary", "--base", tiny, "--rows", "20", "--out", "made")  # fmt: skip
        path = tmp_path / "made" / f"entail_travel-{Vocabulary().key}-seed0.safetensors"
        made = TaskEmbedding.load(path)
        assert (made.provenance["task"], made.provenance["method"]) == ("entail_travel", "vocabulary")
        assert f"-> made/{path.name}" in shown

    def test_a_method_that_compares_adapters_trains_one_and_keeps_it(self, capsys, tiny, tmp_path, monkeypatch):
        arguments = ["embed", "sentiment_phones", "--by", "weights", "--base", tiny, "--rows", "20", "--out", "made"]
        run(capsys, *arguments)
        [path] = (tmp_path / "made").glob("*.safetensors")
        assert TaskEmbedding.load(path).provenance["adapter"]
        monkeypatch.setattr("tasksel.adapters.train.fit", lambda *args, **kwargs: pytest.fail("trained again"))
        run(capsys, *arguments)

    def test_a_way_of_choosing_that_embeds_nothing_is_refused(self, capsys, tiny):
        assert "no embedder 'logme'" in refused(capsys, "embed", "entail_travel", "--by", "logme", "--base", tiny)


class TestIndex:
    @staticmethod
    def pattern(task, bits, *, base="abcd"):
        made = {"task": task, "method": "connectivity", "key": "connectivity-1", "base": "tiny", "base_fingerprint": base}  # fmt: skip
        arrays = {"heads": np.packbits(bits[:2]), "neurons": np.packbits(bits[2:])}
        sizes = {"heads": 2, "neurons": len(bits) - 2}
        return TaskEmbedding(arrays, {**made, "bits": sizes, "seconds": 1.0})

    @pytest.fixture
    def files(self, tmp_path):
        found = []
        for name, bits in (("far", [0, 0, 0, 0, 1]), ("near", [1, 1, 1, 1, 0]), ("same", [1, 1, 1, 1, 1])):
            found.append(tmp_path / f"{name}.safetensors")
            self.pattern(name, bits).save(found[-1])
        self.pattern("mine", [1, 1, 1, 1, 1]).save(tmp_path / "mine.safetensors")
        return found

    def test_the_nearest_of_a_built_index(self, capsys, files):
        shown, _ = run(capsys, "index", "build", *files, "--out", "built")
        assert "EmbeddingIndex(3 tasks by connectivity on tiny, binary, 5 bits each" in shown
        shown, _ = run(capsys, "index", "nearest", "built", "mine.safetensors", "--k", "2")
        lines = shown.splitlines()
        assert lines[0] == "sources for mine by connectivity"
        assert [line.split() for line in lines[2:]] == [["1", "same", "1.0000"], ["2", "near", "0.8000"]]

    def test_embedded_tasks_are_found_again(self, capsys, tiny, tmp_path, monkeypatch):
        monkeypatch.setattr("tasksel.embeddings.embedders.EMBEDDERS", {"connectivity": _quick_connectivity})
        monkeypatch.setattr("tasksel.embeddings.embedders.get_embedder", lambda by: _quick_connectivity())
        run(capsys, "embed", "entail_travel", "grammar_garden", "--base", tiny, "--rows", "20", "--out", "made")
        files = sorted((tmp_path / "made").glob("*.safetensors"))
        assert len(files) == 2
        run(capsys, "index", "build", *files, "--out", "built")
        shown, _ = run(capsys, "index", "nearest", "built", files[0], "--k", "1")
        assert shown.splitlines()[2].split() == ["1", "entail_travel", "1.0000"]

    def test_a_k_beyond_the_index_is_refused(self, capsys, files):
        run(capsys, "index", "build", *files, "--out", "built")
        for k in ("4", "0"):
            said = refused(capsys, "index", "nearest", "built", "mine.safetensors", "--k", k)
            assert f"k={k}, but 3 tasks are in the pool: choose 1 to 3" in said

    def test_an_embedding_of_another_base_is_refused(self, capsys, files, tmp_path):
        run(capsys, "index", "build", *files, "--out", "built")
        self.pattern("other", [1, 1, 1, 1, 1], base="ef01").save(tmp_path / "other.safetensors")
        said = refused(capsys, "index", "nearest", "built", "other.safetensors", "--k", "1")
        assert "the pool and the query 'other' differ in base_fingerprint (abcd, ef01)" in said
        said = refused(capsys, "index", "build", *files, "other.safetensors", "--out", "again")
        assert "differ in base_fingerprint" in said
        assert not (tmp_path / "again").exists()

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["build", "--out", "built"], "no embeddings to index"),
            (["build", "none.safetensors", "--out", "built"], "no file none.safetensors"),
            (["nearest", "none", "mine.safetensors"], "no index at none"),
            (["biuld"], "did you mean 'build'?"),
        ],
    )
    def test_a_mistake_is_said_in_one_line(self, capsys, files, arguments, answer):
        assert answer in refused(capsys, "index", *arguments)


def _quick_connectivity():
    from tasksel.embeddings.connectivity import Connectivity

    return Connectivity(max_steps=2, batch=8, max_length=32)
