"""Tests of the metrics of written texts: SQuAD's published cases, ROUGE-L as its library gives it, and empty texts."""

import random

import numpy as np
import pytest
from refusals import refused_line
from rouge_score.rouge_scorer import RougeScorer

from tasksel.tasks import text_metrics
from tasksel.tasks.metrics import METRICS, score
from tasksel.tasks.text_metrics import TEXT_METRICS, exact_match, rouge_l, token_f1

WORDS = ["a", "the", "cat", "sat", "on", "it's", "mat", "3.5", "U.S.", "snake_case", "x-y", "END.", "well,", "an"]


def test_exact_match_and_f1_ignore_case_punctuation_articles_and_spaces():
    assert exact_match("The  Eiffel Tower!", "eiffel tower") == 1.0
    assert exact_match("Eiffel Towers", "Eiffel Tower") == 0.0
    assert token_f1("the cat sat", "a cat sat down") == pytest.approx(2 * 2 / (2 + 3))
    assert token_f1("yes yes", "yes") == pytest.approx(2 / 3)  # a token counts as often as both have it


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_an_empty_text_scores_nothing_against_a_target_and_the_target_itself_all(metric):
    assert [TEXT_METRICS[metric](text, "river Nile") for text in ("", "...", "River nile.")] == [0.0, 0.0, 1.0]


def test_rouge_l_is_the_librarys_own_for_english_and_reads_other_scripts_too():
    draw, library = random.Random(0), RougeScorer(["rougeL"])
    for _ in range(100):
        written, target = (" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(2))
        assert rouge_l(written, target) == library.score(target, written)["rougeL"].fmeasure
    assert rouge_l("Привет мир", "привет, Мир!") == 1.0


def test_a_score_is_the_mean_over_rows():
    written, targets = np.array(["yes", "no", "no"], dtype=object), np.array(["yes", "yes", "no"], dtype=object)
    assert score("exact_match", written, targets) == pytest.approx(2 / 3)
    assert set(TEXT_METRICS) < set(METRICS)


def test_rouge_l_without_its_library_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    text_metrics._scorer.cache_clear()
    assert "pip install 'scalearn[generation]'" in refused_line(text_metrics.check_metric, "rouge_l")
    text_metrics.check_metric("token_f1")
