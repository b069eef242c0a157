"""Tests of token similarities: naive loops, values by hand, both directions of MAX, and many sources at once."""

import sys
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import not_refused

from tasksel.embeddings import token_similarity as tokens
from tasksel.embeddings.token_similarity import (
    TOKEN_SIMILARITIES,
    max_backward,
    max_forward,
    max_many,
    max_mean,
    token_scores,
)
from tasksel.errors import UserError

draw = np.random.default_rng(0)
S, T, SHORT = (draw.normal(size=(m, 16)) * draw.uniform(0.1, 9, (m, 1)) + 0.3 for m in (7, 7, 4))
MANY = [draw.normal(size=(m, 16)) for m in (3, 7, 1, 12, 5, 5)]
EQUAL = ("flatten", "unigram", "bigram")
ANY = [name for name in TOKEN_SIMILARITIES if name not in EQUAL]  # compare any numbers of tokens
DIRECTIONS = ("max", "max-backward", "max-mean")
INDEXES = ("exact", "faiss")


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def naive(name, s, t):
    s, t = ([[float(x / np.sqrt((row * row).sum())) for x in row] for row in matrix] for matrix in (s, t))
    d, m = len(s[0]), len(s)
    mean = [[sum(row[j] for row in matrix) / len(matrix) for j in range(d)] for matrix in (s, t)]
    forward = sum(max(sum(x * y for x, y in zip(a, b, strict=True)) for b in t) for a in s) / len(s)
    backward = sum(max(sum(x * y for x, y in zip(a, b, strict=True)) for a in s) for b in t) / len(t)
    return {
        "feature": lambda: cosine(*mean),
        "flatten": lambda: cosine(sum(s, []), sum(t, [])),  # noqa: RUF017
        "unigram": lambda: cosine([sum(a) / d for a in s], [sum(b) / d for b in t]),
        "bigram": lambda: sum(cosine(s[i] + s[i + 1], t[i] + t[i + 1]) for i in range(m - 1)) / (m - 1),
        "max": lambda: forward,
        "max-backward": lambda: backward,
        "max-mean": lambda: (forward + backward) / 2,
    }[name]()


def scores(s, t, names=TOKEN_SIMILARITIES):
    """The score of two lists of tokens by every similarity, by name."""
    return {name: TOKEN_SIMILARITIES[name](s, t) for name in names}


def test_each_is_its_naive_loop():
    assert scores(S, T) == pytest.approx({name: naive(name, S, T) for name in TOKEN_SIMILARITIES}, abs=1e-12)
    for s, t in ((SHORT, T), (T, SHORT)):
        assert scores(s, t, ANY) == pytest.approx({name: naive(name, s, t) for name in ANY}, abs=1e-12)


def test_by_hand_of_unequal_numbers():
    s, t = np.array([[5.0, 0], [0, 2]]), np.array([[1.0, 0], [0, 1], [0, 9]])
    wanted = {"feature": 3 / np.sqrt(2 * 5), "max": 1.0, "max-backward": 1.0}  # means along (1, 1) and (1, 2)
    assert scores(s, t, wanted) == pytest.approx(wanted)


def test_by_hand_of_equal_numbers():
    """Unit tokens s: (0, 1), (0.6, 0.8), (0, 1); t: (1, 0), (0, 1), (0, 1)."""
    s, t = np.array([[0, 3.0], [3, 4], [0, 0.5]]), np.array([[7.0, 0], [0, 1], [0, 2]])
    wanted = {
        "feature": (0.6 * 1 + 2.8 * 2) / np.sqrt((0.6**2 + 2.8**2) * (1 + 4)),
        "flatten": (0 + 0.8 + 1) / 3,
        "unigram": (1 + 1.4 + 1) / np.sqrt((1 + 1.96 + 1) * 3),
        "bigram": (0.4 + 0.9) / 2,
        "max": (1 + 0.8 + 1) / 3,
        "max-backward": (1 + 0.6 + 1) / 3,
    }
    assert scores(s, t, wanted) == pytest.approx(wanted)


