"""Tests of similarity: bits that differ, counted by hand and by numpy, in four groupings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksel.embeddings.similarity import cosine, hamming, pattern_similarity

HEADS = np.array([1, 0, 1, 1]), np.array([1, 1, 1, 1])  # 1 of 4 differs
NEURONS = np.array([1, 0] * 6), np.array([1, 0] * 3 + [0, 1] * 3)  # 6 of 12 differ
BITS = {"heads": 4, "neurons": 12}
A, B = ({"heads": np.packbits(HEADS[i]), "neurons": np.packbits(NEURONS[i])} for i in (0, 1))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_hamming_is_the_share_of_equal_bits(pairs):
    a, b = np.array(pairs).T
    assert hamming(np.packbits(a), np.packbits(b), len(pairs)) == pytest.approx(np.mean(a == b))
    assert hamming(np.packbits(b), np.packbits(a), len(pairs)) == hamming(np.packbits(a), np.packbits(b), len(pairs))


@pytest.mark.parametrize(
    ("grouping", "wanted"),
    [("all", 1 - 7 / 16), ("heads", 0.75), ("neurons", 0.5), ("balanced", 1 - (1 / 4 + 6 / 12) / 2)],
)
def test_groupings_by_hand(grouping, wanted):
    assert pattern_similarity(A, B, BITS, grouping) == pytest.approx(wanted)
    assert pattern_similarity(A, A, BITS, grouping) == 1.0


def test_all_bits_are_the_default():
    assert pattern_similarity(A, B, BITS) == pattern_similarity(A, B, BITS, "all")


def test_opposites_have_nothing_in_common():
    bits = np.array([1, 0, 1, 1, 0])
    assert hamming(np.packbits(bits), np.packbits(1 - bits), 5) == 0.0


class TestCosine:
    def test_by_hand_and_of_any_shape(self):
        assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
        assert cosine(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])) == pytest.approx(0.5)

    def test_is_symmetric_and_blind_to_length(self):
        a, b = np.random.default_rng(0).normal(size=(2, 30))
        assert cosine(a, b) == cosine(b, a) == pytest.approx(cosine(5 * a, b))

    def test_with_a_zero_vector_is_0(self):
        assert cosine(np.zeros(3), np.ones(3)) == 0.0

    def test_of_small_numbers_in_half_precision_is_not_lost(self):
        a = np.full(4, 1e-4, dtype=np.float16)
        assert cosine(a, a) == pytest.approx(1.0)
