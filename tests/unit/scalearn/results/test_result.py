"""A result reloads to the same logits, here and in a fresh process; a damaged or unfinished one says so."""

import json
import shutil
import statistics
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stored_edits import as_version_0_1, edit

from scalearn import METHODS, SCALINGS, TransferResult, transfer
from tasksel import UserError, load_data

TEXTS = [("The pan is hot and clean", "The pan is clean"), ("Two cooks peel carrots", "Nobody peels"), ("a", "b")]


@pytest.fixture
def own(results, tmp_path):
    """A copy of the result with two seeds, to be written to."""
    return results["scalearn"].save(tmp_path / "own")


def test_every_method_reloads_to_the_same_logits_here_and_in_a_fresh_process(results, fresh_process):
    script = """
        import json, sys
        from scalearn import TransferResult
        texts, folders = json.load(sys.stdin)
        texts = [tuple(pair) for pair in texts]
        print(json.dumps({m: TransferResult.load(f).predict(texts).tolist() for m, f in folders.items()}))
    """
    folders = {method: str(result.folder.resolve()) for method, result in results.items()}
    elsewhere = json.loads(fresh_process(textwrap.dedent(script), json.dumps([TEXTS, folders]), ours=True))
    for method, result in results.items():
        logits = result.predict(TEXTS)
        assert np.array_equal(logits, TransferResult.load(result.folder).predict(TEXTS)), method
        assert np.array_equal(logits, np.array(elsewhere[method], dtype=np.float32)), method


def test_the_methods_do_not_all_say_the_same(results):
    seen = {method: result.predict(TEXTS).tobytes() for method, result in results.items()}
    del seen["auto"]  # which is one of the closed forms, or trained from it
    assert len(set(seen.values())) == len(METHODS) - 1


def test_the_stored_score_is_what_the_reloaded_model_scores(kinds):
    from tasksel.tasks.metrics import score

    for result in kinds.values():
        test, chosen = load_data(result.task, rows=24).test, result.best_seed
        found = score(result.task.metric, result.logits(test), test.labels)
        assert found == pytest.approx(result.scores[chosen], abs=1e-9)


def test_every_kind_reloads_to_the_same_logits(kinds, tmp_path):
    for kind, result in kinds.items():
        split = load_data(result.task, rows=24).test.take(range(12))
        again = result.save(tmp_path / kind.replace(" ", "-"))
        assert np.array_equal(result.logits(split), again.logits(split))
        assert result.logits(split).shape == (12, result.task.outputs)


def test_mean_and_spread_are_over_seeds(results, own):
    result = results["scalearn"]
    assert list(result.scores) == [0, 1]
    for seed, score in ((0, 0.25), (1, 0.75)):
        path = own.folder / f"seed-{seed}" / "seed.json"
        edit(path, scores={"accuracy": score})
    changed = TransferResult.load(own.folder)
    assert changed.scores == {0: 0.25, 1: 0.75}
    assert changed.mean == 0.5
    assert changed.std == pytest.approx(statistics.stdev([0.25, 0.75]))
    assert changed.std == pytest.approx(0.5 / 2**0.5)
    assert "accuracy 0.5000 ± 0.3536 [0.2500 (seed 0), 0.7500 (seed 1)]" in repr(changed)


def test_one_seed_has_no_spread(results):
    assert results["scalearn++"].std == 0.0


@pytest.mark.parametrize(("devs", "best"), [((0.2, 0.9), 1), ((0.9, 0.2), 0), ((0.5, 0.5), 0)])
def test_the_best_seed_is_the_one_with_the_best_dev_score(own, devs, best):
    for seed, dev in enumerate(devs):
        edit(own.folder / f"seed-{seed}" / "seed.json", dev=dev, scores={"accuracy": 1 - dev})
    assert TransferResult.load(own.folder).best_seed == best


def test_each_seed_has_a_model_of_its_own(results):
    result = results["scalearn"]
    zero, one = (result.predict(TEXTS, seed=seed) for seed in (0, 1))
    assert not np.array_equal(zero, one)
    assert np.array_equal(result.predict(TEXTS), (zero, one)[result.best_seed])


