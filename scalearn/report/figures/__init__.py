"""The figures of a comparison, one kind per file; `gallery` draws them all."""
