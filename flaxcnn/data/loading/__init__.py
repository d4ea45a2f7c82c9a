"""Loading of batches: the order of examples, and a loader that prefetches."""
