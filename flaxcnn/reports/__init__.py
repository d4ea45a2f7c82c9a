"""Reports of runs: one page with what was trained, how good it is, where it is wrong, and how to reproduce it."""
