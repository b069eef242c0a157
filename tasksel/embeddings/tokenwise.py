"""What embeddings made of tokens share: they are compared token by token, a pair or a pool at a time."""

from __future__ import annotations

from collections.abc import Sequence

from tasksel.embeddings.base import TaskEmbedding, must_match
from tasksel.embeddings.token_similarity import TOKEN_SIMILARITIES, Index, token_scores


class Tokenwise:
    """The comparing half of an embedder whose embeddings hold an array `tokens` [m, d]."""

    similarity_by: str
    index: Index

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The chosen similarity of source `a` and target `b`.

        Raises:
            UserError: embeddings of different bases or settings; unequal numbers of tokens where the similarity goes by position.
        """
        must_match(a, b)
        return TOKEN_SIMILARITIES[self.similarity_by](a.arrays["tokens"], b.arrays["tokens"])

    def similarities(self, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
        """The similarity of each source to the target, a pool at a time.

        Raises:
            UserError: as `similarity`.
        """
        for source in sources:
            must_match(source, target)
        tokens = [source.arrays["tokens"] for source in sources]
        return token_scores(tokens, target.arrays["tokens"], by=self.similarity_by, index=self.index)
