"""The command `serve`."""

import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse
from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError
from flaxcnn.serving.settings import Settings


@dataclass(frozen=True)
class ServeOptions:
    """Answer for images over HTTP, as `flaxcnn predict` does, with a finished run's model.

    POST an image, or a form of several, to /predict. It listens once the model is compiled, and says where in one line.
    The first SIGINT or SIGTERM lets it answer what it has accepted. Needs the extra `serve`.
    """

    run: Positional[str]
    """Folder of a finished run, or a model file that `flaxcnn export` wrote."""
    host: str = "127.0.0.1"
    """Where to listen. Other machines reach it at another address than this one; 0.0.0.0 is every address."""
    port: int = 8000
    """Where to listen; 0 for any port that is free."""
    api_key_file: str | None = None
    """A file with a key, which requests then have to send: `Authorization: Bearer KEY`."""
    settings: Annotated[Settings, arg(name="")] = field(default_factory=Settings)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65_535, "--port", "0 to 65,535", self.port)


def serve(arguments: Sequence[str]) -> int:
    """Answer for images over HTTP."""
    options = parse(ServeOptions, arguments, program="flaxcnn serve")
    _require_extra()
    from flaxcnn.serving.keys import read_key
    from flaxcnn.serving.server import bound, url_of
    from flaxcnn.serving.server import serve as answer

    key = None if options.api_key_file is None else read_key(options.api_key_file)
    with bound(options.host, options.port) as listening, computing():
        from flaxcnn.prediction.loading import load
        from flaxcnn.prediction.preparing import DIGITS_HINT, may_need_digits
        from flaxcnn.serving.app import create_app
        from flaxcnn.serving.model import Served

        trained = load(options.run, named_again(options.task, options.model))
        if may_need_digits(trained, options.settings.prepare):
            print(f"flaxcnn: {DIGITS_HINT}", file=sys.stderr)
        served = Served(trained, options.settings)
        if served.abstains is not None:
            print(f"flaxcnn: {served.abstains.line}", file=sys.stderr)
        if key is None and not ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback:
            print(
                "flaxcnn: warning: whoever reaches this machine may ask; --api_key_file FILE asks for a key",
                file=sys.stderr,
            )
        served.warm()
        app, url = create_app(served, options.settings, key), url_of(listening)
        sizes = ", ".join(map(str, served.sizes))
        answer(app, listening, options.settings, lambda: print(f"{url}  ready; batches of {sizes}", flush=True))
    print("stopped: what was accepted is answered")
    return 0


def _require_extra() -> None:
    """Raise ConfigError unless the packages of the extra are installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        fix = "install it with: pip install 'flaxcnn[serve]'"
        raise ConfigError(f"this command needs the package {error.name}", where="flaxcnn serve", fix=fix) from error
