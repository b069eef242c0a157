"""Benchmarks of steps, memory, index searches and task identification, one command per file: `python -m benchmarks.step`; imports both packages."""
