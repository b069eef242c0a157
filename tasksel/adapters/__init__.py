"""Adapters of the `adapters` library: how one is trained, and what its weights are."""
