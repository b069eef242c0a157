"""Similarity of two matrices of tokens: soft-prompt tokens, or units of adapter projections (Lin et al., ACL SRW 2024, arXiv 2407.16245).

    s_i, t_j        tokens of source [m, d] and target [n, d], each scaled to unit norm first; a zero token stays zero
    feature         cos(mean_i s_i, mean_j t_j)
    flatten         cos of all numbers in one row                               m = n
    unigram         cos of the vectors of each token's mean feature             m = n
    bigram          mean_i cos([s_i, s_i+1], [t_i, t_i+1])                      m = n, at least 2
    max             mean_i max_j <s_i, t_j>     each source token's best target token: the authors' code
    max-backward    mean_j max_i <s_i, t_j>     each target token's best source token: the caption of their figure
    max-mean        the mean of the two [ours]

The cosine with a zero vector is 0. All are in -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from tasksel.embeddings.similarity import cosine
from tasksel.errors import UserError, unknown

Direction = Literal["max", "max-backward", "max-mean"]
Index = Literal["exact", "faiss"]

CHUNK = 8192  # source tokens multiplied at once: 25 MB of float32 at 768 numbers per token


def feature(source: np.ndarray, target: np.ndarray) -> float:
    """The cosine of the mean unit tokens [code].

    >>> feature(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [3.0, 0.0]]))
    1.0
    """
    s, t = _pair(source, target)
    return cosine(s.mean(0), t.mean(0))


def flatten(source: np.ndarray, target: np.ndarray) -> float:
    """The cosine of the flattened unit tokens [code]; with no zero token, the mean of <s_i, t_i>."""
    s, t = _pair(source, target, equal="flatten")
    return cosine(s.ravel(), t.ravel())


def unigram(source: np.ndarray, target: np.ndarray) -> float:
    """The cosine of the [m] vectors of each unit token's mean feature [code]."""
    s, t = _pair(source, target, equal="unigram")
    return cosine(s.mean(1), t.mean(1))


def bigram(source: np.ndarray, target: np.ndarray) -> float:
    """The mean over positions of the cosine of two neighbouring unit tokens, concatenated [2 d].

    Differs from the authors' code, whose pairs do not overlap: those, of unit tokens, give exactly what `flatten` gives. All m - 1 overlapping pairs
    do not: the tokens at both ends count half.

    Raises:
        UserError: one token only; else as the others.
    """
    s, t = _pair(source, target, equal="bigram")
    if len(s) < 2:
        raise UserError("bigram compares pairs of neighbouring tokens: give at least 2 tokens")
    pairs = (np.hstack([x[:-1], x[1:]]) for x in (s, t))
    return float(np.mean([cosine(a, b) for a, b in zip(*pairs, strict=True)]))


def max_forward(source: np.ndarray, target: np.ndarray) -> float:
    """mean_i max_j <s_i, t_j>: the similarity of each source token to its best target token, averaged [code]."""
    s, t = _pair(source, target)
    return float((s @ t.T).max(1).mean())


def max_backward(source: np.ndarray, target: np.ndarray) -> float:
    """mean_j max_i <s_i, t_j>: the similarity of each target token to its best source token, averaged [paper, the figure's caption]."""
    s, t = _pair(source, target)
    return float((s @ t.T).max(0).mean())


def max_mean(source: np.ndarray, target: np.ndarray) -> float:
    """The mean of `max_forward` and `max_backward`: symmetric [ours]."""
    return (max_forward(source, target) + max_backward(source, target)) / 2


TOKEN_SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "feature": feature,
    "flatten": flatten,
    "unigram": unigram,
    "bigram": bigram,
    "max": max_forward,
    "max-backward": max_backward,
    "max-mean": max_mean,
}


def max_many(
    sources: Sequence[np.ndarray], target: np.ndarray, *, direction: Direction = "max", index: Index = "exact"
) -> np.ndarray:
    """MAX of one target against many sources, in float32: [sources].

    Args:
        sources: each [m, d], of any m. target: [n, d].
        index: "exact" multiplies whole sources, some thousand tokens at a time. "faiss" looks the tokens up in faiss' exact inner-product
            index: one of the target's tokens for "max"; for "max-backward", which needs the best token of EACH source, one index per source, which
            saves nothing over the product. Both agree to rounding.

    Raises:
        UserError: an unknown direction or index, tokens that are not numbers [m, d], another d, faiss not installed.

    >>> max_many([np.eye(2), -np.eye(2)], np.eye(2)).tolist()
    [1.0, 0.0]
    """
    if direction not in get_args(Direction):
        raise unknown("direction", direction, get_args(Direction))
    search = {"exact": _exact, "faiss": _faiss}
    if index not in search:
        raise unknown("index", index, search)
    t = _unit(target).astype(np.float32)
    return np.concatenate(
        [np.empty(0), *(search[index](chunk, t, direction) for chunk in _chunks(sources, t.shape[1]))]
    )


