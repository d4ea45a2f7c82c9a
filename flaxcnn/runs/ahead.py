"""Imports that a run needs at its first checkpoint and at its end, made while its first steps are computed.

The devices compute without Python, so these imports cost a run no time of its own: three quarters of a second.
"""

import threading
from contextlib import suppress
from importlib import import_module

from flaxcnn.pictures import import_matplotlib
from flaxcnn.training.checkpoints import import_orbax


def import_ahead(*, pictures: bool) -> None:
    """Start to import, in a thread, what saves and checks a checkpoint, and then what the end of a run needs.

    What cannot be imported is told where it is used. A process that ends meanwhile waits for the import at hand, and
    skips the others: Python ends a daemon's thread by unwinding its stack, which aborts the process where the frames
    are of a C++ extension.

    Args:
        pictures: whether this process draws pictures.
    """

    def import_all() -> None:
        for each in (
            import_orbax,
            lambda: import_module("pyarrow"),  # opens a checkpoint's index
            lambda: import_module("scipy.special"),  # for an accuracy's interval
            *([import_matplotlib] if pictures else []),
        ):
            if not threading.main_thread().is_alive():  # the process ends
                return
            with suppress(Exception):
                each()

    threading.Thread(target=import_all, daemon=False).start()
