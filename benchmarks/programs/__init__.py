"""The programs that are timed: each trains the paper's CNN by one library, and imports nothing of the others.

A program runs in a process of its own, with a Python of its own where it needs one, and answers `benchmarks.epoch`
through `benchmarks.worker`.
"""