def test_directions_differ_where_one_side_has_what_the_other_lacks():
    s, t = np.eye(4)[:1], np.eye(4)[:3]  # the source's only token is in the target; two of the target's are nowhere
    assert max_forward(s, t) == 1.0
    assert max_backward(s, t) == pytest.approx(1 / 3)
    assert max_mean(s, t) == pytest.approx(2 / 3)


def test_the_order_of_tokens_matters_to_some_and_not_to_max():
    mixed = S[[3, 1, 6, 0, 2, 5, 4]]
    assert max_forward(S, mixed) == pytest.approx(1.0)
    assert max_backward(S, mixed) == pytest.approx(1.0)
    assert TOKEN_SIMILARITIES["feature"](S, mixed) == pytest.approx(1.0)
    assert all(TOKEN_SIMILARITIES[name](S, mixed) < 0.99 for name in EQUAL)


def test_overlapping_bigrams_differ_from_flatten_and_pairs_apart_would_not():
    six, other = S[:6], T[:6]
    apart = np.mean([naive("flatten", six[i : i + 2], other[i : i + 2]) for i in (0, 2, 4)])
    flat = TOKEN_SIMILARITIES["flatten"](six, other)
    assert apart == pytest.approx(flat)
    assert abs(TOKEN_SIMILARITIES["bigram"](six, other) - flat) > 1e-3


def test_all_but_max_one_way_are_symmetric():
    both_ways = [name for name in TOKEN_SIMILARITIES if name not in ("max", "max-backward")]
    assert scores(S, T, both_ways) == pytest.approx(scores(T, S, both_ways), abs=1e-15)


def test_lengths_of_tokens_do_not_matter():
    scaled = S * np.geomspace(1e-20, 1e20, 7)[:, None]
    assert scores(scaled, T) == pytest.approx(scores(S, T))
    assert scores(S, S) == pytest.approx(dict.fromkeys(TOKEN_SIMILARITIES, 1.0))


def test_a_zero_token_stays_zero_and_nothing_is_near_nothing():
    zero = dict.fromkeys(TOKEN_SIMILARITIES, 0.0)
    assert scores(np.zeros((7, 16)), T) == zero
    assert scores(S, np.zeros((7, 16))) == zero
    one_zero = scores(S * (np.arange(7) != 2)[:, None], T)
    assert [name for name, score in one_zero.items() if not np.isfinite(score)] == []


def test_a_zero_token_counts_as_a_token():
    s = np.array([[1.0, 0], [0, 0]])
    assert max_forward(s, s) == 0.5
    assert TOKEN_SIMILARITIES["bigram"](np.vstack([s, s]), np.vstack([s, s])) == pytest.approx(1.0)


numbers = st.floats(-10, 10, width=32)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(1, 4))
def test_all_lie_between_minus_one_and_one(data, m, d):
    s, t = (data.draw(arrays(np.float32, (m, d), elements=numbers)) for _ in "st")
    for similarity in TOKEN_SIMILARITIES.values():
        assert -1 - 1e-9 <= similarity(s, t) <= 1 + 1e-9
    assert max_forward(s, t) == pytest.approx(max_backward(t, s), abs=1e-12)
    for name in DIRECTIONS:
        assert max_many([s], t, direction=name)[0] == pytest.approx(TOKEN_SIMILARITIES[name](s, t), abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 8, 10, 8192])
