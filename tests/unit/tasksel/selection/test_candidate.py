"""A task as selectors see it: its embedding is computed once, of just its rows, base, adapter and settings."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from scalearn import AdapterPool
from tasksel import get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.text import Text
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.selection.candidate import TaskCandidate, TaskOnBase, say_read_only
from tasksel.selection.ranking import rank

QUICK = Connectivity(max_steps=2, batch=8, max_length=32)


@pytest.fixture
def counted(embedded_by):
    return embedded_by(Connectivity)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def on_base(folder, base, **changes):
    candidate = TaskCandidate(get_task("grammar_garden"), rows=20, folder=folder)
    return TaskOnBase(dataclasses.replace(candidate, **changes), load_base(base))


def test_an_embedding_is_made_once_and_then_read(tiny, tmp_path, counted):
    first = on_base(tmp_path, tiny).embedding(QUICK)
    [name] = names_in(tmp_path / "embeddings")
    assert name == f"{QUICK.key}-seed0-{load_data(get_task('grammar_garden'), rows=20).fingerprint}.safetensors"
    again = on_base(tmp_path, tiny).embedding(QUICK)
    assert counted == ["grammar_garden"]
    assert again.provenance == first.provenance
    assert QUICK.similarity(first, again) == 1.0


@pytest.mark.parametrize("changes", [{"rows": 30}, {"seed": 1}])
def test_other_rows_or_another_seed_are_embedded_anew(tiny, tmp_path, counted, changes):
    on_base(tmp_path, tiny).embedding(QUICK)
    on_base(tmp_path, tiny, **changes).embedding(QUICK)
    assert counted == ["grammar_garden"] * 2
    assert len(names_in(tmp_path / "embeddings")) == 2


def test_other_settings_or_another_base_are_embedded_anew(tiny, make_base, tmp_path, counted):
    on_base(tmp_path, tiny).embedding(QUICK)
    assert on_base(tmp_path, tiny).embedding(Connectivity(max_steps=1, batch=8)).provenance["steps"] == 1
    base = make_base(seed=1)
    assert on_base(tmp_path, base).embedding(QUICK).provenance["base_fingerprint"] == load_base(base).fingerprint
    assert counted == ["grammar_garden"] * 3


def test_what_another_version_made_is_embedded_anew(tiny, tmp_path, counted, monkeypatch):
    on_base(tmp_path, tiny).embedding(QUICK)
    monkeypatch.setattr("tasksel.selection.candidate.version", lambda name: "99.0")
    on_base(tmp_path, tiny).embedding(QUICK)
    assert counted == ["grammar_garden"] * 2


def test_known_data_are_not_loaded_to_find_an_embedding(tiny, tmp_path, monkeypatch):
    data = load_data(get_task("grammar_garden"), rows=20).fingerprint
    embedding = on_base(tmp_path, tiny).embedding(QUICK)
    monkeypatch.setattr(
        "tasksel.selection.candidate.load_data", lambda *args, **kwargs: pytest.fail("the data were loaded")
    )
    assert on_base(tmp_path, tiny, data=data).embedding(QUICK).provenance == embedding.provenance


def test_half_a_file_is_refused(tiny, tmp_path):
    on_base(tmp_path, tiny).embedding(QUICK)
    [path] = (tmp_path / "embeddings").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="not a whole task embedding"):
        on_base(tmp_path, tiny).embedding(QUICK)


def test_an_embedder_that_declares_it_is_shown_the_targets_rows_and_no_other(tiny, tmp_path, counted):
    target = TaskOnBase(TaskCandidate(get_task("entail_travel"), rows=20), load_base(tiny))
    of_target = type("OfTarget", (Connectivity,), {"inputs": "target"})(max_steps=2, batch=8, max_length=32)
    assert of_target.inputs == "target"
    for embedder, name in ((of_target, "entail_travel"), (QUICK, "grammar_garden")):
        provenance = on_base(tmp_path, tiny).embedding(embedder, target=target).provenance
        assert (counted.pop(), provenance["task"]) == (name, name)
        assert (provenance["data"] == target.fingerprint) == (embedder is of_target)
    assert on_base(tmp_path / "alone", tiny).embedding(of_target).provenance["task"] == "grammar_garden"


def test_a_full_disk_is_not_passed_over(tiny, tmp_path, counted, monkeypatch):
    def refuse(embedding, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(TaskEmbedding, "save", refuse)
    with pytest.raises(OSError, match="No space left"):
        on_base(tmp_path, tiny).embedding(QUICK)


def test_an_adapter_is_trained_once_where_there_is_none(tiny, tmp_path, capsys):
    first = on_base(tmp_path, tiny).trained
    assert "grammar_garden has no trained adapter: one is trained on its 18 rows" in capsys.readouterr().err
    stamp = (first.folder / "adapter.safetensors").stat().st_mtime_ns
    again = on_base(tmp_path, tiny).trained
    assert first == again
    assert "no trained adapter" not in capsys.readouterr().err
    assert (again.folder / "adapter.safetensors").stat().st_mtime_ns == stamp
    assert on_base(tmp_path, tiny, seed=1).trained.fingerprint != first.fingerprint


def test_an_adapter_that_is_there_is_used(tiny, pool):
    source = pool["grammar_garden"]
    assert TaskOnBase(source, load_base(tiny)).trained.folder == source.folder


def test_an_adapter_that_cannot_be_kept_is_not_trained(tiny):
    with pytest.raises(
        UserError, match="'grammar_garden' has no trained adapter, and no folder to keep one in: give cache_dir"
    ):
        _ = on_base(None, tiny).trained


def named(name, folder=None, **fields):
    """A source from elsewhere, with the task that its fields name, if any."""
    return SimpleNamespace(**{"task": None, "rows": 20, "seed": 0, "data": None, **fields}, name=name, folder=folder)


def test_a_source_that_lacks_its_task_does_not_stop_the_ranking_of_the_others(tiny, capsys):
    known = TaskCandidate(get_task("sentiment_films"), rows=20)
    for by in (QUICK, "size", "text+vocabulary", "kind"):
        ranking = rank(
            get_task("grammar_garden"), [named("from_the_hub", trained=None), known], by=by, base=tiny, rows=20
        )
        assert ranking.names == ("sentiment_films",)
        assert "left out by" in (said := capsys.readouterr().err)
        assert "from_the_hub, which has no task data" in said


def test_a_source_without_a_head_does_not_stop_a_ranking_that_needs_heads(tiny, tmp_path, capsys):
    headed = on_base(tmp_path, tiny)
    shutil.copytree(headed.trained.folder, tmp_path / "headless")
    (tmp_path / "headless" / "model_head.safetensors").unlink()
    headless = AdapterCheckpoint(tmp_path / "headless", headed.trained.adapter)
    sources = [
        named(name, tmp_path / name, task=headed.task, trained=trained)
        for name, trained in (("a", headed.trained), ("b", headless))
    ]
    target = get_task("sentiment_films")
    for by, names in (("fisher", {"a"}), ("logme", {"a", "b"}), ("weights", {"a", "b"}), ("size", {"a", "b"})):
        ranking = rank(target, sources, by=by, base=tiny, rows=20, cache_dir=tmp_path / "cache")
        assert set(ranking.names) == names
        assert ("b, which has no head" in capsys.readouterr().err) == (by == "fisher")
    with pytest.raises(UserError, match="has no head"):
        rank(target, sources[1:], by="fisher", base=tiny, rows=20, cache_dir=tmp_path / "cache")


class TestAFolderThatMayNotBeWrittenTo:
    @pytest.fixture
    def read_only(self, pool_folder, tmp_path, monkeypatch):
        """A copy of the pool in which nothing may be written: whoever runs the tests may be root, who may write anywhere."""
        folder = shutil.copytree(pool_folder, tmp_path / "shared", ignore=shutil.ignore_patterns("embeddings"))
        allowed = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: folder not in (path, *Path(path).parents) and allowed(path, mode)
        )
        say_read_only.cache_clear()
        return folder

    def files(self, folder):
        return {path for path in folder.rglob("*") if path.is_file()}

    def test_its_embeddings_are_kept_elsewhere_which_is_said_once(self, read_only, tmp_path, capsys):
        before, cache = self.files(read_only), tmp_path / "cache"
        pool = AdapterPool(read_only)
        first = rank(get_task("sentiment_phones"), pool, by="text", rows=20, cache_dir=cache)
        assert capsys.readouterr().err.count("may not be written to: what is computed of its sources is kept in") == 1
        kept = self.files(cache)
        assert len([path for path in kept if "grammar_garden" in str(path)]) == 1
        again = rank(get_task("sentiment_phones"), pool, by="text", rows=20, cache_dir=cache)
        assert (again.names, again.scores) == (first.names, first.scores)
        assert self.files(cache) == kept
        assert self.files(read_only) == before

    def test_by_default_that_is_the_users_cache(self, read_only, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("SCALEARN_CACHE", str(tmp_path / "user"))
        TaskOnBase(AdapterPool(read_only)["grammar_garden"], load_base(tiny)).embedding(Text())
        assert len(self.files(tmp_path / "user" / "embeddings")) == 1

    def test_what_is_stored_there_already_is_read(self, pool_folder, tiny, tmp_path, monkeypatch, embedded_by):
        folder = shutil.copytree(pool_folder, tmp_path / "shared")
        stored = TaskOnBase(AdapterPool(folder)["grammar_garden"], load_base(tiny)).embedding(Text())
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        embedded = embedded_by(Text)
        again = TaskOnBase(AdapterPool(folder)["grammar_garden"], load_base(tiny), cache_dir=tmp_path / "c").embedding(
            Text()
        )
        assert again.provenance == stored.provenance
        assert embedded == []


def test_a_source_without_its_task_is_refused(tiny):
    fields = {"name": "from_the_hub", "task": None, "rows": None, "seed": 0, "data": None, "folder": None}
    foreign = SimpleNamespace(**fields, trained=None)
    with pytest.raises(UserError, match="source 'from_the_hub' has no task data"):
        rank(get_task("grammar_garden"), [foreign], by=QUICK, base=tiny, rows=20)
