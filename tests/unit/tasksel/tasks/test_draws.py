"""Tests that draws are those of version 0.1, whose code stands here: stored keys hold the rows that they drew."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksel.tasks.draws import others, stratified
from tasksel.tasks.splits import keep_each_class

LABELS = st.one_of(
    st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array),
    st.lists(st.sampled_from([0.5, -1.0, 2.25, 0.1]), min_size=1, max_size=60).map(lambda v: np.array(v, np.float32)),
    st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=1, max_size=40).map(
        lambda v: np.array(v, np.float32)
    ),
    st.lists(st.sampled_from(["b", "a", "ä", "B"]), min_size=1, max_size=40).map(lambda v: np.array(v, dtype=object)),
)


def stratified_of_0_1(labels, count, *, seed):
    draw = random.Random(seed)
    keys = [tuple(label) if labels.ndim == 2 else label for label in labels.tolist()]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], draw.random()))
    start = draw.random()
    picked = [order[int((start + i) * len(order) / count)] for i in range(count)]
    draw.shuffle(picked)
    return picked


def keep_each_class_of_0_1(labels, taken):
    if labels.ndim == 1 and not np.issubdtype(labels.dtype, np.integer):
        return list(taken)
    hot = labels if labels.ndim == 2 else np.eye(int(labels.max()) + 1, dtype=int)[labels]
    left, kept = hot.sum(0) - hot[list(taken)].sum(0), []
    for index in taken:
        if np.any((hot[index] > 0) & (left <= 0)):
            left = left + hot[index]
        else:
            kept.append(index)
    if kept:
        return kept
    spare = [i for i in range(len(labels)) if i not in taken and np.all(hot.sum(0)[hot[i] > 0] > 1)]
    return spare[:1] or list(taken)


@settings(max_examples=200, deadline=None)
@given(labels=LABELS, data=st.data(), seed=st.integers(0, 2**32))
def test_a_draw_is_that_of_0_1(labels, data, seed):
    count = data.draw(st.integers(0, len(labels)))
    drawn = stratified(labels, count, seed=seed)
    assert drawn == stratified_of_0_1(labels, count, seed=seed)
    assert all(type(index) is int for index in drawn)
    if drawn:
        assert keep_each_class(labels, drawn) == keep_each_class_of_0_1(labels, drawn)


@given(count=st.integers(1, 50), data=st.data())
def test_the_others_are_those_that_are_not_taken(count, data):
    taken = data.draw(st.lists(st.integers(0, count - 1), max_size=count))
    assert others(count, taken).tolist() == [i for i in range(count) if i not in taken]
