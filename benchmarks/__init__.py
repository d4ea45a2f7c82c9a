"""Timings of this library beside its peers and the machine's limit."""
