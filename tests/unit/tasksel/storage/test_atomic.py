"""Tests of storage: a file or folder is whole or not there, whatever happens on the way."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasksel.errors import UserError
from tasksel.storage import atomic as storage
from tasksel.storage.atomic import (
    PARTIAL,
    file_hash,
    is_unused,
    partial_folder,
    read_json,
    value_hash,
    whole_folder,
    write_json,
    write_text,
)
from tasksel.storage.locks import shared


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(place, error):
    with whole_folder(place) as folder:
        (folder / "new").write_text("new")
        raise error


class TestWriteText:
    def test_makes_parents_and_replaces(self, tmp_path):
        path = tmp_path / "deep" / "down" / "a.txt"
        write_text(path, "one")
        write_text(path, "zwölf")
        assert path.read_text(encoding="utf-8") == "zwölf"
        assert names_in(path.parent) == ["a.txt"]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / "a.txt"
        write_text(path, "old")
        monkeypatch.setattr(storage.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            write_text(path, "new")
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["a.txt"]

    def test_an_interrupt_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(storage.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_text(tmp_path / "a.txt", "new")
        assert names_in(tmp_path) == []

    def test_the_place_never_holds_half_a_file(self, tmp_path, monkeypatch):
        path, seen = tmp_path / "a.txt", []
        write_text(path, "old")
        monkeypatch.setattr(storage.os, "fsync", lambda _: seen.append(path.read_text()))
        write_text(path, "new")
        assert seen == ["old"]
        assert path.read_text() == "new"

    def test_others_can_read_it(self, tmp_path):
        write_text(tmp_path / "a.txt", "x")
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


class TestJson:
    def test_comes_back(self, tmp_path):
        value = {"ä": [1, 2.5, None], "b": {"c": "d"}}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value
        assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")

    def test_a_value_that_is_no_json_leaves_the_old_file(self, tmp_path):
        write_json(tmp_path / "a.json", 1)
        with pytest.raises(TypeError):
            write_json(tmp_path / "a.json", {"x": object()})
        assert read_json(tmp_path / "a.json") == 1

    def test_a_missing_and_a_broken_file_are_said_in_one_line(self, tmp_path):
        with pytest.raises(UserError, match="no file"):
            read_json(tmp_path / "none.json")
        (tmp_path / "a.json").write_text('{"a": 1,\n "b": \n')
        with pytest.raises(UserError, match=r"a\.json:3: broken JSON"):
            read_json(tmp_path / "a.json")
        (tmp_path / "a.json").write_bytes(b'"caf\xe9"')
        with pytest.raises(UserError, match="broken JSON"):
            read_json(tmp_path / "a.json")


class TestWholeFolder:
    def test_appears_only_when_it_is_full(self, tmp_path):
        place = tmp_path / "pool" / "rte"
        with whole_folder(place) as folder:
            (folder / "a").write_text("1")
            assert not place.exists()
            assert folder.parent == place.parent  # the same disk: renaming is atomic
        assert names_in(place) == ["a"]
        assert names_in(place.parent) == ["rte"]
        assert stat.S_IMODE(place.stat().st_mode) == 0o755

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_failure_leaves_nothing(self, tmp_path, error):
        with pytest.raises(error):
            fail_half_way(tmp_path / "rte", error)
        assert names_in(tmp_path) == []

    def test_replaces_the_whole_of_what_was_there(self, tmp_path):
        for name in ("old", "new"):
            with whole_folder(tmp_path / "rte") as folder:
                (folder / name).write_text(name)
        assert names_in(tmp_path / "rte") == ["new"]
        assert names_in(tmp_path) == ["rte"]

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        with whole_folder(tmp_path / "rte") as folder:
            (folder / "old").write_text("old")
        with pytest.raises(ZeroDivisionError):
            fail_half_way(tmp_path / "rte", ZeroDivisionError)
        assert names_in(tmp_path / "rte") == ["old"]
        assert names_in(tmp_path) == ["rte"]

    def test_what_killed_runs_left_is_removed(self, tmp_path):
        for name in ("rte-abcd1234", "rte-abcd_234-old"):
            (tmp_path / f"{PARTIAL}{name}").mkdir()
            (tmp_path / f"{PARTIAL}{name}" / "half").write_text("x")
        with whole_folder(tmp_path / "rte"):
            pass
        assert names_in(tmp_path) == ["rte"]

    def test_what_another_place_is_writing_stays(self, tmp_path):
        with whole_folder(tmp_path / "rte-large") as other, whole_folder(tmp_path / "rte"):
            assert other.is_dir()
        assert names_in(tmp_path) == ["rte", "rte-large"]

    def test_what_killed_runs_left_is_removed_and_what_is_written_stays(self, tmp_path):
        for name in ("abcd1234", "sst2-abcd1234", "rte-abcd_234-old"):
            (tmp_path / f"{PARTIAL}{name}").mkdir()
        (tmp_path / f"{PARTIAL}file").write_text("half")
        (tmp_path / "rte").mkdir()
        with whole_folder(tmp_path / "other") as live, partial_folder(tmp_path) as also:
            write_text(tmp_path / "a.txt", "x")
            assert live.is_dir()
            assert also.is_dir()
            assert names_in(tmp_path) == sorted([live.name, also.name, "a.txt", "rte"])
        assert names_in(tmp_path) == ["a.txt", "other", "rte"]

    def test_what_two_renames_of_a_killed_run_took_away_comes_back(self, tmp_path):
        for name in ("rte", "r" * 250):
            left = tmp_path / storage._old_name(name, "abcd1234")
            left.mkdir()
            (left / "old").write_text("x")
            write_text(tmp_path / "a.txt", "another place's writer leaves it alone")
            assert left.is_dir()
            with pytest.raises(ZeroDivisionError):
                fail_half_way(tmp_path / name, ZeroDivisionError)
            assert names_in(tmp_path / name) == ["old"]

    def test_without_an_exchange_two_renames_do(self, tmp_path, monkeypatch):
        monkeypatch.setattr(storage, "_exchange", lambda *_: False)
        for name in ("old", "new"):
            with whole_folder(tmp_path / "rte") as folder:
                (folder / name).write_text(name)
        assert names_in(tmp_path / "rte") == ["new"]
        assert names_in(tmp_path) == ["rte"]

    def test_a_link_stays_a_link_to_what_is_replaced(self, tmp_path):
        (tmp_path / "big" / "rte").mkdir(parents=True)
        (tmp_path / "rte").symlink_to(tmp_path / "big" / "rte")
        with whole_folder(tmp_path / "rte") as folder:
            (folder / "new").write_text("x")
        assert (tmp_path / "rte").is_symlink()
        assert names_in(tmp_path / "big" / "rte") == ["new"]

    def test_files_are_written_whole_inside_it_too(self, tmp_path):
        with whole_folder(tmp_path / "rte") as folder:
            write_json(folder / "a.json", 1)
            with whole_folder(folder / "inner") as inner:
                write_json(inner / "b.json", 2)
        assert names_in(tmp_path / "rte") == ["a.json", "inner"]

    def test_a_long_name_has_a_partial_and_a_successor_too(self, tmp_path):
        for name in ("old", "new"):
            with whole_folder(tmp_path / ("r" * 255)) as folder:
                (folder / name).write_text(name)
        assert names_in(tmp_path / ("r" * 255)) == ["new"]


def test_a_folder_with_leftovers_alone_is_unused(tmp_path):
    assert is_unused(tmp_path / "none")
    assert is_unused(tmp_path)
    (tmp_path / f"{PARTIAL}abcd1234").mkdir()
    (tmp_path / ".lock-run.json").touch()
    (tmp_path / "store").mkdir()
    assert is_unused(tmp_path, but=tmp_path / "store")
    assert not is_unused(tmp_path)
    assert not is_unused(tmp_path / ".lock-run.json")


def test_text_that_is_not_unicode_is_refused_with_its_file(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: text that cannot be stored"):
        write_text(tmp_path / "a.txt", "\ud800")


WRITER = """
import sys
from pathlib import Path
from tasksel.storage.atomic import whole_folder, write_text
place, who = Path(sys.argv[1]), sys.argv[2]
for number in range(100):
    with whole_folder(place) as folder:
        for part in "ab":
            (folder / part).write_text(f"{who} {number}")
    write_text(place.with_name("file"), f"{who} {number}")
