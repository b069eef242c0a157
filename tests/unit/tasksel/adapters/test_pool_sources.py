"""Sources that lie in a folder are read with what they were trained on; others are refused by name."""

import shutil

import pytest
from stored_edits import as_version_0_1

from tasksel import UserError, get_task
from tasksel.adapters.pool import pool_sources
from tasksel.model.base import load_base


def test_a_pool_is_read_in_name_order_with_all_that_a_method_needs(pool, tiny):
    found = pool_sources(pool.folder, load_base(tiny))
    assert [source.name for source in found] == pool.names
    for source in found:
        theirs = pool[source.name]
        assert (source.task, source.rows, source.seed, source.data) == (theirs.task, 64, 0, theirs.data)
        assert source.trained.fingerprint == theirs.fingerprint
        assert source.folder == theirs.folder


def test_a_task_whose_data_moved_is_taken_from_where_it_lies_now(pool, tiny):
    moved = get_task("grammar_garden").model_copy(update={"metric": "macro_f1"})
    found = {source.name: source for source in pool_sources(pool.folder, load_base(tiny), tasks={moved.name: moved})}
    assert found["grammar_garden"].task == moved
    assert found["entail_travel"].task == pool["entail_travel"].task


def test_no_sources_are_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="no sources in"):
        pool_sources(tmp_path, load_base(tiny))


def test_a_source_of_another_base_is_refused(pool, make_base):
    with pytest.raises(UserError, match=r"source 'entail_travel' in .* was trained on base"):
        pool_sources(pool.folder, load_base(make_base(seed=1)))


def test_a_card_that_says_too_little_is_refused(pool, tiny, tmp_path):
    shutil.copytree(pool.folder, tmp_path / "pool")
    path = tmp_path / "pool" / "entail_travel" / "card.json"
    as_version_0_1(path, without=("adapter",))
    with pytest.raises(UserError, match=r"card.json: not a source's card \(adapter: Field required\)"):
        pool_sources(tmp_path / "pool", load_base(tiny))
