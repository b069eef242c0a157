"""Tests of the picture of a judgement: the same bytes, what it names, what it refuses, circles apart, the frontier."""

import dataclasses
import sys
from itertools import combinations

import numpy as np
import pytest
from selector_scores import make_matrix, noisy, three_methods

from tasksel import UserError
from tasksel.evaluation.leaderboard import HEADLINE, evaluate_selectors
from tasksel.evaluation.leaderboard_figure import CIRCLE, _apart, _figure, _frontier, draw_leaderboard


@pytest.fixture(scope="module")
def judged():
    return evaluate_selectors(make_matrix(), three_methods())


class TestPicture:
    def test_an_svg_is_the_same_byte_for_byte(self, judged, tmp_path):
        draw_leaderboard(judged, tmp_path / "new" / "a.svg")
        draw_leaderboard(judged, tmp_path / "b.svg")
        text = (tmp_path / "b.svg").read_text()
        assert (tmp_path / "new" / "a.svg").read_text() == text
        assert "date" not in text
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.svg"]

    def test_a_png_is_a_png(self, judged, tmp_path):
        draw_leaderboard(judged, tmp_path / "a.png", convention="lin")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    def test_one_matrix_seed_is_drawn_without_a_ceiling(self, tmp_path):
        draw_leaderboard(evaluate_selectors(make_matrix(seeds=[0]), noisy("good", 0.02)), tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        assert ">good<" in text
        assert "one seed" not in text

    def test_every_method_and_both_lines_are_named(self, judged, tmp_path):
        draw_leaderboard(judged, tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        for name in ("good", "poor", "task kind", "random", "one seed's", "nDCG (taskweb), mean and 95 % interval"):
            assert f">{name}<" in text, name
        assert "below 1 ms at 1 ms" in text
        assert "mathdefault" not in text  # a power of ten whose markup nothing draws

    def test_what_cannot_be_drawn_is_refused(self, judged, tmp_path, monkeypatch):
        with pytest.raises(UserError, match=r"cannot draw 'a.jpg': the ending must be .svg or .png"):
            draw_leaderboard(judged, tmp_path / "a.jpg")
        with pytest.raises(UserError, match="no nDCG convention 'schult'; did you mean 'schulte'"):
            draw_leaderboard(judged, tmp_path / "a.svg", convention="schult")
        with pytest.raises(UserError, match="no selector was evaluated but the references"):
            draw_leaderboard(evaluate_selectors(make_matrix(), []), tmp_path / "a.svg")
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(UserError, match=r'pip install "scalearn\[plot\]"'):
            draw_leaderboard(judged, tmp_path / "a.svg")
        assert not list(tmp_path.iterdir())

    def test_circles_that_would_cover_each_other_stand_apart(self):
        points = np.random.default_rng(0).uniform(0, 60, (30, 2))
        moved = _apart(points, CIRCLE)
        for i, j in combinations(range(30), 2):
            assert np.hypot(moved[i] - moved[j], points[i, 1] - points[j, 1]) >= CIRCLE
            assert abs(moved[i] - moved[j]) >= CIRCLE / 4.01
        far = np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]])
        assert _apart(far, CIRCLE).tolist() == [0, 100, 200]

    def test_the_frontier_holds_what_no_cheaper_method_reaches(self):
        seconds, means = np.array([1, 1, 2, 3, 4]), np.array([0.6, 0.5, 0.6, 0.9, 0.7])
        assert _frontier(seconds, means).tolist() == [True, False, False, True, False]


def test_no_point_lies_outside_the_axes(judged):
    [method] = [row for row in judged.rows if row.by == "good"]
    crowd = tuple(dataclasses.replace(method, by=f"m{i}", seconds=30.0) for i in range(30))
    [axes] = _figure(dataclasses.replace(judged, rows=(*judged.rows, *crowd)), HEADLINE).axes
    left, right = axes.get_xlim()
    circles = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert len(circles) == 33
    assert left < min(circles) < max(circles) < right


def test_a_dot_marks_the_true_cost_of_each_circle(judged):
    [method] = [row for row in judged.rows if row.by == "good"]
    crowd = tuple(dataclasses.replace(method, by=f"m{i}", seconds=30.0) for i in range(10))
    [axes] = _figure(dataclasses.replace(judged, rows=(*judged.rows, *crowd)), HEADLINE).axes
    ties = [line for line in axes.lines if line.get_marker() == "."]
    assert [line.get_xdata()[0] for line in ties].count(30.0) == 10
    circles = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[1] for line in ties] == circles
