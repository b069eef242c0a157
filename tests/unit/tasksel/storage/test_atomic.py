"""Tests of storage: a file or folder is whole or not there, whatever happens on the way."""

import json
import stat

import pytest

from tasksel.errors import UserError
from tasksel.storage import atomic as storage
from tasksel.storage.atomic import PARTIAL, file_hash, read_json, value_hash, whole_folder, write_json, write_text


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


def test_hashes_are_of_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert value_hash({"a": 1, "b": [2]}) == value_hash(json.loads('{"b": [2], "a": 1}'))
    assert value_hash({"a": [1, 2]}) != value_hash({"a": [2, 1]})
