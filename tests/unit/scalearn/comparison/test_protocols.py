"""What each protocol holds fixed: recipes, rows and stage-1 seeds."""

import pytest

from scalearn.comparison.protocols import PROTOCOLS, get_protocol
from scalearn.methods.registry import METHODS
from tasksel import UserError, get_task
from tasksel.tasks.task import Subsample

SOUND, PAPER = PROTOCOLS["sound"], PROTOCOLS["paper"]


def test_the_sound_one_gives_every_method_the_same_patience():
    for few, patience in ((False, 5), (True, 20)):
        assert {SOUND.recipe(method, few=few).patience for method in METHODS.values()} == {patience}


def test_the_papers_gives_scalearn_no_patience_on_full_data_and_everything_else_five():
    for name, method in METHODS.items():
        learned = name.startswith("scalearn") or name == "auto"
        assert PAPER.recipe(method, few=False).patience == (None if learned else 5), name
        assert PAPER.recipe(method, few=True).patience == 20


def test_checkpoints_are_chosen_as_each_says():
    method = METHODS["scalearn"]
    assert [SOUND.recipe(method, few=few).select for few in (False, True)] == ["metric", "metric-loss"]
    assert [PAPER.recipe(method, few=few).select for few in (False, True)] == ["loss", "metric"]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=str)
def test_few_shots_take_at_most_a_thousand_steps_however_few_the_rows(protocol):
    recipe = protocol.recipe(METHODS["scalearn"], few=True)
    assert (recipe.steps(4), recipe.steps(100)) == (1000, 1000)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=str)
def test_a_methods_own_learning_rate_stays(protocol):
    for method in METHODS.values():
        assert protocol.recipe(method, few=True).lr == method.recipe.lr


def test_the_papers_draws_the_same_rows_for_every_seed_and_checks_on_up_to_5000():
    task = get_task("entail_kitchen")
    assert PAPER.drawn(task, shots=16, test_rows=None).draw == Subsample(shots=16, dev=5000, seed=42)
    assert SOUND.drawn(task, shots=16, test_rows=9).draw == Subsample(shots=16, test_rows=9)
    assert PAPER.drawn(task, shots=None, test_rows=None).draw == Subsample(seed=42)


def test_only_the_sound_one_trains_sources_with_each_seed():
    assert (SOUND.source_seed, PAPER.source_seed) == (None, 0)


def test_an_unknown_one_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no protocol 'papr'; did you mean 'paper'"):
        get_protocol("papr")
