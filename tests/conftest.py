"""Small real data, and the real command as a process."""

import gzip
import importlib.resources
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # a machine that other things hold up for a moment fails no test
settings.load_profile("tests")

CHECKOUT = Path(__file__).parents[1]
TRAIN_EXAMPLES, TEST_EXAMPLES = 1000, 300


# The files of tests that take longest, in order; of tests that run in several processes these begin.
LONGEST = (
    *("runs/test_faults.py", "test_docs_commands.py", "test_pinned.py", "runs/test_reproduce.py"),
    "training/test_practice.py",
    *("runs/test_practice.py", "runs/test_train.py", "test_compilation_cache.py", "layers/test_convolution.py"),
    *("training/test_step.py", "layers/test_augmentation.py", "sweeps/test_decisions.py", "runs/test_steps.py"),
)


def pytest_addoption(parser):
    parser.addoption("--part", type=part, default=(1, 1), metavar="K/N", help="every N-th file of tests, from the K-th")


def part(text):
    """The `(2, 3)` of "2/3"."""
    which, parts = (int(number) for number in text.split("/"))
    if not 1 <= which <= parts:
        raise ValueError(text)
    return which, parts


@pytest.hookimpl(trylast=True)  # after -m and -k, so that the parts are of what they choose
def pytest_collection_modifyitems(config, items):
    which, parts = config.option.part
    files = sorted({item.path for item in items})[which - 1 :: parts]
    config.hook.pytest_deselected(items=[item for item in items if item.path not in files])
    origins = {CHECKOUT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items[:] = sorted(
        (item for item in items if item.path in files), key=lambda item: origins.get(item.path, len(LONGEST))
    )


def mnist_file(name):
    return gzip.decompress(importlib.resources.files("flaxcnn").joinpath("data", "mnist", name).read_bytes())


def write_small_mnist(folder):
    """Write MNIST's first 1,000 training and 300 test images in MNIST's format, and return the folder."""
    for split, count in (("train", TRAIN_EXAMPLES), ("t10k", TEST_EXAMPLES)):
        images = mnist_file(f"{split}-images-idx3-ubyte.gz")[16 : 16 + count * 28 * 28]
        labels = mnist_file(f"{split}-labels-idx1-ubyte.gz")[8 : 8 + count]
        (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + images)
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)
    return folder


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A folder in MNIST's format with MNIST's first 1,000 training and 300 test images."""
    return write_small_mnist(tmp_path_factory.mktemp("small-mnist"))


@pytest.fixture(scope="session")
def small_split(small_mnist):
    """The small folder's training images, (1000, 28, 28, 1) uint8, and labels, (1000,) int32."""
    images = np.frombuffer((small_mnist / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((small_mnist / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images.reshape(-1, 28, 28, 1), labels.astype(np.int32)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The folder of a user's caches in the place of the real one, for this process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("user-cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def heard_signals():
    """Signals that a shell ignores in a job in the background, and with nohup, and so does all that the tests start."""
    defaults = {"SIGHUP": signal.SIG_DFL, "SIGQUIT": signal.SIG_DFL, "SIGINT": signal.default_int_handler}
    numbers = {getattr(signal, name): default for name, default in defaults.items() if hasattr(signal, name)}
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, numbers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def cache_settings():
    """JAX's settings of its cache as they are when the tests begin, by name."""
    import jax

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    return {name: getattr(jax.config, name) for name in names}


@pytest.fixture(autouse=True)
def no_kept_programs(cache_settings):
    """A command that a fixture calls in this process keeps compiled programs from then on; no test does."""
    import jax

    for name, value in cache_settings.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def light_programs():
    """Programs that XLA compiles in half the time, and that run slower: for tests of values that hold to rounding."""
    import jax

    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture(scope="session")
def command_environment(own_cache):
    """The environment of a command: the library of this checkout, one JAX device, a cache of the tests, no colours."""
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "NO_COLOR": "1"}
    environment = {**os.environ, **environment}
    # Matplotlib looks for the fonts the first time, and says so where that takes long.
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, capture_output=True)
    return environment


@pytest.fixture(scope="module")
def fork(command_environment):
    """What starts processes that train together, without importing JAX in each."""
    from tests.many_processes import Fork

    fork = Fork(command_environment)
    yield fork
    fork.close()


@pytest.fixture(scope="session")
def commands(command_environment):
    """What runs the real command in processes that are started fast: `commands.run(words, folder)`."""
    from tests.commands import Commands

    commands = Commands(command_environment)
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def tiny_run(small_mnist, commands, tmp_path_factory):
    """The folder of a real run that ended: 12 steps, rows with every metric, checkpoints after 8 and 12."""
    folder = tmp_path_factory.mktemp("tiny-run") / "run"
    options = ("--data.source", f"idx:{small_mnist}", "--data.validation", "0.2", "--training.steps", "12")
    options += ("--logging.every", "4", "--logging.test_examples", "100", "--checkpoint.every", "4")
    done = commands.run(["train", *options, "--out", folder], folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def flaxcnn(commands, command_environment, tmp_path):
    """Run the real command as a process in an empty folder: `flaxcnn("train", "--out", folder)`.

    `first` is Python that the process runs before it becomes the command, to give up rights or room. With it, or with
    options of `subprocess.run`, the process is an interpreter of its own, and otherwise a fork of one.
    """

    def run(*arguments, cwd=tmp_path, first="", **options):
        if not first and not options:
            return commands.run(arguments, cwd)
        words = [sys.executable, "-m", "flaxcnn", *map(str, arguments)]
        if first:
            words = [sys.executable, "-c", f"{first}\nimport os, sys\nos.execv(sys.executable, {words!r})"]
        environment = {**command_environment, **options.pop("env", {})}
        return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options)

    return run
