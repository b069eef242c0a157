"""Faults on purpose: kills, flipped bits, full disks, two writers and malformed inputs, each trial in a process of its own; `python -m benchmarks.faults`."""