def test_a_seed_that_was_not_run_is_refused(results):
    with pytest.raises(UserError, match="no seed 7; there are 0, 1"):
        results["scalearn"].predict(TEXTS, seed=7)


def test_omega_has_a_row_a_layer_and_source(results):
    shapes = {
        "scalearn": (2, 3, 32),
        "scalearn-uniform": (2, 3, 1),
        "scalearn++": (1, 3, 32),
        "scalearn-uniform++": (1, 3, 1),
        "average": (1, 3, 1),
        "fixed-grid": (1, 2, 1),
        "search": (1, 3, 1),
        "soup": (0, 0, 0),
        "fusion": (0, 0, 0),
        "head-only": (0, 0, 0),
        "single-adapter": (0, 0, 0),
    }
    for method, shape in shapes.items():
        assert results[method].omega().shape == shape
    assert results["average"].omega().tolist() == [[[np.float32(1 / 3)]] * 3]
    state = load_file(results["scalearn"].folder / "seed-1" / "state.safetensors")
    last = next(tensor for name, tensor in state.items() if "layer.1." in name and name.endswith("omega.weight"))
    assert np.array_equal(results["scalearn"].omega(seed=1)[1], last.numpy())


def test_omega_comes_in_the_order_of_the_layers_beyond_ten(make_base, fill, target, recipe, tmp_path):
    base = make_base(num_hidden_layers=12)
    result = transfer(
        target,
        fill(tmp_path / "pool", base, "one", "two"),
        method="scalearn",
        rows=8,
        recipe=recipe,
        out=tmp_path / "out",
    )
    state = load_file(result.folder / "seed-0" / "state.safetensors")
    for layer, omega in enumerate(result.omega()):
        (name,) = (name for name in state if f"layer.{layer}." in name and name.endswith("omega.weight"))
        assert np.array_equal(omega, state[name].numpy()), f"layer {layer}"


def test_learned_numbers_are_stored_by_the_formula(results):
    for method, scaling in SCALINGS.items():
        learned = results[method].seeds[0].parameters
        assert learned["transfer"] == scaling.parameters(sources=3, layers=2, width=32)
        state = load_file(results[method].folder / "seed-0" / "state.safetensors")
        assert sum(tensor.numel() for tensor in state.values()) == learned["transfer"] + learned["head"]


@pytest.mark.parametrize("file", ["seed-1/state.safetensors", "sources.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_weights_are_refused_by_name(own, file, damage):
    path = own.folder / file
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-16])
    else:
        tensors = load_file(path)
        tensors[next(iter(tensors))].view(-1)[0] += 1
        save_file(tensors, path)
    with pytest.raises(UserError, match=f"{file}: missing, cut short or altered"):
        TransferResult.load(own.folder)


def test_an_unfinished_run_is_said_to_be_unfinished(own):
    (own.folder / "result.json").unlink()
    with pytest.raises(UserError, match="the run is not finished; start it again and it goes on"):
        TransferResult.load(own.folder)


def test_a_folder_that_is_no_result_is_said_to_be_none(tmp_path):
    with pytest.raises(UserError, match=r"no transfer result there \(no result\.json\)"):
        TransferResult.load(tmp_path)


def test_a_record_of_another_form_is_refused(own):
    edit(own.folder / "run.json", recipe={"lr": "fast"})
    with pytest.raises(UserError, match=r"run\.json: not a transfer result that this version reads: .*recipe\.lr: "):
        TransferResult.load(own.folder)
    (own.folder / "result.json").write_text("[0, 1]")
    with pytest.raises(UserError, match=r"result\.json: not a transfer result that this version reads"):
        TransferResult.load(own.folder)


@pytest.mark.parametrize("file", ["run.json", "seed-1/seed.json"])
def test_fields_that_only_a_newer_version_knows_are_named_in_one_line(own, file, pool, target, recipe):
    edit(own.folder / file, colour="red", shape=3)
    told = f"{file}: not a transfer result that this version reads: it does not know colour, shape; a newer version may have"
    with pytest.raises(UserError, match=told) as caught:
        TransferResult.load(own.folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=told):
        transfer(target, list(pool), method="scalearn", seeds=[0, 1], rows=32, recipe=recipe, out=own.folder)


