"""The base class of embedders whose embeddings are token matrices, compared token by token, one pair or a whole pool at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tasksel.embeddings.base import Embedder, TaskEmbedding, must_match
from tasksel.embeddings.token_similarity import TOKEN_SIMILARITIES, Index, check_token_settings, token_scores


class TokenEmbedder(Embedder):
    """An embedder whose embeddings hold an array `tokens` [m, d]; it leaves `arrays` to write.

    Attributes:
        similarity_by: how two sets of tokens are compared, a name of `tasksel.embeddings.token_similarity.TOKEN_SIMILARITIES`.
        index: what computes MAX over a pool, one product ("exact") or "faiss"; both are exact.
    """

    similarity_settings: ClassVar[tuple[str, ...]] = ("similarity_by", "index")
    similarity_by: str
    index: Index

    def __post_init__(self) -> None:
        """Refuses an unknown similarity or index, with the nearest name."""
        super().__post_init__()
        check_token_settings(self.similarity_by, self.index)

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