def token_scores(sources: Sequence[np.ndarray], target: np.ndarray, *, by: str, index: Index = "exact") -> list[float]:
    """A similarity by name of each source [m, d] to a target [n, d]; MAX over all sources together (`max_many`).

    Raises:
        UserError: see `max_many` and the similarity.
    """
    if by in get_args(Direction):
        return [float(score) for score in max_many(sources, target, direction=cast(Direction, by), index=index)]
    return [float(TOKEN_SIMILARITIES[by](source, target)) for source in sources]


def check_token_settings(by: str, index: str) -> None:
    """Refuses a similarity or an index that is not known.

    Raises:
        UserError: with the nearest name.
    """
    if by not in TOKEN_SIMILARITIES:
        raise unknown("token similarity", by, TOKEN_SIMILARITIES)
    if index not in get_args(Index):
        raise unknown("index", index, get_args(Index))


def _chunks(sources: Sequence[np.ndarray], d: int) -> Iterator[list[np.ndarray]]:
    """Whole sources as float32 unit tokens, as many as CHUNK tokens hold, at least one."""
    chunk: list[np.ndarray] = []
    for source in sources:
        s = _unit(source).astype(np.float32)
        _same_width(s, d)
        if chunk and sum(map(len, chunk)) + len(s) > CHUNK:
            yield chunk
            chunk = []
        chunk.append(s)
    if chunk:
        yield chunk


def _exact(chunk: list[np.ndarray], target: np.ndarray, direction: Direction) -> np.ndarray:
    """MAX by one product [tokens of the chunk, n], reduced source by source."""
    lengths = np.array([len(s) for s in chunk])
    starts = np.cumsum(lengths) - lengths
    product = np.concatenate(chunk) @ target.T
    directions = []
    if direction != "max-backward":
        directions.append(np.add.reduceat(product.max(1).astype(np.float64), starts) / lengths)
    if direction != "max":
        directions.append(np.maximum.reduceat(product, starts, axis=0).mean(1, dtype=np.float64))
    return np.mean(directions, axis=0)


def _faiss(chunk: list[np.ndarray], target: np.ndarray, direction: Direction) -> np.ndarray:
    """MAX by faiss: the target's index searched by all source tokens, or each source's by the target's."""
    try:
        import faiss
    except ImportError as error:
        raise UserError('index="faiss" needs faiss: pip install "scalearn[select]", or choose index="exact"') from error

    def best(tokens: np.ndarray, queries: np.ndarray) -> np.ndarray:
        flat: Any = faiss.IndexFlatIP(tokens.shape[1])
        flat.add(tokens)
        return flat.search(queries, 1)[0][:, 0].astype(np.float64)

    directions = []
    if direction != "max-backward":
        forward = np.split(best(target, np.concatenate(chunk)), np.cumsum([len(s) for s in chunk])[:-1])
        directions.append([best_of_source.mean() for best_of_source in forward])
    if direction != "max":
        directions.append([best(s, target).mean() for s in chunk])
    return np.mean(directions, axis=0)


def _pair(source: np.ndarray, target: np.ndarray, *, equal: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Unit tokens of both, of one d, and of one number where the named formula needs it."""
    s, t = _unit(source), _unit(target)
    _same_width(s, t.shape[1])
    if equal and len(s) != len(t):
        raise UserError(
            f"{equal} compares tokens position by position: {len(s)} source tokens, {len(t)} target tokens; of unequal numbers choose feature or max"
        )
    return s, t


def _same_width(s: np.ndarray, d: int) -> None:
    if s.shape[1] != d:
        raise UserError(
            f"source tokens of {s.shape[1]} numbers, target tokens of {d}: both must come from one base model"
        )


def _unit(tokens: np.ndarray) -> np.ndarray:
    """Each row scaled to norm 1, zero rows as they are: float64 [m, d]."""
    tokens = np.asarray(tokens, dtype=np.float64)
    if tokens.ndim != 2 or not tokens.size:
        raise UserError(f"tokens of shape {list(tokens.shape)}: give [tokens, numbers], at least one of each")
    if not np.isfinite(tokens).all():
        row = int((~np.isfinite(tokens)).any(1).argmax())
        raise UserError(
            f"{(~np.isfinite(tokens)).sum()} numbers of the tokens are NaN or infinite, the first in token {row}"
        )
    length = np.linalg.norm(tokens, axis=1, keepdims=True)
    return tokens / np.where(length > 0, length, 1.0)