def test_a_result_of_an_earlier_version_still_loads(own):
    logits = own.predict(TEXTS)
    as_version_0_1(own.folder / "run.json", without=("similarities", "settings"))
    as_version_0_1(own.folder / "seed-0" / "seed.json", without=("bytes", "peak_memory", "grid"))
    as_version_0_1(own.folder / "result.json")
    again = TransferResult.load(own.folder)
    assert (again.seeds[0].bytes, again.seeds[0].peak_memory, again.seeds[0].grid) == (None, None, None)
    assert again.seeds[1].bytes is not None
    assert np.array_equal(again.predict(TEXTS), logits)


def test_bytes_are_of_the_trained_state_and_of_a_soups_own_adapter(results):
    for method, result in results.items():
        state = (result.folder / "seed-0" / "state.safetensors").stat().st_size
        merged = (result.folder / "sources.safetensors").stat().st_size if METHODS[method].merges else 0
        assert result.seeds[0].bytes == state + merged, method
    assert results["full"].seeds[0].bytes > 4 * results["full"].seeds[0].parameters["transfer"]
    assert results["head-only"].seeds[0].bytes < results["soup"].seeds[0].bytes < results["full"].seeds[0].bytes


def test_peak_memory_is_told_where_this_machine_can_measure_it(results):
    from tasksel.processes import accelerator
    from tasksel.training.memory import PeakMemory

    able = PeakMemory(accelerator().device).bytes() is not None
    for method, result in results.items():
        assert (result.seeds[0].peak_memory is not None) == able, method
        assert not able or result.seeds[0].peak_memory > 2**20, method


def test_a_record_cut_short_is_named(own):
    path = own.folder / "seed-0" / "seed.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(UserError, match=r"seed-0/seed\.json:\d: broken JSON"):
        TransferResult.load(own.folder)


def test_another_bases_weights_are_refused(own, make_base):
    edit(own.folder / "run.json", base=own.run.base | {"name": make_base(seed=1)})
    with pytest.raises(
        UserError, match=f"trained on base '.*' with weights {own.run.base['fingerprint']}; the one here"
    ):
        TransferResult.load(own.folder).predict(TEXTS)


def test_saving_copies_a_result_that_needs_the_first_no_longer(results, own, tmp_path):
    logits = own.predict(TEXTS)
    copy = own.save(tmp_path / "copy")
    shutil.rmtree(own.folder)
    assert np.array_equal(copy.predict(TEXTS), logits)
    assert copy.scores == results["scalearn"].scores
    with pytest.raises(UserError, match="copy exists; choose another folder"):
        results["scalearn"].save(tmp_path / "copy")


def test_a_result_needs_neither_pool_nor_sources(fill, tiny, target, recipe, tmp_path):
    result = transfer(
        target, fill(tmp_path / "pool", tiny, "one"), method="scalearn", rows=8, recipe=recipe, out=tmp_path / "out"
    )
    before = result.predict(TEXTS)
    shutil.rmtree(tmp_path / "pool")
    assert np.array_equal(TransferResult.load(tmp_path / "out").predict(TEXTS), before)


def test_nothing_of_a_reloaded_model_trains(results):
    model = results["scalearn"].model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_predicting_under_inference_mode_gives_the_same(own):
    with torch.inference_mode():
        inside = own.predict(TEXTS)
    assert np.array_equal(inside, TransferResult.load(own.folder).predict(TEXTS))


def test_multiple_choice_is_predicted_from_texts_with_their_choices(kinds):
    result = kinds["choices"]
    logits = result.predict([("It rains, so Ann", ["takes an umbrella.", "waters the garden."])])
    assert logits.shape == (1, 3)
    assert np.isneginf(logits[0, 2])
    assert np.isfinite(logits[0, :2]).all()
