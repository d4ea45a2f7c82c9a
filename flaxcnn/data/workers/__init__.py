"""Processes that read or decode images into shared memory."""
