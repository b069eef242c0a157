"""Tests of what meets a tokenizer: long texts are cut before, and half of a surrogate pair is replaced."""

import numpy as np

from tasksel.model.base import load_base
from tasksel.model.encoding import LONGEST, encode
from tasksel.tasks.examples import Split


class Recorder:
    """A tokenizer that keeps what it is given."""

    pad_token_id = 0

    def __call__(self, firsts, seconds, **options):
        self.given = [*firsts, *(seconds or [])]
        return {"input_ids": [[1]] * len(firsts)}


def given(split, max_length=32):
    tokenizer = Recorder()
    encode(split, tokenizer, max_length=max_length)
    return tokenizer.given


def test_a_long_text_is_cut_before_it_is_tokenized():
    text = "word " * 1_000_000
    pair, choice = Split([(text, text)], None, np.zeros(1)), Split([("a", "b")], [[text, "c"]], np.zeros(1))
    assert [len(part) for part in given(pair)] == [LONGEST, LONGEST]
    assert [len(part) for part in given(pair, max_length=1000)] == [200_000, 200_000]
    assert [len(part) for part in given(choice)] == [3, 3, LONGEST, 1]


def test_half_of_a_surrogate_pair_is_replaced():
    split = Split([("half \ud83d",), ("caf\u00e9 \U0001f600",)], None, np.zeros(2))
    assert given(split) == ["half \ufffd", "caf\u00e9 \U0001f600"]


def test_the_beginning_of_a_long_text_gives_the_tokens_of_the_whole():
    tokenizer = load_base("minilm").tokenizer
    texts = [
        "word " * 5000,
        "supercalifragilistic-" * 900,
        "x" * 6000 + " and an end",
        "short",
        "word " * 30 + "x" * 9000,
    ]
    encoded = encode(Split([(text,) for text in texts], None, np.zeros(len(texts))), tokenizer, max_length=32)
    whole = tokenizer(texts, truncation=True, max_length=32)
    assert [row[0] for row in encoded.ids] == whole["input_ids"]
    assert [row[0] for row in encoded.types] == whole["token_type_ids"]
    assert encoded.cut == sum(bool(each.overflowing) for each in whole.encodings) == 3
