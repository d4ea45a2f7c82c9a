"""Loading of batches: the order of examples, the loader and its worker processes."""
