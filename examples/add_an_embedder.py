"""A selector of your own that embeds tasks: how long are their words?

python examples/add_an_embedder.py
"""

from dataclasses import dataclass

import numpy as np
import tyro

import tasksel as ts
from tasksel.embeddings.base import Embedder, must_match


@dataclass(frozen=True)
class WordLengths(Embedder):
    """Embeds a task as the shares of its words that have 1, 2, … letters."""

    name = "word-lengths"
    longest: int = 20  # a setting: part of the key that names stored embeddings

    def arrays(self, task_input):
        words = " ".join(text for texts in task_input.data.train.texts for text in texts).split()
        counts = np.bincount([min(len(word), self.longest) for word in words], minlength=self.longest + 1)
        return {"shares": counts / counts.sum()}

    def similarity(self, a, b):  # a the source's, b the target's
        must_match(a, b)
        return 1 - float(np.abs(a.arrays["shares"] - b.arrays["shares"]).sum()) / 2


def main(base: str = "minilm", rows: int = 100):
    """Ranks the built-in tasks for one of them."""
    print(ts.rank(ts.get_task("sentiment_films"), ts.find_tasks(), by=WordLengths(), base=base, rows=rows))


if __name__ == "__main__":
    tyro.cli(main)
