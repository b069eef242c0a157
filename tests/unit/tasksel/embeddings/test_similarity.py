"""Tests of similarity: bits that differ, counted by hand and by numpy, in four groupings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksel.embeddings.similarity import cosine, hamming, pattern_similarity
from tasksel.errors import UserError

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


@pytest.mark.parametrize(
    ("a", "b", "bits"),
    [
        (np.zeros(1, np.uint8), np.zeros(2, np.uint8), 8),
        (np.zeros(1, np.uint8), np.zeros(2, np.uint8), 16),  # numpy would take the one byte for both
        (np.zeros(2, np.uint8), np.zeros(2, np.uint8), 8),
        (np.zeros(2, np.uint8), np.zeros(2, np.uint8), 17),
        (np.zeros(2, np.int64), np.zeros(2, np.uint8), 16),
        (np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint8), 16),
        (np.zeros(0, np.uint8), np.zeros(0, np.uint8), 0),
    ],
)
def test_hamming_refuses_vectors_that_do_not_hold_its_bits(a, b, bits):
    with pytest.raises(UserError, match=f"{bits} bits need uint8"):
        hamming(a, b, bits)
    with pytest.raises(UserError, match=f"{bits} bits need uint8"):
        pattern_similarity({"heads": a}, {"heads": b}, {"heads": bits})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_cosine_with_what_is_no_number_is_none(value):
    broken = np.array([1.0, value])
    for a, b in (
        (broken, np.ones(2)),
        (np.ones(2), broken),
        (broken, broken),
        (broken, np.zeros(2)),
        (np.zeros(2), broken),
    ):
        assert np.isnan(cosine(a, b))


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_a_cosine_does_not_depend_on_the_scale_even_where_squares_leave_the_range(scale):
    a, b = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    assert cosine(scale * a, b) == pytest.approx(0.96)
    assert cosine(scale * a, scale * b) == pytest.approx(0.96)


def test_a_cosine_of_unequal_shapes_is_refused():
    for a, b in ((np.ones(2), np.ones(3)), (np.ones((2, 3)), np.ones((3, 2)))):
        with pytest.raises(UserError, match="needs two of one shape"):
            cosine(a, b)


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
