"""Tests of tokens in the cache: one file of them serves every draw; a draw of few rows, or a tokenizer without a key, goes without."""

import json

import pytest

import tasksel.tasks.load as loading
from tasksel.model import kept_tokens
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.token_rows import TokenRows
from tasksel.tasks import parsing
from tasksel.tasks.load import load_data
from tasksel.tasks.task import Task


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A task whose rows are in a cache of its own."""
    monkeypatch.setenv("SCALEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "SMALL", 0)
    monkeypatch.setattr(parsing, "ROWS", 16)
    path = tmp_path / "a.jsonl"
    rows = [{"text": "a cat sat " * (1 + i % 5), "label": "ab"[i % 2]} for i in range(100)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task.from_file(path, text="text", name="own")


@pytest.fixture
def tokenizer(tiny):
    return load_base(tiny).tokenizer


@pytest.fixture
def made(monkeypatch):
    """The splits that were tokenized."""
    seen, original = [], kept_tokens._write
    monkeypatch.setattr(kept_tokens, "_write", lambda *a: (seen.append(a), original(*a))[1])
    return seen


def in_memory(split, task, tokenizer, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept_tokens, "_kept", lambda *a: None)
        return encode_split(split, task, tokenizer, max_length=8)


def test_the_tokens_of_a_file_serve_every_split_and_draw(task, tokenizer, made, monkeypatch):
    for seed, rows in ((0, None), (1, None), (1, 20)):
        data = load_data(task, seed=seed, rows=rows)
        for split in (data.train, data.dev, data.test):
            kept, plain = (
                encode_split(split, task, tokenizer, max_length=8),
                in_memory(split, task, tokenizer, monkeypatch),
            )
            assert isinstance(kept.ids, TokenRows)
            assert isinstance(plain.ids, list)
            assert (kept.ids, kept.types) == (plain.ids, plain.types)
            assert (kept.cut, kept.lengths) == (plain.cut, plain.lengths)
            assert kept.cut
    assert len(made) == 1


def test_a_draw_of_few_rows_is_tokenized_alone(task, tokenizer, made):
    train = load_data(task, rows=20).train
    assert isinstance(encode_split(train, task, tokenizer, max_length=8).ids, list)
    assert made == []


def test_another_length_or_tokenizer_has_tokens_of_its_own(task, tokenizer, tiny, made):
    train = load_data(task).train
    other = load_base(tiny).tokenizer.__class__.from_pretrained(tiny)
    key = kept_tokens.tokenizer_key(tokenizer)
    assert key == kept_tokens.tokenizer_key(other)
    lengths = [encode_split(train, task, tokenizer, max_length=length).longest for length in (8, 9, 8)]
    assert (lengths, len(made)) == ([8, 9, 8], 2)
    kept_tokens._keys.clear()
    other.add_tokens(["cat sat"])
    assert kept_tokens.tokenizer_key(other) != key


def test_a_call_of_a_tokenizer_does_not_change_its_key(tokenizer):
    key = kept_tokens.tokenizer_key(tokenizer)
    tokenizer(["a cat", "a"], truncation=True, max_length=3, padding=True)
    kept_tokens._keys.clear()
    assert kept_tokens.tokenizer_key(tokenizer) == key


def test_tokens_of_a_slow_tokenizer_are_not_kept(task, tokenizer, made, monkeypatch):
    monkeypatch.setattr(kept_tokens, "tokenizer_key", lambda tokenizer: None)
    assert isinstance(encode_split(load_data(task).train, task, tokenizer, max_length=8).ids, list)
    assert made == []


def test_many_rows_in_memory_are_arrays_too(task, tokenizer, monkeypatch):
    train = load_data(task).train
    plain = in_memory(train, task, tokenizer, monkeypatch)
    monkeypatch.setattr(kept_tokens, "AT_ONCE", 7)
    arrays = in_memory(train, task, tokenizer, monkeypatch)
    assert isinstance(arrays.ids, TokenRows)
    assert (arrays.ids, arrays.types, arrays.cut) == (plain.ids, plain.types, plain.cut)


def test_damaged_tokens_are_made_anew(task, tokenizer, made):
    train = load_data(task).train
    first = encode_split(train, task, tokenizer, max_length=8)
    (path,) = train.texts.table.path.parent.glob("tokens-*/tokens.arrow")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    again = encode_split(train, task, tokenizer, max_length=8)
    assert (again.ids, len(made)) == (first.ids, 2)
