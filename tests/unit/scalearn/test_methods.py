"""A method carries all that is asked of it: keys stay what they were, and one that is added from outside works everywhere."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from library import library_model

from scalearn import METHODS, TransferResult, transfer
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.methods.base import HEAD_RECIPE, TransferMethod
from scalearn.methods.head_only import HeadOnly
from scalearn.methods.registry import get_method, register_method
from scalearn.methods.training import SeedTraining
from scalearn.report import write_report
from scalearn.results.predict import Export
from scalearn.results.transfer import TransferSpec
from tasksel import UserError, get_task, load_data
from tasksel.adapters.train import SOURCE_RECIPE, source_key
from tasksel.tasks.examples import Split

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "add_a_transfer_method.md"
BASE = SimpleNamespace(fingerprint="b" * 16, name="stub")
KEYS = {
    "head-only": "c19a0b334ba57bbe",
    "full": "cf7038b3db9de4c7",
    "single-adapter": "5445b9f2acb81264",
    "joint": "a9440fc727721906",
    "compacter++": "b0f01c73aa337f3d",
    "sequential": "b34434f553c67b75",
    "scalearn": "6fd2dbc7c9a00063",
    "scalearn-uniform": "12c3833831297775",
    "scalearn++": "09276dc061ecb2ec",
    "scalearn-uniform++": "227cf899b833df26",
    "scalearn-mean": "8ac8585f5c4de3bc",
    "scalearn-softmax": "a12901e6d04aed5a",
    "average": "faac1a303c5e923c",
    "fixed-grid": "d90e0467e038a5cb",
    "search": "18d942005a29a803",
    "soup": "a224f30afe41b031",
    "soup-similarity": "24da8117d0ccf148",
    "fusion": "1434051c824cb039",
}

RUN_FIELDS = {
    "key", "task", "method", "base", "sources", "adapter_config", "rows", "recipe", "sources_file", "versions",
    "similarities", "settings", "format", "hash",
}  # fmt: skip
SEED_FIELDS = {
    "seed", "scores", "dev", "epoch", "steps", "seconds", "parameters", "data", "state_file", "bytes", "peak_memory",
    "grid", "pooling", "candidates", "range", "format", "hash",
}  # fmt: skip


@pytest.fixture
def registry(monkeypatch):
    """The methods, as they are again afterwards."""
    before = dict(METHODS)
    yield METHODS
    METHODS.clear()
    METHODS.update(before)


class TestKeys:
    @pytest.mark.parametrize("method", KEYS)
    def test_a_transfer_has_the_key_that_stored_results_have(self, method):
        row, tasks = METHODS[method], [get_task("sentiment_films"), get_task("entail_travel")]
        sources = tuple(
            SimpleNamespace(name=task.name, fingerprint=str(number) * 16, task=task, rows=32, seed=number)
            for number, task in enumerate(tasks)
        )[: row.most]
        similarities = (0.5, 0.25) if row.needs_similarities else None
        recipe = row.recipe.model_copy(update={"start": "random", "pooling": "first"})  # as those of 0.1
        spec = TransferSpec(Path("out"), get_task("entail_kitchen"), row, BASE, sources, 48, recipe, similarities)
        assert spec.key == KEYS[method]

    def test_a_source_has_the_key_that_stored_sources_have(self):
        task = get_task("entail_kitchen")
        assert source_key(task, load_data(task, rows=48, seed=3), BASE, SOURCE_RECIPE, 3) == "e13e2691dc454315"

    def test_the_records_have_the_fields_that_stored_ones_have(self, results):
        folder = results["fixed-grid"].folder
        run, seed = (json.loads((folder / name).read_text()) for name in ("run.json", "seed-0/seed.json"))
        assert set(run) == RUN_FIELDS
        assert set(seed) == SEED_FIELDS


class TestRegister:
    def test_a_row_from_outside_is_found_by_its_name(self, registry):
        row = register_method(HeadOnly(name="head-twice", recipe=HEAD_RECIPE))
        assert get_method("head-twice") is row
        assert register_method(HeadOnly(name="head-twice", recipe=HEAD_RECIPE)) == row

    def test_a_name_that_is_taken_is_refused(self, registry):
        with pytest.raises(
            UserError, match="method 'scalearn' is registered with other values: give yours another name"
        ):
            register_method(HeadOnly(name="scalearn", recipe=HEAD_RECIPE))
        assert get_method("scalearn").mixes

    def test_what_is_no_method_is_refused(self, registry):
        with pytest.raises(UserError, match=r"'scalearn' is not a transfer method: derive its class from"):
            register_method("scalearn")


class TestMethod:
    def test_what_has_no_export_says_why_in_one_line(self):
        reasons = {name: method.export_reason for name, method in METHODS.items() if method.export_reason}
        assert reasons.keys() == {"majority", "closed-form-base", "head-only", "full", "fusion"}
        assert all("\n" not in reason for reason in reasons.values())

    def test_only_methods_of_several_or_no_adapters_are_not_measured_in_a_matrix(self):
        refused = {name for name, method in METHODS.items() if method.pairwise_reason}
        without = {name for name, method in METHODS.items() if not method.takes_sources}
        assert refused == without | {
            "auto",
            "closed-form",
            "joint",
            "fixed-grid",
            "search",
            "soup-similarity",
            "fusion",
        }

    def test_a_procedure_of_its_own_is_not_measured_by_another(self):
        @dataclass(frozen=True, kw_only=True)
        class Twice(TransferMethod):
            least: int = 1
            most: int | None = 1

            def train(self, training):
                raise NotImplementedError

        assert "training procedure of its own" in Twice(name="twice", recipe=HEAD_RECIPE).pairwise_reason

    def test_a_procedure_is_given_the_seeds_rows_and_says_how_it_went(self, pool, target, recipe, tmp_path):
        data = load_data(target, rows=24, seed=3)
        training = SeedTraining(
            target, data, pool.base, recipe, 3, (), {}, {}, "label", tmp_path / "rescue.safetensors"
        )  # fmt: skip
        assert [len(rows) for rows in training.encoded] == [len(data.train), len(data.dev)]
        trained = METHODS["head-only"].train(training)
        assert trained.fit.steps == recipe.steps(len(data.train))
        assert trained.peak_memory is None or trained.peak_memory > 0
        assert trained.grid is None


@pytest.fixture
def guide(registry, pool_folder, tmp_path, monkeypatch):
    """Runs the guide's blocks beside a copy of the session's pool, and gives the names that they define."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pool_folder, tmp_path / "pools" / "mine")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names = {"__name__": __name__}  # a dataclass looks its module up
    for block in blocks:
        exec(compile(block, GUIDE.name, "exec"), names)
    return names


