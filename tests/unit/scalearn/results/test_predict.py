"""A result and its export predict the same, each kind of task in its own form; labels in the file give the metric."""

import csv
import json
import shutil

import numpy as np
import pytest
from stored_edits import edit

from scalearn.results.predict import predict_file, predict_text
from tasksel import UserError, load_data
from tasksel.storage.hashed import read_hashed
from tasksel.tasks.builtin import builtin_rows
from tasksel.tasks.metrics import score


def rows_of(result, count=12):
    return builtin_rows(result.task.name)["validation"][:count]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def without_label(rows):
    return [{key: value for key, value in row.items() if key != "label"} for row in rows]


@pytest.fixture(scope="module")
def exported(kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    return {kind: result.export(folder / result.task.name) for kind, result in kinds.items()}


KINDS = ("single", "pair", "number", "several labels", "choices")


@pytest.mark.parametrize("kind", KINDS)
def test_result_and_export_predict_the_same(kinds, exported, kind, tmp_path):
    file = write(tmp_path / "rows.jsonl", rows_of(kinds[kind]))
    (one, first), (two, second) = (predict_file(folder, file) for folder in (kinds[kind].folder, exported[kind]))
    assert first == pytest.approx(second)
    for a, b in zip(one, two, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=2e-5)
        assert a["prediction"] == (pytest.approx(b["prediction"], abs=1e-5) if kind == "number" else b["prediction"])


@pytest.mark.parametrize("kind", KINDS)
def test_labels_in_the_file_give_the_tasks_metric(kinds, kind, tmp_path):
    result = kinds[kind]
    found = predict_file(result.folder, write(tmp_path / "rows.jsonl", rows_of(result, 200)))[1]
    assert found == pytest.approx(result.scores[result.best_seed], abs=1e-9)
    test = load_data(result.task).test
    assert found == pytest.approx(score(result.task.metric, result.logits(test), test.labels))


def test_without_labels_there_are_predictions_and_no_score(kinds, tmp_path):
    result, rows = kinds["pair"], rows_of(kinds["pair"])
    bare, measured = predict_file(result.folder, write(tmp_path / "bare.jsonl", without_label(rows)))
    assert measured is None
    assert bare == predict_file(result.folder, write(tmp_path / "rows.jsonl", rows))[0]


@pytest.mark.parametrize("hidden", [None, "", "?", -1, "-1", "neither"])
def test_rows_without_a_label_of_the_task_are_not_scored(kinds, tmp_path, capsys, hidden):
    result, rows = kinds["pair"], rows_of(kinds["pair"])
    known = predict_file(result.folder, write(tmp_path / "known.jsonl", rows[:3] + rows[4:]))[1]
    rows[3] = {**rows[3], "label": hidden}
    assert predict_file(result.folder, write(tmp_path / "rows.jsonl", rows))[1] == pytest.approx(known)
    assert "scored on the 11 of 12 rows that have a label of the task; the first without: " in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "hidden"), [("pair", -1), ("single", "?"), ("number", -1), ("number", None), ("several labels", None), ("choices", -1)])  # fmt: skip
def test_hidden_labels_are_predicted_and_not_scored(kinds, tmp_path, capsys, kind, hidden):
    rows = [{**row, "label": hidden} for row in rows_of(kinds[kind])]
    predicted, measured = predict_file(kinds[kind].folder, write(tmp_path / "rows.jsonl", rows))
    assert (len(predicted), measured) == (12, None)
    assert "no row has a label of the task" in capsys.readouterr().err


def test_numbers_that_are_all_one_have_no_correlation(kinds, tmp_path, capsys):
    rows = [{**row, "label": 2.5} for row in rows_of(kinds["number"])]
    assert predict_file(kinds["number"].folder, write(tmp_path / "rows.jsonl", rows))[1] is None
    assert "the labels are one number, 2.5, with which nothing correlates: not scored" in capsys.readouterr().err


def test_the_label_column_and_the_metric_may_be_others(kinds, tmp_path):
    result, rows = kinds["pair"], rows_of(kinds["pair"], 40)
    renamed = [{**row, "gold": row["label"], "label": "?"} for row in rows]
    file = write(tmp_path / "rows.jsonl", renamed)
    predicted, measured = predict_file(result.folder, file, label="gold", metric="macro_f1")
    truth = np.array([row["label"] for row in rows])
    logits = np.eye(2)[[result.task.labels.index(row["prediction"]) for row in predicted]]
    assert measured == pytest.approx(score("macro_f1", logits, truth))
    with pytest.raises(UserError, match=r"no column at .*: 'gild'; did you mean 'gold'"):
        predict_file(result.folder, file, label="gild")


def test_a_class_is_named_with_the_probability_of_each(kinds, tmp_path):
    for kind in ("single", "pair"):
        result = kinds[kind]
        said, _ = predict_file(result.folder, write(tmp_path / "rows.jsonl", rows_of(result)))
        for row in said:
            assert row["prediction"] == max(row["scores"], key=row["scores"].get)
            assert tuple(row["scores"]) == result.task.labels
            assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_number_is_a_number(kinds, tmp_path):
    said, _ = predict_file(kinds["number"].folder, write(tmp_path / "rows.jsonl", rows_of(kinds["number"])))
    assert all(isinstance(row["prediction"], float) and row["scores"] == {} for row in said)
    assert len({row["prediction"] for row in said}) > 1


