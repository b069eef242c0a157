"""Task embeddings: one embedder per file; `embedders` has a row for each, and imports from `adapters` down."""
