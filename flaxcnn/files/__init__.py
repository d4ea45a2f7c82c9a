"""Files: durable writes, and reads that treat every file as untrusted.

`flaxcnn.files.npz`, which imports NumPy, reads archives of arrays.
"""

from flaxcnn.files.deleting import refuse_links, remove
from flaxcnn.files.paths import require_path, user_path
from flaxcnn.files.reading import (
    checked,
    lies_in,
    open_regular,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
)
from flaxcnn.files.writing import cannot_write, open_own, sync, sync_open, sync_tree

__all__ = [
    "cannot_write",
    "checked",
    "lies_in",
    "open_own",
    "open_regular",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_text",
    "refuse_links",
    "remove",
    "require_path",
    "sync",
    "sync_open",
    "sync_tree",
    "user_path",
]
