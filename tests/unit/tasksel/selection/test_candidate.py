"""A task as selectors see it: its embedding is computed once, of just its rows, base, adapter and settings."""

import dataclasses
import errno
from types import SimpleNamespace

import pytest

from tasksel import get_task, load_data
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.connectivity import Connectivity
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
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


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_in_a_folder_that_cannot_be_written_it_is_kept_in_memory(tiny, tmp_path, counted, monkeypatch, capsys, number):
    """A shared pool: each selector asks for an embedding twice, for its similarity and for its cost."""

    def refuse(embedding, path):
        raise OSError(number, "cannot be written", str(path))

    monkeypatch.setattr(TaskEmbedding, "save", refuse)
    source = on_base(tmp_path / str(number) / "rte", tiny)
    assert source.embedding(QUICK) is source.embedding(QUICK)
    assert counted == ["grammar_garden"]
    assert "cannot be written: what is computed of its sources is not kept" in capsys.readouterr().err


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


def test_a_source_without_its_task_is_refused(tiny):
    fields = {"name": "from_the_hub", "task": None, "rows": None, "seed": 0, "data": None, "folder": None}
    foreign = SimpleNamespace(**fields, trained=None)
    with pytest.raises(UserError, match="source 'from_the_hub' has no task data"):
        rank(get_task("grammar_garden"), [foreign], by=QUICK, base=tiny, rows=20)