def test_several_labels_are_those_above_one_half(kinds, tmp_path):
    result = kinds["several labels"]
    said, _ = predict_file(result.folder, write(tmp_path / "rows.jsonl", rows_of(result, 60)))
    for row in said:
        expected = [name for name, p in row["scores"].items() if p > 0.5]
        assert tuple(row["scores"]) == result.task.labels
        assert row["prediction"] == expected
    assert any(row["prediction"] for row in said) or max(max(row["scores"].values()) for row in said) <= 0.5


def test_a_choice_is_its_index_and_a_missing_one_has_no_probability(kinds, tmp_path):
    result, rows = kinds["choices"], rows_of(kinds["choices"])
    rows[0] = {**rows[0], "choices": rows[0]["choices"][:2], "label": 0}
    said, _ = predict_file(result.folder, write(tmp_path / "rows.jsonl", rows))
    assert said[0]["scores"]["2"] == 0.0
    assert all(str(row["prediction"]) == max(row["scores"], key=row["scores"].get) for row in said)


def test_a_seed_may_be_named(kinds, tmp_path):
    file = write(tmp_path / "rows.jsonl", rows_of(kinds["pair"]))
    zero, one = (predict_file(kinds["pair"].folder, file, seed=seed)[0] for seed in (0, 1))
    assert zero != one
    with pytest.raises(UserError, match="no seed 4; there are 0, 1"):
        predict_file(kinds["pair"].folder, file, seed=4)


def test_a_seed_of_an_export_is_refused(exported, kinds, tmp_path):
    with pytest.raises(UserError, match="an export holds one seed"):
        predict_file(exported["pair"], write(tmp_path / "rows.jsonl", rows_of(kinds["pair"])), seed=1)


def test_a_csv_reads_as_the_same_rows(kinds, tmp_path):
    result, rows = kinds["pair"], rows_of(kinds["pair"])
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    jsonl = write(tmp_path / "rows.jsonl", rows)
    assert predict_file(result.folder, tmp_path / "rows.csv") == predict_file(result.folder, jsonl)


def test_a_missing_column_is_named_with_its_place(kinds, tmp_path):
    rows = rows_of(kinds["pair"])
    column = kinds["pair"].task.text[1]
    rows[2] = {key: value for key, value in rows[2].items() if key != column}
    with pytest.raises(UserError, match=rf"no column at .*rows\.jsonl:3: '{column}'"):
        predict_file(kinds["pair"].folder, write(tmp_path / "rows.jsonl", rows))


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"neither a transfer result .* nor an export"):
        predict_file(tmp_path, write(tmp_path / "rows.jsonl", [{"text": "a"}]))


def test_an_export_for_another_base_is_refused(exported, kinds, make_base, tmp_path):
    shutil.copytree(exported["pair"], tmp_path / "export")
    path = tmp_path / "export" / "scalearn.json"
    edit(path, base=read_hashed(path)["base"] | {"name": make_base(seed=1)})
    with pytest.raises(UserError, match=r"trained on base .* with weights"):
        predict_file(tmp_path / "export", write(tmp_path / "rows.jsonl", rows_of(kinds["pair"])))


@pytest.mark.parametrize("file", ["adapter.safetensors", "model_head.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_an_export_whose_weights_are_gone_is_refused_and_no_pickle_read_instead(
    exported, kinds, tmp_path, monkeypatch, file, damage
):
    import torch

    shutil.copytree(exported["pair"], tmp_path / "export")
    weights = tmp_path / "export" / file
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-9])
    else:
        weights.unlink()
        torch.save({}, tmp_path / "export" / "pytorch_adapter.bin")
        torch.save({}, tmp_path / "export" / "pytorch_model_head.bin")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    with pytest.raises(UserError, match=rf"{file}"):
        predict_file(tmp_path / "export", write(tmp_path / "rows.jsonl", rows_of(kinds["pair"])))


def test_a_file_with_ids_gives_them_back(kinds, tmp_path):
    rows = [{**row, "idx": f"q{number}"} for number, row in enumerate(rows_of(kinds["pair"], 3))]
    said, _ = predict_file(kinds["pair"].folder, write(tmp_path / "rows.jsonl", rows))
    assert [row["id"] for row in said] == ["q0", "q1", "q2"]
    bare = [{key: value for key, value in row.items() if key != "idx"} for row in rows]
    said, _ = predict_file(kinds["pair"].folder, write(tmp_path / "bare.jsonl", bare))
    assert [row["id"] for row in said] == [1, 2, 3]


def test_paths_and_one_text_may_be_plain_strings(kinds, exported, tmp_path):
    folder, file = exported["single"], write(tmp_path / "rows.jsonl", rows_of(kinds["single"]))
    assert predict_text(str(folder), "A fine room") == predict_text(folder, ["A fine room"])
    assert predict_file(str(folder), str(file)) == predict_file(folder, file)
