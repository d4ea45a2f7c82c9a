"""What surrounds every command that computes."""

from collections.abc import Iterator
from contextlib import contextmanager

from flaxcnn.processes import Processes


@contextmanager
def computing(options: Processes | None = None) -> Iterator[None]:
    """While entered, this process is one of those that compute together, and keeps what it compiles for later ones."""
    from flaxcnn import processes
    from flaxcnn.compilation_cache import use_compilation_cache

    use_compilation_cache()
    processes.join(Processes() if options is None else options)
    with processes.guarded():
        yield
    processes.leave()
