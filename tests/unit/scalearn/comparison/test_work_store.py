"""What is in a store is used again only for what is the same: a selector that changed ranks anew, and so do the units that it chose for."""

from functools import partial

from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from tasksel import SELECTORS
from tasksel.embeddings.connectivity import Connectivity
from tasksel.selection.selectors import EmbeddingSelector


def test_a_run_ranks_anew_by_a_selector_that_changed(experiment_run, config, monkeypatch):
    plan = Plan(Experiment.model_validate(config), experiment_run)
    assert all(plan.done(step) for step in plan.steps())
    later = partial(EmbeddingSelector, Connectivity(max_steps=3), "connectivity")
    monkeypatch.setitem(SELECTORS, "connectivity", lambda **_: later())
    again = Plan(Experiment.model_validate(config), experiment_run)
    to_do = {str(step) for step in again.steps() if not again.done(step)}
    assert to_do == {str(step) for step in again.steps() if "connectivity" in str(step)}
    assert len(to_do) == 4
