"""Runs: train an experiment, evaluate it, and write a self-contained folder."""
