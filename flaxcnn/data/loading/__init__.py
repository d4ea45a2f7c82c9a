"""How batches reach the training: the order of examples, the loader, its worker processes."""
