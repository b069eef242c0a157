"""Tests of the cache of rows: it holds what is read into memory, is made once per content, and is made anew where it is damaged or gone."""

import errno
import json
import os
import shutil
import threading
import time

import numpy as np
import pytest
from refusals import refused_line

import tasksel.tasks.load as loading
import tasksel.tasks.shapes as shaping
from tasksel.storage.atomic import file_hash, value_hash
from tasksel.tasks import content, data_cache, parsing, row_cache
from tasksel.tasks.load import load_data, read_splits
from tasksel.tasks.mapped_rows import MappedRows, MappedTable, joined, taken
from tasksel.tasks.task import Subsample, Task

ROWS = {
    "classes": [{"text": f"row {i}", "label": "abc"[i % 3]} for i in range(60)],
    "numbers": [{"text": f"row {i}", "label": i / 7} for i in range(60)],
    "lists": [{"text": f"row {i}", "label": ["x", "y", "z"][: i % 4]} for i in range(60)],
    "pair": [{"text": f"row {i}", "other": f"ö {i}", "label": i % 2} for i in range(60)],
    "choices": [{"text": f"row {i}", "choices": ["a", "b", "c"][: 2 + i % 2], "label": i % 2} for i in range(60)],
    "texts": [{"text": f"row {i}", "label": f"answer {i}"} for i in range(60)],
}
OPTIONS = {
    "numbers": {"kind": "regression"},
    "pair": {"text": ("text", "other")},
    "choices": {"choices": "choices"},
    "texts": {"kind": "generation"},
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def task_of(path, kind="classes", **options):
    return Task.from_file(path, **{"text": "text", "name": "own", **OPTIONS.get(kind, {}), **options})


def forget():
    """What this process knows of caches, as in another process."""
    for kept in (loading._parsed, row_cache._table, data_cache._known_equal):
        kept.cache_clear()
    loading._said.clear()
    data_cache._unkept.clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own, which takes the smallest files."""
    monkeypatch.setenv("SCALEARN_CACHE", str(tmp_path / "cache"))
    for module in (loading, shaping):
        monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(parsing, "ROWS", 7)
    forget()
    yield tmp_path / "cache" / "data"
    forget()


@pytest.fixture
def reads(monkeypatch):
    """The files that were read row by row, or whole."""
    seen = []
    for module in (loading, shaping):
        original = module.iter_rows
        monkeypatch.setattr(module, "iter_rows", lambda *a, f=original, **k: (seen.append(a[0]), f(*a, **k))[1])
    return seen


def in_memory(task, monkeypatch, **draw):
    with monkeypatch.context() as patch:
        patch.setattr(loading, "SMALL", 10**9)
        return load_data(task, **draw)


def entry(cache):
    (card,) = cache.glob("*/card.json")
    return card.parent


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_the_cache_are_those_of_memory(cache, tmp_path, monkeypatch, kind):
    task = task_of(write(tmp_path / "a.jsonl", ROWS[kind]), kind)
    for draw in ({}, {"rows": 20, "seed": 3}):
        plain = in_memory(task, monkeypatch, **draw)
        for _ in range(2):
            forget()
            kept = load_data(task, **draw)
            assert isinstance(kept.train.texts, MappedRows)
            for part in ("train", "dev", "test"):
                one, two = getattr(plain, part), getattr(kept, part)
                assert (one.texts, one.choices, one.labels.tolist()) == (
                    list(two.texts),
                    two.choices and list(two.choices),
                    two.labels.tolist(),
                )
                assert one.labels.dtype == two.labels.dtype
            parts = (plain.train, plain.dev, plain.test)
            assert kept.fingerprint == value_hash([[s.texts, s.choices, s.labels.tolist()] for s in parts])


def test_a_file_is_read_once_for_all_seeds_processes_and_copies(cache, tmp_path, reads):
    path = write(tmp_path / "a.jsonl", ROWS["classes"])
    task = task_of(path)
    assert len(reads) == 1  # its kind
    load_data(task)
    assert len(reads) == 2
    forget()
    copy = shutil.copy(path, tmp_path / "b.jsonl")
    for place, seed in ((path, 1), (copy, 2)):
        load_data(task_of(place), seed=seed)
    assert len(reads) == 2
    write(path, ROWS["classes"][1:])
    load_data(task_of(path))
    assert len(reads) == 4


def test_the_kind_is_said_again_but_the_file_is_not_read_again(cache, tmp_path, reads, capsys):
    path = write(tmp_path / "a.jsonl", ROWS["classes"])
    first, again = (task_of(path) for _ in range(2))
    assert (first, len(reads)) == (again, 1)
    assert capsys.readouterr().err.count("own: label 'label': 3 classes (a, b, c)") == 2


@pytest.mark.parametrize("kind", ROWS)
def test_a_task_of_a_large_file_is_that_of_a_small_one(cache, tmp_path, monkeypatch, kind):
    path = write(tmp_path / "a.jsonl", ROWS[kind])
    large = [task_of(path, kind) for _ in range(2)]
    monkeypatch.setattr(shaping, "SMALL", 10**9)
    assert large == [task_of(path, kind)] * 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": "", "label": "a"}', ":31: the text in 'text' is empty"),
        ('{"text": "x", "label": "q"}', ":31: label 'q' is not in the label set"),
        ('{"label": "a"}', ":31: 'text'"),
        ("{", ":31: broken JSON"),
    ],
)
def test_bad_rows_are_refused_as_from_memory(cache, tmp_path, monkeypatch, row, said):
    path = write(tmp_path / "a.jsonl", ROWS["classes"])
    task = task_of(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:30], row, *lines[30:50], row, *lines[50:]]))
    line = refused_line(load_data, task)
    assert said.strip(":").split(" ", 1)[1] in line
    assert "(2 bad rows, all are shown)" in line
    monkeypatch.setattr(loading, "SMALL", 10**9)
    assert line == refused_line(load_data, task)


def test_a_file_that_changes_while_it_is_read_is_not_kept(cache, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", ROWS["classes"])
    task, original = task_of(path), loading.parse_into

    def parse_and_change(*arguments):
        write(path, ROWS["classes"][:30])
        return original(*arguments)

    monkeypatch.setattr(loading, "parse_into", parse_and_change)
    assert refused_line(load_data, task) == f"{path} changed while it was read; run again"
    assert list(cache.glob("*/card.json")) == []


def test_a_settled_file_is_not_hashed_again(cache, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", ROWS["classes"])
    os.utime(path, (1e9, 1e9))
    first = content.content_hash(path)
    assert (
        list((cache / "files").glob("*.json")) == []
    )  # its inode changed just now: the next change might look the same
    monkeypatch.setattr(content, "SETTLED", 0.0)
    assert content.content_hash(path) == first
    content._known.clear()
    monkeypatch.setattr(content, "file_hash", lambda path: 1 / 0)
    assert content.content_hash(path) == first
    content._known.clear()
    (kept,) = (cache / "files").glob("*.json")
    kept.write_text(kept.read_text().replace(first, "0" * 64))
    with pytest.raises(ZeroDivisionError):  # hashed again
        content.content_hash(path)


def test_a_file_may_have_a_name_that_is_no_text(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "SETTLED", 0.0)
    path = write(tmp_path / os.fsdecode(b"caf\xe9.jsonl"), ROWS["classes"])
    assert content.content_hash(path) == file_hash(path)
    assert not (cache / "files").exists()


def test_hidden_labels_are_left_out_and_said_in_every_process(cache, tmp_path, capsys):
    held = write(tmp_path / "v.jsonl", [*ROWS["classes"][:9], {"text": "x", "label": "?"}])
    task = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]), validation=held)
    for _ in range(2):
        parsing.say_hidden.__globals__["_say_once"].cache_clear()
        forget()
        assert len(load_data(task).test) == 9
        assert "own: 1 of 10 validation rows have no label: not scored" in capsys.readouterr().err


def test_a_damaged_file_is_made_anew(cache, tmp_path, capsys):
    task = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]))
    before = load_data(task).fingerprint
    for damage in (b"", None):
        forget()
        path = entry(cache) / "train.arrow"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage is None else damage)
        again = load_data(task)
        assert capsys.readouterr().err.count("is cut short, altered or of another version: it is made anew") == 1
        assert again._hash() == before


def test_an_entry_of_another_layout_is_made_anew(cache, tmp_path, monkeypatch, reads):
    task = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]))
    load_data(task)
    place = entry(cache)
    monkeypatch.setattr(data_cache, "LAYOUT", 2)
    load_data(task)
    assert sorted(card.parent for card in cache.glob("*/card.json")) != [
        place
    ]  # another key, so that both versions are served
    shutil.rmtree(place)
    (old,) = (card.parent for card in cache.glob("*/card.json"))
    monkeypatch.setattr(data_cache, "LAYOUT", 3)
    assert not data_cache.is_whole(old)


def test_a_damaged_draw_is_drawn_again(cache, tmp_path):
    task = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]))
    first = load_data(task, rows=30)
    (kept,) = (entry(cache) / "draws").glob("*.npz")
    content = bytearray(kept.read_bytes())
    content[content.index(b"NUMPY") + 140] ^= 1
    kept.write_bytes(content)
    forget()
    assert load_data(task, rows=30)._hash() == first._hash()
    assert kept.read_bytes() != bytes(content)


def test_a_kept_draw_is_not_drawn_again(cache, tmp_path, monkeypatch):
    shown = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]))
    task = shown.model_copy(update={"draw": Subsample(test_rows=5)})
    first = load_data(task, rows=30, seed=4)
    assert first.fingerprint
    forget()
    monkeypatch.setattr(loading, "draw_rows", lambda *a, **k: 1 / 0)
    monkeypatch.setattr(loading.Data, "_hash", lambda self: 1 / 0)
    again = load_data(task, rows=30, seed=4)
    assert (again.fingerprint, len(again.test)) == (first.fingerprint, 5)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_without_room_in_the_cache_rows_are_read_into_memory(cache, tmp_path, monkeypatch, capsys, number):
    task = task_of(write(tmp_path / "a.jsonl", ROWS["classes"]))

    def full(*_):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(parsing, "write_splits", full)
    found = load_data(task)
    assert load_data(task, seed=1).train.texts
    assert isinstance(found.train.texts, list)
    said = capsys.readouterr().err
    assert said.count("the rows of own cannot be kept in the cache and are read anew each time") == 1
    assert "make room there, or set SCALEARN_CACHE to another folder" in said
    assert [path for path in cache.iterdir() if path.is_dir() and path.name not in ("files", "shapes")] == []


def test_who_loses_the_race_waits_and_reads_what_the_other_wrote(cache, capsys):
    made, place = [], cache / "entry"

    def write_slowly(folder):
        made.append(folder)
        time.sleep(0.3)
        return {}

    threads = [
        threading.Thread(target=data_cache.kept_folder, args=(place, "the rows of own", write_slowly)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert data_cache.is_whole(place)
    assert "the rows of own: another process makes them; waiting for it" in capsys.readouterr().err


def test_mapped_rows_are_a_sequence(cache, tmp_path):
    split = read_splits(task_of(write(tmp_path / "a.jsonl", ROWS["pair"]), "pair"))["train"]
    texts = split.texts
    whole = [(f"row {i}", f"ö {i}") for i in range(60)]
    assert (list(texts), texts[-1], list(texts[3:5])) == (whole, whole[-1], whole[3:5])
    drawn = texts.take([50, 3, 3, 59])
    assert drawn == [whole[i] for i in (50, 3, 3, 59)]
    assert drawn != whole
    assert joined(drawn, texts).rows.tolist() == [50, 3, 3, 59, *range(60)]
    assert joined(drawn, [("a", "b")])[-1] == ("a", "b")
    assert list(taken(drawn, [1])) == [whole[3]]
    with pytest.raises(IndexError):
        texts[60]
    assert repr(drawn).endswith("train.arrow, 4 rows)")


def test_what_is_kept_opens_in_datasets(cache, tmp_path):
    datasets = pytest.importorskip("datasets")
    load_data(task_of(write(tmp_path / "a.jsonl", ROWS["lists"]), "lists"))
    kept = datasets.Dataset.from_file(str(entry(cache) / "train.arrow"))
    assert (len(kept), kept[3]) == (60, {"text0": "row 3", "label": [1.0, 1.0, 1.0]})
    assert MappedTable(entry(cache) / "train.arrow").labels.dtype == np.float32
