"""Tests of features on the disk: named by all that decides them, read back as they were, refused where they were altered."""

import dataclasses
import shutil

import numpy as np
import pytest
from task_candidates import candidate

from tasksel import UserError, get_task
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.selection import source_features
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.kept_features import SourceOutput, output_key, read_output, write_output
from tasksel.selection.source_features import FeatureSelector, run_source


@pytest.fixture
def base(tiny):
    return load_base(tiny)


@pytest.fixture
def rows(base):
    """A small target's token ids."""
    task = get_task("entail_kitchen")
    return encode_split(TaskOnBase(candidate(task.name), base).data.train, task, base.tokenizer, max_length=32)


@pytest.fixture
def output():
    return SourceOutput(np.ones((3, 4), np.float32), np.full((3, 2), 0.5), np.array([0, 1, 0]), 1.5)


def test_an_output_is_read_back_as_it_was(tmp_path, base, output):
    write_output(tmp_path / "kept.safetensors", output, source="rte", base=base)
    back = read_output(tmp_path / "kept.safetensors")
    for field in dataclasses.fields(output):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(output, field.name))
        assert np.asarray(getattr(back, field.name)).dtype == np.asarray(getattr(output, field.name)).dtype


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-3], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b"", lambda b: b[:40]]
)
def test_an_altered_file_is_refused_by_name(tmp_path, base, output, damage):
    path = tmp_path / "kept.safetensors"
    write_output(path, output, source="rte", base=base)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"kept\.safetensors is cut short or altered: delete it and run again"):
        read_output(path)


def test_the_key_names_adapter_rows_and_pooling(base, pool, rows):
    one, other = (pool.select([name])[0].trained for name in ("sentiment_films", "entail_travel"))
    keys = [
        output_key(one, base, rows, "first"),
        output_key(one, base, rows, "mean"),
        output_key(other, base, rows, "first"),
        output_key(one, base, rows.take([0, 1, 2]), "first"),
    ]
    assert len(set(keys)) == 4
    assert output_key(AdapterCheckpoint(one.folder, one.adapter), base, rows, "first") == keys[0]


def test_the_same_rows_run_no_model_a_second_time_in_another_process(base, pool, tmp_path, monkeypatch):
    target = TaskOnBase(candidate("entail_kitchen", folder=tmp_path / "target"), base)
    sources = [TaskOnBase(source, base) for source in pool]
    source_features._forward.cache_clear()  # as a new process begins
    found = FeatureSelector("logme", pooling="mean").scores(target, sources)
    assert len(list((tmp_path / "target" / "features").iterdir())) == len(sources)
    source_features._forward.cache_clear()
    monkeypatch.setattr(AdapterCheckpoint, "model", lambda *args, **options: pytest.fail("a model was run again"))
    assert FeatureSelector("logme", pooling="mean").scores(target, sources) == found
    assert FeatureSelector("closed-form", pooling="mean").scores(target, sources)


def test_of_a_target_whose_folder_may_not_be_written_to_they_are_kept_elsewhere(base, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("tasksel.selection.candidate.is_writable", lambda folder: False)
    target = TaskOnBase(candidate("entail_kitchen", folder=tmp_path / "target"), base, cache_dir=tmp_path / "elsewhere")
    source_features._forward.cache_clear()
    FeatureSelector("logme").scores(target, [TaskOnBase(source, base) for source in pool])
    assert len(list((tmp_path / "elsewhere").rglob("features/*.safetensors"))) == 3
    assert not (tmp_path / "target").exists()


def test_a_source_that_computes_otherwise_from_the_same_weights_has_another_key(base, pool, rows, tmp_path):
    trained = pool.select(["sentiment_films"])[0].trained
    shutil.copytree(trained.folder, tmp_path / "copy")
    copy = AdapterCheckpoint(tmp_path / "copy", trained.adapter)
    keys = [output_key(copy, base, rows, "first")]
    assert keys == [output_key(trained, base, rows, "first")]
    for name in ("adapter_config.json", "head_config.json", "model_head.safetensors"):
        with (copy.folder / name).open("ab") as file:
            file.write(b" ")
        keys.append(output_key(copy, base, rows, "first"))
    assert len(set(keys)) == 4


def test_without_a_folder_and_of_many_rows_nothing_is_kept(base, pool, rows, tmp_path, monkeypatch):
    source_features._forward.cache_clear()
    trained = pool.select(["sentiment_films"])[0].trained
    run_source(trained, base, rows)
    monkeypatch.setattr(source_features, "CACHED_ROWS", len(rows) - 1)
    run_source(trained, base, rows, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
