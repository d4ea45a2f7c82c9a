"""Runs in several processes: join, agree, and end together within a minute if one is lost.

    join(options)
    with guarded():
        ...
    leave()

In a single process, without a join, each function works for one process: `share` returns its value, `together` does
the work. Meshes and arrays belong to training; this package computes nothing.
"""

from flaxcnn.processes.agreement import barrier, gather, in_each, leave, share, together
from flaxcnn.processes.joining import count, guarded, index, is_first, join
from flaxcnn.processes.options import Processes

__all__ = [
    "Processes",
    "barrier",
    "count",
    "gather",
    "guarded",
    "in_each",
    "index",
    "is_first",
    "join",
    "leave",
    "share",
    "together",
]
