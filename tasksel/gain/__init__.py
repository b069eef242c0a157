"""Which transfers gain? Pair features, a predictor of the gain, time saved against score lost; imports from `evaluation` down."""
