"""Commands that share a run by its store: each unit once, each source once, and the run shows all of it."""

import multiprocessing
import shutil
import sys
from collections import Counter

import pytest

from scalearn.cli.main import main
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.comparison.records import RunFolder
from scalearn.comparison.shard import Shard
from tasksel.errors import UserError
from tasksel.storage.atomic import append_bytes
from tasksel.storage.locks import waiting_lock


def plan(config, out, **options):
    return Plan(Experiment.model_validate(config), out, **options)


def table(out):
    return [(row.key, row.score) for row in RunFolder(out).rows]


@pytest.fixture
def large(config):
    """Several hundred units, which are only planned."""
    config["targets"] = {"tasks": ["entail_kitchen", "sentiment_phones"], "sizes": [16, 32], "seeds": list(range(20))}
    return plan(
        {**config, "methods": ["scalearn", "head-only", "single-adapter"], "rank": {"by": ["all", "each"]}}, "out"
    )


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "1/0", "-1/4", "1/4/2", "1 / 4", "", "1/9999999", "½"])
def test_what_is_no_shard_is_refused(text, config, tmp_path):
    with pytest.raises(UserError, match="give I/N with I from 1 to N, such as 1/4"):
        plan(config, tmp_path / "run").run(shard=text)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("of", [1, 3, 7])
def test_units_are_dealt_each_once_and_evenly_in_every_kind(large, of):
    dealt = [Shard(number, of).units(large.units) for number in range(1, of + 1)]
    assert Counter(unit for units in dealt for unit in units) == Counter(large.units)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for method in ("scalearn", "head-only"):
        counts = [sum(unit.condition.method == method for unit in units) for units in dealt]
        assert max(counts) - min(counts) <= 1


def test_a_shard_has_what_its_units_need_and_begins_it_at_its_own_place(large):
    steps = [large._steps_of(Shard(number, 4)) for number in (1, 2, 3, 4)]
    assert set().union(*steps) == set(large.steps())
    assert len({str(own[0]) for own in steps}) == 4, "no two begin with the same source"
    for own in steps:
        kinds = [step.kind for step in own]
        assert kinds == sorted(kinds, key=["source", "target-adapter", "rank", "unit"].index)


def test_a_shard_trains_the_sources_of_its_units_alone_or_all_where_a_map_is_drawn(config):
    config |= {"rank": {"by": ["each"]}, "methods": ["scalearn"]}
    config["targets"]["seeds"] = [0]
    for name, count in (("", 1), ("vocabulary", 3)):
        own = plan({**config, "map": name}, "out")._steps_of(Shard(1, 3))
        assert [step.kind for step in own] == ["source"] * count + ["unit"]


def test_shards_leave_the_table_of_one_command(config, experiment_run, tmp_path, monkeypatch):
    trained, module = [], sys.modules["tasksel.adapters.train"]
    plain = module.fit
    monkeypatch.setattr(module, "fit", lambda *a, label, **k: (trained.append(label), plain(*a, label=label, **k))[1])
    out = tmp_path / "run"
    first = plan(config, out).run(shard="1/2")
    assert 0 < len(first.rows) < len(first.planned)
    assert len(first.rows) + len(first.missing) == len(first.planned)
    assert not (out / "rows.jsonl").exists()
    last = plan(config, out).run(shard="2/2")
    assert last.missing == []
    assert table(out) == table(experiment_run)
    assert (out / "rows.jsonl").read_text().count("\n") == len(last.planned), "the last one writes the whole table"
    assert len(RunFolder(out).rankings) == len(RunFolder(experiment_run).rankings)
    assert set(Counter(trained).values()) == {2}, "each source once per seed"


def test_two_shards_at_once_train_no_source_twice(config, experiment_run, tmp_path, monkeypatch):
    """In two processes, forked from this one, which has everything imported."""
    module, out = sys.modules["tasksel.adapters.train"], tmp_path / "run"
    plain = module.fit

    def noted(*arguments, label, seed, **options):
        append_bytes(tmp_path / "trained", f"{label}, seed {seed}\n".encode())
        return plain(*arguments, label=label, seed=seed, **options)

    monkeypatch.setattr(module, "fit", noted)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=lambda shard=shard: plan(config, out).run(shard=shard)) for shard in ("1/2", "2/2")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert table(out) == table(experiment_run)
    assert Counter((tmp_path / "trained").read_text().splitlines()) == {
        f"source {name}, seed {seed}": 1 for name in config["sources"]["tasks"] for seed in (0, 1)
    }


def test_another_number_of_shards_half_way_is_refused(config, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(Plan, "do", lambda self, step: None)
    plan(config, out).run(shard="1/2")
    with pytest.raises(
        UserError, match=r"is shared among 2 commands, and this is --shard 1/3: give I/2; .* delete .*shards"
    ):
        plan(config, out).run(shard="1/3")
    plan(config, out).run(shard="2/2")
    shutil.rmtree(out / "shards")
    plan(config, out).run(shard="1/3")
    assert (out / "shards" / "shards.json").read_text().count('"of": 3') == 1


def test_a_source_that_another_command_trains_is_seen_to_be_taken(config, tmp_path):
    made = plan(config, tmp_path / "run")
    source, unit = made.steps()[0], made.steps()[-1]
    place = made.work_store.pool(source.seed).folder / source.target
    with waiting_lock(place, lambda: None):
        assert made._is_taken(source)
        assert not made._is_taken(unit)
    assert not made._is_taken(source)


def test_the_command_line_says_what_is_left_and_the_last_shard_reports(config, experiment_run, tmp_path, capsys):
    import yaml

    shutil.copytree(experiment_run / "store", tmp_path / "store")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    command = [
        "compare",
        str(tmp_path / "small.yaml"),
        "--out",
        str(tmp_path / "run"),
        "--store",
        str(tmp_path / "store"),
    ]
    assert main([*command, "--shard", "1/4"]) == 0
    assert "shard 1/4 is finished, and " not in capsys.readouterr().out, "everything is in the store already"
    assert main([*command, "--shard", "9/4"]) == 2
    assert "error: --shard 9/4: give I/N" in capsys.readouterr().err
    assert (tmp_path / "run" / "report" / "report.html").is_file()
