"""A run's folder: its files, its record, its weights and its lock."""