class TestGuide:
    def test_its_export_answers_alike_in_plain_adapters(self, guide, library, tmp_path):
        portable, pair = HEAD_RECIPE.model_copy(update={"pooling": "first"}), ("The pan is hot", "The pan is clean")
        out = {"rows": 32, "recipe": portable, "out": tmp_path / "portable"}
        result = transfer(guide["target"], list(guide["pool"]), method="ties", **out)
        model, folder = library_model(result.base), result.export(tmp_path / "portable-adapter")
        model.set_active_adapters(model.load_adapter(str(folder), use_safetensors=True))
        inputs = result.base.tokenizer(*pair, return_tensors="pt")
        np.testing.assert_allclose(model.eval()(**inputs).logits.detach(), result.predict([pair]), atol=1e-5)

    def test_its_method_reloads_and_its_export_answers_alike(self, guide, tmp_path):
        result, pair = guide["result"], ("The pan is hot and clean", "The pan is clean")
        logits = TransferResult.load(tmp_path / "out" / "ties").predict([pair])
        assert np.array_equal(result.predict([pair]), logits)
        split = Split([pair], None, np.zeros(1, dtype=np.int64))
        np.testing.assert_allclose(Export.load(tmp_path / "out" / "ties-adapter").logits(split), logits, atol=1e-5)
        card = (tmp_path / "out" / "ties-adapter" / "README.md").read_text()
        assert "by ties" in card
        assert all(f"| {source.name} |" in card for source in guide["pool"])

    def test_its_method_counts_its_adapter_among_its_bytes_and_learns_the_head_alone(self, guide, tmp_path):
        (entry,) = guide["result"].seeds.values()
        assert entry.parameters["transfer"] == 0
        assert entry.bytes > (tmp_path / "out" / "ties" / "sources.safetensors").stat().st_size > 0

    def test_its_merge_is_neither_the_mean_nor_any_source(self, guide, pool, target, recipe, tmp_path):
        merged = guide["result"].layers()
        soup = transfer(target, list(pool), method="soup", rows=32, recipe=recipe, out=tmp_path / "soup").layers()
        path = next(iter(merged))
        assert merged[path].down.shape == soup[path].down.shape
        assert not np.allclose(merged[path].down, soup[path].down)

    def test_its_method_is_refused_where_it_has_nothing_to_say(self, guide):
        import scalearn as sl

        with pytest.raises(UserError, match="'ties' has no mix of sources to explain"):
            sl.explain(guide["result"])
        with pytest.raises(UserError, match="method 'ties' needs at least one source"):
            transfer(guide["target"], [], method="ties", base=guide["pool"].base)

    def test_its_method_is_compared_and_reported_with_the_others(self, guide, config, tmp_path):
        chosen = {**config, "methods": ["ties", "soup"], "targets": {**config["targets"], "seeds": [0]}}
        run = tmp_path / "run"
        Plan(Experiment.model_validate(chosen), run).run()
        assert {row.method for row in Plan(Experiment.model_validate(chosen), run).rows()} == {"ties", "soup"}
        write_report(run)
        assert "ties" in (run / "report" / "report.md").read_text()

    def test_every_function_and_attribute_that_it_names_is_there(self):
        table = [line.split("|")[1] for line in GUIDE.read_text().splitlines() if line.startswith("| `")]
        names = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
        fields = set(TransferMethod.__dataclass_fields__)
        assert all(name in fields or hasattr(TransferMethod, name) for name in names)
        assert names >= fields
