"""The shapes of the paper's tables run to the end on tiny copies of the published bases and few rows: every method, by the paper's protocol."""

from functools import partial
from pathlib import Path

import pytest
from published_bases import save_published

from scalearn.comparison.config import read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.comparison.records import RunFolder
from scalearn.report import write_report

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHAPES = {
    "glue_roberta": ("roberta-base", ["stsb", "cola"], ["full"], [0, 1]),
    "superglue_roberta": ("roberta-base", ["copa", "cb"], ["full"], [0]),
    "humset_xlmr": ("xlm-roberta-base", ["disaster_response", "trec_is"], ["full"], [0]),
    "fewshot_roberta": ("roberta-base", ["cb", "rte"], [4, 16], [0]),
}


def small(name, base, data, tasks, sizes, seeds):
    """A configuration of the repository with a tiny base, few tasks, rows and steps."""
    told = read_config(SCRIPTS / f"{name}.yaml", Experiment).model_dump()
    told |= {"base": base, "data": str(data), "test_rows": 8, "few_shot": {"max_steps": 2}}
    told["recipe"] = told["sources"]["recipe"] = {"epochs": 1, "batch": 8, "max_length": 24}
    told["sources"] |= {"tasks": tasks, "rows": 24}
    told["targets"] |= {"tasks": tasks[:1], "rows": 24, "seeds": seeds, "seeds_of": {}, "sizes": sizes}
    return Experiment.model_validate(told)


@pytest.mark.parametrize("name", SHAPES)
def test_a_table_of_the_paper_runs_on_a_tiny_copy_of_its_base(name, shared, all_folders, tmp_path):
    published, tasks, sizes, seeds = SHAPES[name]
    base = str(shared.fill(published, partial(save_published, published)))
    experiment = small(name, base, all_folders, tasks, sizes, seeds)
    Plan(experiment, tmp_path / "run").run()
    run = RunFolder(tmp_path / "run")
    assert run.missing == []
    assert {row.method for row in run.rows} == set(experiment.methods)
    assert {row.size for row in run.rows} == set(sizes)
    assert {row.protocol for row in run.rows} == {"paper"}
    assert all(row.score is not None for row in run.rows)
    mixed = [row for row in run.rows if row.method.startswith("scalearn")]
    assert {tuple(row.sources) for row in mixed} == {(tasks[1], tasks[0])}, "the target's own source is there, and last"
    assert len({row.data for row in run.rows if row.size == sizes[0]}) == 1, "the same rows for every seed"
    assert write_report(tmp_path / "run").is_file()
