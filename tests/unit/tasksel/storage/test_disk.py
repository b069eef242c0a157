"""What disks say, in one line with a way out; and what has no room is refused before it begins."""

import errno
import os
import resource
from collections import namedtuple
from contextlib import contextmanager

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasksel.errors import UserError
from tasksel.storage import disk
from tasksel.storage.atomic import append_bytes, whole_folder, write_text
from tasksel.storage.disk import disk_error, disk_line, need_space

TROUBLES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "that can be written",
    errno.EACCES: "change its permissions",
    errno.EIO: "may be failing",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "ulimit -n",
    errno.EFBIG: "ulimit -f",
    errno.EBUSY: "give a folder in it",
}


@contextmanager
def small_disk(size):
    """While the block runs no file can grow beyond so many bytes: the kernel refuses, as a full disk does, whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("number", "way_out"), TROUBLES.items())
def test_each_trouble_is_one_line_with_a_way_out(number, way_out):
    line = disk_line(disk_error(OSError(number, os.strerror(number), "pools/mine")))
    assert line.startswith("pools/mine: ")
    assert way_out in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("Error in faiss::FileIOWriter: write error in rows.faiss: 10 != 20 (No space left on device)"),
        OSError("Not enough disk space. Needed: 3 GB"),
        OSError(errno.ENOSPC, "no filename"),
    ],
)
def test_what_other_libraries_say_of_a_full_disk_is_understood(error):
    assert disk_error(error).errno == errno.ENOSPC


def test_what_caused_an_error_counts():
    error = RuntimeError("cannot generate the data set")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_error(error).errno == errno.ENOSPC


@pytest.mark.parametrize(
    "error", [KeyError("x"), OSError("no errno"), OSError(errno.ENOENT, "no path"), UserError("x")]
)
def test_anything_else_is_no_trouble_of_a_disk(error):
    assert disk_error(error) is None


def test_a_file_that_does_not_fit_leaves_the_old_one_and_names_itself(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OSError, match=r"a\.txt") as caught, small_disk(1000):
        write_text(tmp_path / "a.txt", "x" * 5000)
    assert "a.txt" in disk_line(disk_error(caught.value))
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_does_not_fit_leaves_the_old_one(tmp_path):
    """safetensors' own error, which is no OSError."""
    with whole_folder(tmp_path / "rte") as folder:
        save_file({"w": np.zeros(3)}, folder / "w.safetensors")
    with pytest.raises(OSError, match="rte") as caught, small_disk(1000), whole_folder(tmp_path / "rte") as folder:
        save_file({"w": np.zeros(3000)}, folder / "w.safetensors")
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "rte" / "w.safetensors").stat().st_size < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["rte"]


def test_a_line_that_does_not_fit_is_not_appended_in_part(tmp_path):
    append_bytes(tmp_path / "rows.jsonl", b"first\n")
    with pytest.raises(OSError, match=r"rows\.jsonl"), small_disk(10):
        append_bytes(tmp_path / "rows.jsonl", b"second line\n")
    assert (tmp_path / "rows.jsonl").read_bytes() == b"first\n"


def test_what_has_no_room_is_refused_before_it_begins(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: usage(10, 9, 2**20) if place == tmp_path else None)
    need_space(tmp_path / "not" / "yet", 2**20)
    with pytest.raises(UserError, match=r"yet: 2\.0 MB will be written and 1\.0 MB are free; make room"):
        need_space(tmp_path / "not" / "yet", 2**21)


def test_a_disk_that_does_not_say_refuses_nothing(tmp_path, monkeypatch):
    def silent(place):
        raise OSError(errno.ENOSYS, "not known")

    monkeypatch.setattr(disk.shutil, "disk_usage", silent)
    assert need_space(tmp_path, 2**60) is None
