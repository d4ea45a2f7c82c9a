"""Sources of images: one module per format. `by_name` finds the source for a name."""
