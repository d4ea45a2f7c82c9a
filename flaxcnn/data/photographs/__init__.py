"""Photographs in files: listed, decoded to one size, and kept decoded in a cache on disk.

Listing      which files there are, with their targets, groups and splits (`sources` makes one)
scan         what each file holds: its digest, size, depth, orientation
decode_file  its pixels, uint8, fitted to one size
Cache        the pixels of all of them, decoded once
"""
