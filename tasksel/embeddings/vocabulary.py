"""Vocabulary overlap: how many of its most frequent words a task shares with another (Lin et al., ACL SRW 2024, arXiv 2407.16245).

    similarity = |A and B| / 1000       A, B the 1,000 most frequent words of each task that are no stop words      [code]

Words are scikit-learn's: lower case, two or more letters, digits or underscores; so are the stop words, which are English [ours: the tokens and the stop words].
Of equally frequent words the first in the alphabet counts [ours]. A task with fewer words is divided by 1,000 all the same [ours]: for one target that
ranks sources by the number of words they share with it, and no source gains by being small.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tasksel.bounds import Count
from tasksel.embeddings.base import Embedder, TaskEmbedding, TaskInput, must_match
from tasksel.tasks.examples import Split

WORD = re.compile(r"\b\w\w+\b")  # scikit-learn's token pattern, which its stop words go by


@dataclass(frozen=True)
class Vocabulary(Embedder):
    """Embeds a task as the words that its training texts use most.

    Use it as the cheapest baseline that reads the texts: no model, no seed.

    Attributes:
        words: how many of the most frequent words.
    """

    name: ClassVar[str] = "vocabulary"
    words: Count = 1000

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Array `words`: the words, most frequent first, joined by line ends, as UTF-8 bytes. Nothing in it is random."""
        words = frequent_words(texts_of(task_input.data.train), self.words)
        return {"words": np.frombuffer("\n".join(words).encode(), dtype=np.uint8).copy()}

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The number of words in common / `words`: 0 to 1, symmetric.

        Raises:
            UserError: embeddings of different bases or settings.
        """
        must_match(a, b)
        return len(words_of(a) & words_of(b)) / self.words


def words_of(embedding: TaskEmbedding) -> set[str]:
    """The words that an embedding holds."""
    return set(embedding.arrays["words"].tobytes().decode().split())


def texts_of(split: Split) -> list[str]:
    """Every text of every row, and every choice.

    >>> texts_of(Split([("a b", "c")], [("d", "e")], np.zeros(1)))
    ['a b', 'c', 'd', 'e']
    """
    return [text for row in (*split.texts, *(split.choices or ())) for text in row]


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The `count` most frequent words but the stop words, most frequent first.

    >>> frequent_words(["The plot drags.", "A plot, a plan, the plot!", "Plan B drags"], 2)
    ['plot', 'drags']
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # a second to import, so only here

    counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
    kept = [word for word in counts if word not in ENGLISH_STOP_WORDS]
    return sorted(kept, key=lambda word: (-counts[word], word))[:count]
