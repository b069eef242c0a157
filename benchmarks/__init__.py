"""What a training step, an inference pass and the memory cost, against the alternatives: `python -m benchmarks.step`."""
