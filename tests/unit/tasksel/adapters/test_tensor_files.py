"""Tensors are read from both kinds of file, and nothing else: no code runs, and what is broken or hollow is refused in one line."""

import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from golden import golden_base, golden_copy, pickle_weights
from refusals import refused_line
from safetensors.torch import save_file
from torch import nn

from scalearn import AdapterPool
from tasksel.adapters.folder import load_adapter
from tasksel.adapters.tensor_files import finite_weights, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.5])}


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Plain:
    """An object of a class."""


def write(path, content):
    """Writes content by the library that a file's name belongs to."""
    (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_both_kinds_of_file_give_the_same(tmp_path, name):
    path = write(tmp_path / name, TENSORS)
    read = read_tensors(path, origin="mine")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[key], TENSORS[key]) for key in TENSORS)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 2}])
def test_every_format_of_torch_is_read(tmp_path, options):
    for content in (TENSORS, OrderedDict(TENSORS), {key: nn.Parameter(value) for key, value in TENSORS.items()}):
        torch.save(content, tmp_path / "w.bin", **options)
        read = finite_weights(tmp_path / "w.bin", origin="mine")
        assert all(torch.equal(read[key].detach(), TENSORS[key]) for key in TENSORS)


def test_a_state_of_a_module_is_read(tmp_path):
    linear = nn.Linear(3, 2)
    assert torch.equal(
        read_tensors(write(tmp_path / "w.bin", linear.state_dict()), origin="mine")["weight"], linear.weight
    )


@pytest.mark.parametrize("pickler", ["torch", "torch, old", "pickle"])
def test_a_command_is_refused_and_does_not_run(tmp_path, pickler):
    path, ran = tmp_path / "w.bin", tmp_path / "ran"
    content = {**TENSORS, "evil": Command(ran)}
    if pickler == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=pickler == "torch")
    said = refused_line(read_tensors, path, origin="mine")
    assert said == "mine: the adapter cannot be loaded (w.bin: it holds more than tensors, which is never read)"
    assert not ran.exists()


def test_a_command_in_a_pool_or_model_is_refused_and_does_not_run(tmp_path):
    files, base = pickle_weights(golden_copy("bert/plain", tmp_path / "files")), golden_base("bert/plain")
    for file in ("pytorch_adapter.bin", "pytorch_model_head.bin"):
        sound = (files / file).read_bytes()
        write(files / file, {"evil": Command(tmp_path / "ran")})
        pool = AdapterPool(tmp_path / "pool", base=base)
        for call in (lambda: pool.add(files), lambda: load_adapter(base.model(), files)):  # noqa: B023
            assert f"{file}: it holds more than tensors, which is never read" in refused_line(call)
        assert len(pool) == 0
        (files / file).write_bytes(sound)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [Plain(), {"a": Plain()}, nn.Linear(2, 2), {"a": os.getcwd}, Plain], ids=["object", "value", "module", "function", "class"])  # fmt: skip
def test_an_object_is_never_built(tmp_path, content):
    said = refused_line(read_tensors, write(tmp_path / "w.bin", content), origin="mine")
    assert "it holds more than tensors, which is never read" in said


@pytest.mark.parametrize("content", [torch.ones(2), [torch.ones(2)], {"a": 1}, {"a": [torch.ones(2)]}, {3: torch.ones(2)}, {"a": {"b": torch.ones(2)}}, {"a": None}, "text", None])  # fmt: skip
def test_anything_but_tensors_by_name_is_refused(tmp_path, content):
    said = refused_line(read_tensors, write(tmp_path / "w.bin", content), origin="mine")
    assert "holds something else than tensors by name" in said


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", b"\x80\x04", b"\x80\x02.", b"\x00" * 64, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", b"\xff" * 100])  # fmt: skip
def test_a_file_of_another_format_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert refused_line(read_tensors, tmp_path / name, origin="mine").startswith("mine: the adapter cannot be loaded (")


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_a_file_cut_short_at_any_place_is_refused(tmp_path, name):
    path = write(tmp_path / name, TENSORS)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        assert "the adapter cannot be loaded" in refused_line(read_tensors, path, origin="mine")


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    for name in ("w.bin", "w.safetensors"):
        assert "the adapter cannot be loaded" in refused_line(read_tensors, tmp_path / name, origin="mine")
        (tmp_path / name).mkdir()
        assert "the adapter cannot be loaded" in refused_line(read_tensors, tmp_path / name, origin="mine")


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.bin", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert "the adapter cannot be loaded" in refused_line(read_tensors, tmp_path / "w.bin", origin="mine")


HOLLOW = {
    "without numbers": torch.empty(2, 2, device="meta"),
    "spread from one number": torch.zeros(1).expand(10**12),
    "sparse": torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_tensor_that_does_not_hold_its_numbers_is_refused(tmp_path, kind):
    path = write(tmp_path / "w.bin", {**TENSORS, "hollow": HOLLOW[kind]})
    for read in (read_tensors, finite_weights):
        assert "('hollow' in w.bin does not hold its numbers)" in refused_line(read, path, origin="mine")


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.tensor([1, 2]), "is of int64, not of floats"),
        (torch.tensor([True]), "is of bool, not of floats"),
        (torch.tensor([1j]), "is of complex64, not of floats"),
        (torch.tensor([1.0, float("nan"), float("inf")]), "2 of 3 numbers of its weight 'x' are NaN or infinite"),
        (torch.tensor([1e300], dtype=torch.float64), "1 of 1 numbers"),
    ],
)
def test_what_is_no_finite_float_is_named(tmp_path, tensor, said):
    assert said in refused_line(finite_weights, write(tmp_path / "w.bin", {"x": tensor}), origin="mine")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floats_of_every_width_become_float32(tmp_path, dtype):
    for name in ("w.bin", "w.safetensors"):
        content = {key: value.to(dtype) for key, value in TENSORS.items()}
        write(tmp_path / name, content) if name == "w.bin" else save_file(content, tmp_path / name)
        read = finite_weights(tmp_path / name, origin="mine")
        assert all(value.dtype == torch.float32 and torch.equal(value, TENSORS[key]) for key, value in read.items())


def test_parts_of_a_larger_tensor_are_read_as_they_are(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    path = write(tmp_path / "w.bin", {"column": whole[:, 1], "turned": whole.t()})
    read = finite_weights(path, origin="mine")
    assert torch.equal(read["column"], whole[:, 1])
    assert torch.equal(read["turned"], whole.t())
