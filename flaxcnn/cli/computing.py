"""Setup and teardown of every command that runs JAX."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flaxcnn.processes import Processes


@contextmanager
def computing(options: Processes | None = None) -> Iterator[None]:
    """Set up JAX for a command: its settings, the compilation cache, and the processes that train together.

    JAX settings in the user's environment do not affect results, except those that a run records.

    Raises:
        ConfigError: JAX or XLA cannot read an environment setting, or finds no device; or the environment asks for
            kernels that there are not.
    """
    from flaxcnn import jax_settings, processes

    jax_settings.import_jax()
    jax_settings.require_xla_flags()
    from flaxcnn.kernels import library

    library.require()
    unheeded = jax_settings.pin_settings()
    from flaxcnn.compilation_cache import use_compilation_cache

    use_compilation_cache()
    processes.join(Processes() if options is None else options)
    with processes.guarded():
        jax_settings.require_devices()
        if unheeded and processes.is_first():
            names = " and ".join(name.upper() for name in unheeded)
            print(f"flaxcnn: warning: ignored: {names}; results depend on the config alone", file=sys.stderr)
        yield
    processes.leave()