"""


def test_two_writers_of_one_place_both_succeed_and_a_reader_never_misses_it(tmp_path):
    place = tmp_path / "rte"
    with whole_folder(place) as folder:
        for part in "ab":
            (folder / part).write_text("first")
    write_text(tmp_path / "file", "first")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(place), who]) for who in ("one", "two")]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        with shared(tmp_path):
            assert (place / "a").read_text() == (place / "b").read_text()
        assert (tmp_path / "file").read_text()
        reads += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert reads > 20
    assert names_in(tmp_path) == ["file", "rte"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tasksel.storage.atomic import temporary_folder, whole_folder
folder = temporary_folder()
folder.mkdir()
with whole_folder(Path(sys.argv[1])) as partial:
    (partial / "half").write_text("x")
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print(partial, folder, flush=True)
    input()
"""


def test_of_a_killed_process_everything_is_removed_and_of_a_living_one_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = [sys.executable, "-c", KILLED, str(tmp_path / "out" / "rte")]
    subprocess.run([*run, "kill"], env=environment, check=False)
    assert len(names_in(tmp_path / "out")) == len(list(tmp_path.glob("scalearn-*"))) == 1
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*run, "live"], env=environment, **pipes) as living:
        held = living.stdout.readline().split()
        (tmp_path / "scalearn-datasets").mkdir()  # somebody's own
        monkeypatch.setattr(storage, "_temporary_root", storage._temporary_root.__wrapped__)
        own = storage.temporary_folder()
        with whole_folder(tmp_path / "out" / "rte"):
            pass
        assert all(Path(path).is_dir() for path in held)
        expected = {Path(held[1]).parent.parent.name, own.parent.parent.name, "scalearn-datasets"}
        assert {path.name for path in tmp_path.glob("scalearn-*")} == expected
        living.communicate("go on\n")
    assert names_in(tmp_path / "out" / "rte") == ["half"]
    assert names_in(tmp_path / "out") == ["rte"]


def test_hashes_are_of_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert value_hash({"a": 1, "b": [2]}) == value_hash(json.loads('{"b": [2], "a": 1}'))
    assert value_hash({"a": [1, 2]}) != value_hash({"a": [2, 1]})
