"""Commands that use runs: several seeds, the range test of learning rates, the largest batch."""
