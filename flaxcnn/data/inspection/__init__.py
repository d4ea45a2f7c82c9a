"""Inspection of a data set: counts, pictures and duplicate images."""
