"""Finished units in few files are found by their keys as before, whoever reads meanwhile; what is altered is refused."""

import shutil
import threading

import pytest
from run_rows import made_rows

from scalearn.cli.main import main
from scalearn.comparison import unit_files
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.comparison.records import RunFolder
from scalearn.comparison.unit_files import UnitFiles
from tasksel.errors import UserError
from tasksel.storage.hashed import write_hashed

KEYS = [f"{number:016x}" for number in range(60)]


@pytest.fixture
def store(tmp_path):
    """A store of 60 units."""
    for key, row in zip(KEYS, made_rows(), strict=False):
        write_hashed(tmp_path / "units" / f"{key}.json", row.model_copy(update={"key": key}).model_dump(mode="json"))
    return tmp_path


def texts(store):
    return {path.name: path.read_bytes() for path in (store / "units").iterdir()}


def test_packed_units_are_the_same_and_unpacked_ones_byte_for_byte(store):
    files, before = UnitFiles(store), texts(store)
    records = {key: files.read(key) for key in KEYS}
    packing = files.pack()
    assert (packing.records, packing.files) == (60, (60, 1))
    assert packing.bytes[1] < packing.bytes[0] / 5
    assert list((store / "units").iterdir()) == []
    for reader in (files, UnitFiles(store)):
        assert {key: reader.read(key) for key in KEYS} == records
        assert reader.keys() == set(KEYS)
        assert reader.read("f" * 16) is None
    assert files.unpack().records == 60
    assert texts(store) == before
    assert list((store / "packed").iterdir()) == []
    assert files.read(KEYS[3]) == records[KEYS[3]]


def test_many_units_are_several_files_and_a_second_packing_adds_one(store, monkeypatch):
    monkeypatch.setattr(unit_files, "PART", 25)
    files = UnitFiles(store)
    assert files.pack().files == (60, 3)
    newer = files.read(KEYS[0]).model_copy(update={"seconds": 99.0})
    write_hashed(store / "units" / f"{KEYS[0]}.json", newer.model_dump(mode="json"))
    assert files.read(KEYS[0]).seconds == 99.0, "a file of its own counts first"
    assert files.pack().files == (1, 1)
    assert files.read(KEYS[0]).seconds == UnitFiles(store).read(KEYS[0]).seconds == 99.0, "the later file counts"
    assert files.unpack().records == 60
    assert files.read(KEYS[0]).seconds == 99.0


def test_nothing_is_packed_twice_and_an_empty_store_packs_nothing(store):
    UnitFiles(store).pack()
    assert UnitFiles(store).pack().files == (0, 0)
    assert len(list((store / "packed").iterdir())) == 1


def test_a_reader_finds_every_unit_while_they_are_packed_and_unpacked(store):
    missed, stop = [], threading.Event()

    def read():
        files = UnitFiles(store)
        while not stop.is_set():
            missed.extend(key for key in KEYS if files.read(key) is None)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        UnitFiles(store).pack()
        UnitFiles(store).unpack()
    stop.set()
    reader.join()
    assert missed == []


def test_a_unit_that_is_broken_or_of_another_name_stops_the_packing_before_anything_goes(store):
    (store / "units" / f"{KEYS[1]}.json").rename(store / "units" / "0123456789abcdef.json")
    before = texts(store)
    with pytest.raises(UserError, match=r"0123456789abcdef\.json is cut short or altered"):
        UnitFiles(store).pack()
    assert texts(store) == before
    assert list((store / "packed").glob("*.parquet")) == []


def test_a_packed_file_that_does_not_read_back_is_not_kept(store, monkeypatch):
    before = texts(store)
    monkeypatch.setattr(unit_files, "_read", lambda part: [])
    with pytest.raises(UserError, match="does not read back as it was written; nothing was removed"):
        UnitFiles(store).pack()
    assert texts(store) == before
    assert list((store / "packed").iterdir()) == []


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_packed_file_that_is_altered_or_cut_short_is_refused_or_reads_the_same(store, where):
    files = UnitFiles(store)
    before = {key: files.read(key) for key in KEYS}
    files.pack()
    [part] = (store / "packed").iterdir()
    whole = bytearray(part.read_bytes())
    for change in (bytes(whole[: int(where * len(whole))]), _flipped(whole, where)):
        part.write_bytes(change)
        assert _records(store) in (before, "altered")


def _records(store):
    """The records, or "altered" where the reader says so."""
    files = UnitFiles(store)
    try:
        return {key: files.read(key) for key in KEYS}
    except UserError as error:
        return "altered" if "is cut short or altered" in str(error) else str(error)


def _flipped(whole, where):
    other = bytearray(whole)
    other[int(where * len(whole))] ^= 1
    return bytes(other)


def test_a_comparison_goes_on_from_packed_units(experiment_run, config, tmp_path, capsys, no_training):
    shutil.copytree(experiment_run, tmp_path / "run")
    assert main(["store", "pack", str(tmp_path / "run" / "store")]) == 0
    assert capsys.readouterr().out.startswith("packed 4 units: from 4 to 1 files, ")
    plan = Plan(Experiment.model_validate(config), tmp_path / "run")
    assert all(map(plan.done, plan.steps()))
    rows = plan.run().rows
    assert rows == RunFolder(experiment_run).rows
    assert main(["store", "ls", str(tmp_path / "run" / "store")]) == 0
    listed = capsys.readouterr().out
    assert "finished units" in listed
    assert "trained models" in listed
    assert main(["store", "unpack", str(tmp_path / "run" / "store")]) == 0
    assert len(list((tmp_path / "run" / "store" / "units").iterdir())) == 4


@pytest.mark.parametrize("verb", ["ls", "pack", "unpack"])
def test_what_is_no_store_is_refused(experiment_run, tmp_path, capsys, verb):
    assert main(["store", verb, str(tmp_path)]) == 2
    assert "no store there" in capsys.readouterr().err
    assert main(["store", verb, str(experiment_run)]) == 2
    assert "is a run: its store is" in capsys.readouterr().err