@pytest.mark.parametrize("index", INDEXES)
def test_many_sources_get_what_each_gets_alone(index, chunk, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", chunk)
    for direction in DIRECTIONS:
        together = max_many(MANY, T, direction=direction, index=index)
        assert together.shape == (6,)
        assert together.dtype == np.float64
        assert together == pytest.approx([TOKEN_SIMILARITIES[direction](s, T) for s in MANY], abs=1e-6), direction


def test_the_source_code_direction_is_the_default():
    assert max_many(MANY, T).tolist() == max_many(MANY, T, direction="max", index="exact").tolist()
    assert max_many([], T).shape == (0,)


def test_zero_and_tiny_tokens_are_the_same_for_both_indexes():
    sources = [np.zeros((3, 16)), np.vstack([T[:2], np.zeros((1, 16))]), T * 1e-30]
    for index in INDEXES:
        assert max_many(sources, T, index=index) == pytest.approx([0, 2 / 3, 1], abs=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_indexes_agree_on_tokens_as_wide_as_real_ones(direction):
    sources = [draw.normal(size=(100, 768)) for _ in range(12)]
    target = draw.normal(size=(100, 768))
    exact, found = (max_many(sources, target, direction=direction, index=index) for index in INDEXES)
    assert np.abs(exact - found).max() < 1e-5


def test_a_thousand_prompts_take_less_than_5_seconds():
    source = draw.normal(size=(100, 768)).astype(np.float32)
    target = draw.normal(size=(100, 768)).astype(np.float32)
    begun = time.perf_counter()
    found = max_many([source] * 1000, target)
    assert time.perf_counter() - begun < 5
    assert found == pytest.approx(np.full(1000, max_forward(source, target)), abs=1e-6)


def test_no_more_than_a_chunk_is_multiplied_at_once(monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 10)
    sizes = [[len(s) for s in chunk] for chunk in tokens._chunks([*MANY, np.ones((30, 16)), MANY[0]], 16)]
    assert sizes == [[3, 7], [1], [12], [5, 5], [30], [3]]


def test_unequal_numbers_of_tokens_are_refused_where_positions_count():
    for name in EQUAL:
        said = (
            f"{name} compares tokens position by position: 4 source tokens, 7 target tokens; .* choose feature or max"
        )
        assert not_refused({name: partial(TOKEN_SIMILARITIES[name], SHORT, T)}, said) == {}


BAD = [
    (S[:, :9], T, "source tokens of 9 numbers, target tokens of 16: both must come from one base model"),
    (S[0], T, r"tokens of shape \[16\]: give \[tokens, numbers\]"),
    (S, T[:0], r"tokens of shape \[0, 16\]: give \[tokens, numbers\]"),
    (np.where(np.arange(7)[:, None] == 3, np.nan, S), T, "16 numbers of the tokens are NaN or infinite, the first in token 3"),
    (S, np.where(np.arange(16) == 3, np.inf, T), "7 numbers of the tokens are NaN or infinite, the first in token 0"),
]  # fmt: skip


@pytest.mark.parametrize(("s", "t", "said"), BAD)
def test_what_are_no_tokens_is_refused(s, t, said):
    calls = {name: partial(similarity, s, t) for name, similarity in TOKEN_SIMILARITIES.items()}
    assert not_refused({**calls, "of many": lambda: max_many([S, s], t)}, said) == {}


def test_bigram_needs_a_pair():
    with pytest.raises(UserError, match="give at least 2 tokens"):
        TOKEN_SIMILARITIES["bigram"](S[:1], T[:1])


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="no direction 'max-forward'; did you mean 'max"):
        max_many(MANY, T, direction="max-forward")
    with pytest.raises(UserError, match="no index 'fais'; did you mean 'faiss'"):
        max_many(MANY, T, index="fais")


def test_without_faiss_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r'pip install "scalearn\[select\]", or choose index="exact"'):
        max_many(MANY, T, index="faiss")
    assert len(max_many(MANY, T)) == 6


def test_a_pool_is_scored_as_its_pairs_are():
    sources = [np.random.default_rng(seed).normal(size=T.shape) for seed in range(3)]
    for name, similarity in TOKEN_SIMILARITIES.items():
        pairs = [similarity(source, T) for source in sources]
        assert token_scores(sources, T, by=name) == pytest.approx(pairs, abs=1e-5), name
