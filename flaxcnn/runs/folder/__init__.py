"""What a run's folder holds: its files, its record, its weights, its lock."""
