"""A source is trained once: what is there is skipped, another refused; what dies half-way never looks whole."""

import pytest
import torch
from safetensors.torch import load_file

from scalearn import AdapterPool, Recipe, train_source
from tasksel import UserError, get_task
from tasksel.model.base import weights_fingerprint
from tasksel.training.loop import Diverged

SETTINGS = {"rows": 64, "recipe": Recipe(lr=1e-3, epochs=1, max_length=32)}  # as the session's pool was made


def weights(source):
    return load_file(source.folder / "adapter.safetensors")


def partials(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".partial")]


def test_training_moves_the_adapter_and_repeats_to_the_bit(pool, tiny, tmp_path):
    again = train_source(get_task("grammar_garden"), AdapterPool(tmp_path / "pool", base=tiny), **SETTINGS)
    untrained = Recipe(lr=1e-20, epochs=1, max_length=32)
    still = train_source(
        get_task("grammar_garden"), AdapterPool(tmp_path / "still", base=tiny), rows=64, recipe=untrained
    )
    one, two, start = weights(pool["grammar_garden"]), weights(again), weights(still)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(not torch.equal(one[name], start[name]) for name in one)
    assert again.card.key == pool["grammar_garden"].card.key
    assert again.card.scores == pool["grammar_garden"].card.scores


def test_training_leaves_the_base_as_it_was(own_pool, monkeypatch, recipe):
    before, seen = own_pool.base.fingerprint, []
    store = own_pool.store
    monkeypatch.setattr(
        own_pool, "store", lambda model, *a, **k: (seen.append(weights_fingerprint(model)), store(model, *a, **k))
    )
    train_source(get_task("grammar_school"), own_pool, rows=16, recipe=recipe)
    assert seen == [before]


def test_what_the_pool_holds_is_not_trained_again(pool, no_training):
    for name in pool.names:
        assert train_source(get_task(name), pool, **SETTINGS).name == name


def test_what_the_pool_holds_is_checked_before_it_is_taken_for_whole(own_pool, no_training):
    (own_pool["entail_travel"].folder / "adapter.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"adapter\.safetensors is not the file that was stored"):
        train_source(get_task("entail_travel"), own_pool, **SETTINGS)


@pytest.mark.parametrize(
    "change", [{"rows": 60}, {"seed": 1}, {"recipe": Recipe(lr=2e-3, epochs=1, max_length=32)}, {"rows": None}]
)
def test_the_same_name_made_otherwise_is_refused(pool, no_training, change):
    with pytest.raises(
        UserError,
        match=r"holds 'entail_travel' trained with other data or settings \(rows 64, seed 0, lr 0\.001, at most 1 epochs",
    ):
        train_source(get_task("entail_travel"), pool, **(SETTINGS | change))


def test_where_the_tracker_logs_does_not_make_another_adapter(pool, no_training):
    logged = SETTINGS["recipe"].model_copy(update={"log_with": "tensorboard"})
    assert train_source(get_task("entail_travel"), pool, rows=64, recipe=logged).name == "entail_travel"


def test_other_rows_under_the_same_task_name_are_refused(pool, no_training):
    task = get_task("entail_travel")
    other = task.model_copy(update={"source": task.source.model_copy(update={"seed": 5})})
    with pytest.raises(UserError, match="trained with other data or settings"):
        train_source(other, pool, **SETTINGS)


def test_never_gives_back_whatever_has_the_name(pool, no_training):
    assert train_source(get_task("entail_travel"), pool, rows=10, seed=9, overwrite="never") == pool["entail_travel"]


def test_always_trains_anew(own_pool, recipe):
    before = own_pool["entail_travel"].fingerprint
    fresh = train_source(get_task("entail_travel"), own_pool, rows=16, recipe=recipe, overwrite="always")
    assert fresh.fingerprint != before
    assert fresh.rows == 16
    assert AdapterPool(own_pool.folder)["entail_travel"].fingerprint == fresh.fingerprint
    AdapterPool(own_pool.folder).verify()


def test_another_name_stands_beside_it(own_pool, recipe):
    train_source(get_task("entail_travel"), own_pool, name="travel-16", rows=16, recipe=recipe)
    found = AdapterPool(own_pool.folder)
    assert found["travel-16"].task.name == "entail_travel"
    assert found["entail_travel"].rows == 64
    assert found["travel-16"].bottlenecks().keys() == found["entail_travel"].bottlenecks().keys()


@pytest.mark.parametrize("name", ["../out", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused_before_training(own_pool, no_training, name):
    with pytest.raises(UserError, match="cannot name a pool entry"):
        train_source(get_task("grammar_school"), own_pool, name=name, rows=16)


def killed(*_args, **_kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "where",
    [
        "tasksel.adapters.train.fit",
        "tasksel.adapters.pool.write_hashed",
        "tasksel.adapters.pool.file_hash",
    ],
)
def test_a_training_that_is_killed_leaves_no_entry(own_pool, monkeypatch, recipe, where):
    monkeypatch.setattr(where, killed)
    with pytest.raises(KeyboardInterrupt):
        train_source(get_task("grammar_school"), own_pool, rows=16, recipe=recipe)
    assert "grammar_school" not in AdapterPool(own_pool.folder)
    assert not (own_pool.folder / "grammar_school").exists()
    assert partials(own_pool.folder) == []


@pytest.mark.parametrize("where", ["tasksel.adapters.train.fit", "tasksel.adapters.pool.write_hashed"])
def test_a_replacement_that_is_killed_leaves_the_old_entry_whole(own_pool, monkeypatch, recipe, where):
    before = own_pool["entail_travel"].card
    monkeypatch.setattr(where, killed)
    with pytest.raises(KeyboardInterrupt):
        train_source(get_task("entail_travel"), own_pool, rows=16, recipe=recipe, overwrite="always")
    found = AdapterPool(own_pool.folder)
    found.verify()
    assert found["entail_travel"].card == before


def test_what_a_killed_writer_left_is_cleared_by_the_next(own_pool, recipe):
    left = own_pool.folder / ".partial-grammar_school-abcd1234"
    left.mkdir()
    (left / "adapter.safetensors").write_bytes(b"half")
    train_source(get_task("grammar_school"), own_pool, rows=16, recipe=recipe)
    assert partials(own_pool.folder) == []
    AdapterPool(own_pool.folder).verify()


def test_a_loss_that_is_no_number_is_said_with_step_and_lr_and_the_last_state_kept(own_pool, monkeypatch, recipe):
    import tasksel.training.loop as training

    plain, calls = training.loss_sum, []

    def poisoned(*args):
        calls.append(1)
        return plain(*args) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(training, "loss_sum", poisoned)
    with pytest.raises(Diverged, match=r"'grammar_school' became NaN at step 3 \(lr .*use a smaller lr than 0\.01"):
        train_source(get_task("grammar_school"), own_pool, rows=32, recipe=recipe)
    kept = load_file(own_pool.folder / "grammar_school-last-good.safetensors")
    assert any("adapter_up" in name for name in kept)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert "grammar_school" not in AdapterPool(own_pool.folder)
