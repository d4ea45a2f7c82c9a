"""Commands built on runs: several seeds, the learning-rate range test, the largest batch size."""
