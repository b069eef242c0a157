"""Rank sources for a target: selectors, baselines, transferability measures; imports from `embeddings` down."""
