"""Metrics of texts that a model wrote, in 0 to 1, each a mean over rows.

    exact match   1 if both are the same text, normalised                                              else 0
    token F1      2 P R / (P + R)     P, R shares of the tokens in common, counted with repetitions     SQuAD's (Rajpurkar et al. 2016)
    ROUGE-L       2 P R / (P + R)     P, R shares of the longest common subsequence of tokens           Lin 2004, as `rouge-score` computes it

Normalised as SQuAD's script does: small letters, no punctuation, no "a", "an", "the", single spaces. ROUGE-L's tokens are runs of letters and digits in
small letters, of any script; for English they are those of `rouge-score`, which drops all other letters [ours].
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tasksel.errors import UserError

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")
WORDS = re.compile(r"[^\W_]+")


def normalised(text: str) -> str:
    """A text as SQuAD's script compares it.

    >>> normalised("  The cat, a  DOG! ")
    'cat dog'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(written: str, target: str) -> float:
    """Whether two texts are the same, normalised.

    >>> exact_match("The Nile.", "nile"), exact_match("", "nile")
    (1.0, 0.0)
    """
    return float(normalised(written) == normalised(target))


def token_f1(written: str, target: str) -> float:
    """The F1 of a text's tokens; where one of the two has none after normalisation, whether neither has.

    >>> round(token_f1("the blue Nile", "Nile river"), 3)
    0.5
    """
    first, second = normalised(written).split(), normalised(target).split()
    if not first or not second:
        return float(first == second)
    common = sum((Counter(first) & Counter(second)).values())
    return 2 * common / (len(first) + len(second))


def rouge_l(written: str, target: str) -> float:
    """The F-measure of ROUGE-L.

    Raises:
        UserError: `rouge-score` is not installed.
    """
    value: float = _scorer().score(target, written)["rougeL"].fmeasure
    return value


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise UserError("metric 'rouge_l' needs rouge-score: pip install 'scalearn[generation]'") from error
    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """The tokens of ROUGE-L, in the form that `rouge-score` takes."""

    def tokenize(self, text: str) -> list[str]:
        """Runs of letters and digits, in small letters."""
        return WORDS.findall(text.lower())


TEXT_METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
}


def mean_over(metric: Callable[[str, str], float]) -> Callable[[Sequence[str], Sequence[str]], float]:
    """A metric of two texts as one of many: the mean over rows."""

    def of_rows(written: Sequence[str], targets: Sequence[str]) -> float:
        return sum(metric(str(a), str(b)) for a, b in zip(written, targets, strict=True)) / len(targets)

    return of_rows


def check_metric(metric: str) -> None:
    """Refuses a metric whose library is missing, before any work.

    Raises:
        UserError: how it is installed.
    """
    if metric == "rouge_l":
        _scorer()
