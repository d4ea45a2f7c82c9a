"""What surrounds every command that computes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flaxcnn.processes import Processes


@contextmanager
def computing(options: Processes | None = None) -> Iterator[None]:
    """While entered, this process is one of those that compute together, and keeps what it compiles for later ones.

    Its numbers follow from no setting of JAX's in the user's environment but those that a run records.

    Raises:
        ConfigError: JAX or XLA cannot read a setting of the environment, or finds no device.
    """
    from flaxcnn import jax_settings, processes

    jax_settings.import_jax()
    jax_settings.require_xla_flags()
    unheeded = jax_settings.pin_settings()
    from flaxcnn.compilation_cache import use_compilation_cache

    use_compilation_cache()
    processes.join(Processes() if options is None else options)
    with processes.guarded():
        jax_settings.require_devices()
        if unheeded and processes.is_first():
            names = " and ".join(name.upper() for name in unheeded)
            print(f"flaxcnn: warning: no effect here: {names}; numbers follow from the config alone", file=sys.stderr)
        yield
    processes.leave()
