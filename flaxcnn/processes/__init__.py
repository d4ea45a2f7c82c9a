"""A run in several processes: joining, agreeing, and ending together, within a minute, when one of them is lost.

    join(options)
    with guarded():
        ...
    leave()

In a single process, which is the case where nothing was joined, each of these does what its name says with one: `share`
returns its value, `together` does the work. Meshes and arrays are the business of training; here nothing computes.
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
