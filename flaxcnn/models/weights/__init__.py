"""Weights from elsewhere: read from files as data, never as code, and converted by what a family declares."""
