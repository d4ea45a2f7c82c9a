"""The blocks that models share."""
