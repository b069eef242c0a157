"""Tests of the task embedding: what is stored comes back, and half a file is never taken for a whole one."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasksel import EMBEDDERS, get_embedder
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.connectivity import Connectivity
from tasksel.errors import UserError
from tasksel.storage.atomic import PARTIAL


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def embedding():
    arrays = {"heads": np.array([5, 160], dtype=np.uint8), "means": np.linspace(0, 1, 7, dtype=np.float32)}
    provenance = {
        "task": "rte",
        "method": "connectivity",
        "base": "minilm",
        "seconds": 1.25,
        "bits": {"heads": 12},
        "ä": None,
    }
    return TaskEmbedding(arrays, provenance)


def test_comes_back_with_what_made_it(embedding, tmp_path):
    embedding.save(tmp_path / "deep" / "a.safetensors")
    back = TaskEmbedding.load(tmp_path / "deep" / "a.safetensors")
    assert back.provenance == embedding.provenance
    assert back.arrays.keys() == embedding.arrays.keys()
    for name, array in embedding.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype
    assert names_in(tmp_path / "deep") == ["a.safetensors"]


def test_counts_its_bytes_and_prints_as_one_line(embedding):
    assert embedding.nbytes == 2 + 7 * 4
    assert repr(embedding) == "TaskEmbedding(rte by connectivity on minilm, 30 bytes, 1.2 s)"


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_file_cut_short_is_refused(embedding, tmp_path, keep):
    path = tmp_path / "a.safetensors"
    embedding.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UserError, match=r"a\.safetensors: not a whole task embedding.*a file that tasksel embed wrote, or embed again"
    ):
        TaskEmbedding.load(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match=r"no file .*a\.safetensors"):
        TaskEmbedding.load(path)
    for metadata in (None, {"made": "{"}, {"made_by": "{}"}):
        save_file({"x": np.zeros(3)}, path, metadata=metadata)
        with pytest.raises(UserError, match="not a whole task embedding"):
            TaskEmbedding.load(path)


def test_a_failure_on_the_way_leaves_the_old_embedding(embedding, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    embedding.save(path)
    monkeypatch.setattr("tasksel.embeddings.base.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        TaskEmbedding(embedding.arrays, {**embedding.provenance, "task": "new"}).save(path)
    assert TaskEmbedding.load(path).provenance["task"] == "rte"
    assert all(name == path.name or name.startswith(PARTIAL) for name in names_in(tmp_path))


def test_embedders_by_name():
    assert get_embedder("connectivity", co_train=True) == Connectivity(co_train=True)
    assert get_embedder("connectivity-heads") == Connectivity(grouping="heads")
    assert {"fisher", "rows-max", "prompt-max", "conductance", "text", "vocabulary"} <= EMBEDDERS.keys()
    with pytest.raises(UserError, match=r"no embedder 'conectivity'; did you mean 'connectivity'\?"):
        get_embedder("conectivity")
