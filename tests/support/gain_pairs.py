"""Synthetic pairs for tests of predicted gains: one by its numbers, or a world whose gains are known."""

import numpy as np

from tasksel.gain.tradeoff import Pair, TrainingCost


def pair(target, source, score, dev, seconds, *, before=(0.5, 0.5, 10.0), features=None):
    return Pair(
        target,
        source,
        features or {},
        score - before[0],
        TrainingCost(score, dev, seconds),
        TrainingCost(*before),
        "accuracy",
    )


def world(targets=6, sources=6, *, seed=0, informative=True, noise=0.005):
    """Pairs whose gain is 0.2 * (kinship - 0.5); the features tell the kinship, or are drawn anew."""
    random, pairs = np.random.default_rng(seed), []
    for t in range(targets):
        base = TrainingCost(0.6, 0.6, 20.0)
        for s in range(sources):
            kinship = random.random()
            gain = 0.2 * (kinship - 0.5) + noise * random.normal()
            seen = kinship if informative else random.random()
            features = {f"cosine/{layer}": seen + 0.05 * random.normal() for layer in range(3)}
            after = TrainingCost(0.6 + gain, 0.6 + gain, float(random.integers(10, 30)))
            pairs.append(Pair(f"t{t}", f"s{s}", features, gain, after, base, "accuracy"))
    return pairs
