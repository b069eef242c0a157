"""Tests of token ids as arrays: they read as lists do, whatever the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksel.model.encoded import Encoded
from tasksel.model.token_rows import Block, TokenRows, joined, taken

ROW = st.lists(st.lists(st.integers(0, 250_000), min_size=1, max_size=6), min_size=1, max_size=3)
PIECES = st.lists(st.lists(ROW, min_size=1, max_size=5), min_size=1, max_size=4)


@given(pieces=PIECES, data=st.data())
def test_arrays_read_as_the_lists_that_they_are_made_of(pieces, data):
    lists = [row for piece in pieces for row in piece]
    arrays = TokenRows(tuple(map(Block.of, pieces)))
    assert (list(arrays), len(arrays), arrays[-1]) == (lists, len(lists), lists[-1])
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8))
    drawn = taken(arrays, indices)
    assert drawn == taken(lists, indices) == [lists[i] for i in indices]
    assert drawn.lengths.tolist() == [max(map(len, lists[i])) for i in indices]
    for one, two in ((arrays, drawn), (drawn, lists), (lists, drawn), (drawn, drawn)):
        assert joined(one, two) == [*one, *two]
    assert arrays[1:] == lists[1:]


@given(pieces=PIECES, times=st.integers(0, 3))
def test_a_prompts_room_is_made_behind_the_first_token(pieces, times):
    arrays = TokenRows(tuple(map(Block.of, pieces)))
    wanted = [[sequence[:1] * (1 + times) + sequence[1:] for sequence in row] for row in arrays]
    assert arrays.first_repeated(times) == wanted


def test_rows_that_are_not_there_are_refused():
    rows = TokenRows((Block.of([[[1]], [[2]]]),))
    assert rows != [[[1]]]
    assert repr(rows.take([1])) == "TokenRows(1 of 2 rows)"
    with pytest.raises(IndexError):
        rows[2]


def test_batches_of_arrays_are_those_of_lists():
    lists = [[[5, 6, 7], [8]], [[9, 10]], [[11] * 7, [12, 13]]]
    types = [[[0] * len(sequence) for sequence in row] for row in lists]
    plain = Encoded(lists, types, np.arange(3), pad_id=3, width=2)
    arrays = Encoded(*(TokenRows((Block.of(rows),)) for rows in (lists, types)), np.arange(3), pad_id=3, width=2)
    assert arrays.lengths == plain.lengths
    for one, two in (
        (plain, arrays),
        (plain.take([2, 0]), arrays.take([2, 0])),
        (plain.joined(plain), arrays.joined(plain)),
    ):
        for (name, tensor), other in zip(one.batch([1, 0]).items(), two.batch([1, 0]).values(), strict=True):
            assert tensor.dtype == other.dtype, name
            assert tensor.tolist() == other.tolist(), name


def test_a_batch_is_padded_to_a_multiple_that_the_longest_row_allows():
    rows = Encoded([[[5] * n] for n in (3, 9, 11)], [[[1] * n] for n in (3, 9, 11)], np.zeros(3), pad_id=7, width=1)
    plain, padded = rows.batch([0]), rows.batch([0], multiple=8)
    assert padded["input_ids"].tolist() == [[5] * 3 + [7] * 5]
    assert padded["attention_mask"].tolist() == padded["token_type_ids"].tolist() == [[1] * 3 + [0] * 5]
    assert rows.batch([1], multiple=8)["input_ids"].shape == (1, 11)  # 16 may be more than the model has positions
    assert plain["input_ids"].shape == (1, 3)
