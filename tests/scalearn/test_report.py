"""The report holds every row with the scores as stored, whatever is in memory."""

import json
import shutil

import pytest
from rich.console import Console

from scalearn import TransferResult
from scalearn.report import markdown, rankings, report_rows, table, write_report
from tasksel import UserError


@pytest.fixture
def own_run(experiment_run, tmp_path):
    shutil.copytree(experiment_run, tmp_path / "run")
    return tmp_path / "run"


def set_scores(run, method, *scores):
    for seed, score in enumerate(scores):
        path = run / "results" / "entail_kitchen" / method / f"seed-{seed}" / "seed.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"scores": {"accuracy": score}}))


def cells(text, *first):
    """The cells of the one table line that begins with these."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (found,) = (line for line in lines if tuple(line[: len(first)]) == first)
    return found


def test_every_result_has_a_row_with_the_stored_scores(experiment_run):
    text = markdown(experiment_run)
    for method, count in (("scalearn", 2 * 2 * 32), ("head-only", 0)):
        result = TransferResult.load(experiment_run / "results" / "entail_kitchen" / method)
        row = cells(text, "entail_kitchen", method)
        assert row[2:6] == [
            "accuracy",
            f"{100 * result.mean:.1f} ± {100 * result.std:.1f}",
            " ".join(f"{100 * score:.1f}" for score in result.scores.values()),
            f"{count:,}",
        ]


def test_every_source_has_a_row_with_its_stored_score(experiment_run):
    text = markdown(experiment_run)
    for name in ("sentiment_films", "grammar_garden", "entail_travel"):
        card = json.loads((experiment_run / "pool" / name / "card.json").read_text())
        assert cells(text, name)[1:4] == ["24", f"accuracy {100 * card['scores']['accuracy']:.1f}", str(card["steps"])]


def test_every_ranking_is_told_in_order(experiment_run):
    told = json.loads((experiment_run / "rankings" / "entail_kitchen.json").read_text())
    assert rankings(experiment_run) == {"entail_kitchen": list(zip(told["names"], told["scores"], strict=True))}
    shown = ", ".join(f"{name} {score:.3f}" for name, score in zip(told["names"], told["scores"], strict=True))
    assert cells(markdown(experiment_run), "entail_kitchen", shown)


def test_the_report_says_what_made_it(experiment_run):
    text = markdown(experiment_run)
    told = json.loads((experiment_run / "experiment.json").read_text())
    assert text.startswith("# small\n")
    assert f"`{told['command']}`" in text
    assert f"torch {told['versions']['torch']}" in text


def test_numbers_come_from_the_files(own_run):
    set_scores(own_run, "scalearn", 0.5, 0.625)
    assert cells(markdown(own_run), "entail_kitchen", "scalearn")[3:5] == ["56.2 ± 8.8", "50.0 62.5"]
    assert write_report(own_run).read_text() == markdown(own_run)


def test_one_seed_is_shown_without_a_spread(own_run):
    folder = own_run / "results" / "entail_kitchen" / "scalearn"
    (folder / "result.json").write_text('{"seeds": [0]}')
    set_scores(own_run, "scalearn", 0.5)
    assert cells(markdown(own_run), "entail_kitchen", "scalearn")[3:5] == ["50.0", "50.0"]


def test_the_best_of_a_target_is_bold(own_run):
    set_scores(own_run, "scalearn", 0.25, 0.25)
    set_scores(own_run, "head-only", 0.75, 0.75)
    shown = table(report_rows(own_run))
    assert [row.style for row in shown.rows] == ["", "bold"]
    console = Console(width=200)
    with console.capture() as caught:
        console.print(shown)
    assert "75.0 ± 0.0" in caught.get()


def test_a_result_that_is_not_finished_has_no_row(own_run):
    (own_run / "results" / "entail_kitchen" / "scalearn" / "result.json").unlink()
    assert [row.method for row in report_rows(own_run)] == ["head-only"]


def test_a_run_without_results_and_a_folder_without_a_run_are_said(own_run, tmp_path):
    shutil.rmtree(own_run / "results")
    with pytest.raises(UserError, match="no finished result yet"):
        markdown(own_run)
    with pytest.raises(UserError, match=r"no file .*experiment\.json"):
        markdown(tmp_path)


def test_a_result_that_was_altered_is_not_reported(own_run):
    state = own_run / "results" / "entail_kitchen" / "scalearn" / "seed-1" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-8])
    with pytest.raises(UserError, match="missing, cut short or altered"):
        markdown(own_run)
