"""Runs: training, evaluation and reports, from an experiment to a folder that explains itself."""
