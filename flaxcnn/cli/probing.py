"""The command `probe`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.datasets import FileOptions
from flaxcnn.cli.overrides import ModelOverride
from flaxcnn.command_line import parse
from flaxcnn.config.checks import require


@dataclass(frozen=True)
class ProbedFiles(FileOptions):
    """How the files of the data are read, as --data of train; size, fit and channels as the network's."""

    fit: Literal["crop", "letterbox", "pad", "stretch", "imagenet"] | None = None  # type: ignore[assignment]
    """As --data.fit of train; None for the fit that the network was trained with."""


@dataclass(frozen=True)
class ProbeOptions:
    """Measure how well a network's features tell the targets of a source, without training the network.

    Logistic regression (for numbers ridge regression) and the nearest neighbours learn of the features, which are
    computed once and kept: a second probe of the same images takes seconds. Needs the extra `study`.
    """

    network: Positional[str]
    """Folder of a finished run; or a model of the library, such as efficientnet_lite0."""
    source: Positional[str]
    """As --data.source of train: folder:DIR, csv:FILE and others. Its images are prepared as the network's were, unless
    options say otherwise."""
    init: str | None = None
    """A model's weights, as --model.init of train: imagenet, or a file. None for those that a package carries."""
    normalization: Literal["imagenet", "unit"] | None = None
    """Pixels for the weights of a file: standardised as for ImageNet, the default of models of colour images, or
    divided by 255 alone."""
    data: ProbedFiles = field(default_factory=ProbedFiles)
    every_fold: bool = True
    """With --data.folds, measure every fold in turn: each image once. --no_every_fold measures --data.fold alone."""
    c: tuple[float, ...] = (0.01,)
    """Logistic regression: the inverse of the regularisation's strength. Of several, the best is chosen on the
    validation split, or else by cross-validation in the training images."""
    neighbours: int = 20
    """How many nearest neighbours."""
    shortcuts: bool = False
    """Measure shortcuts, too: what the border of the images alone, the middle alone and the files' sizes alone tell,
    and, where there are groups, what a division through the groups would have said."""
    json: str | None = None
    """File for the numbers, as JSON."""
    out: str | None = None
    """Folder for the numbers, the predictions and the names of their images."""
    model: ModelOverride = field(default_factory=ModelOverride)

    def __post_init__(self) -> None:
        require(bool(self.c) and all(0 < each < math.inf for each in self.c), "--c", "numbers above 0", self.c)
        require(self.neighbours >= 1, "--neighbours", "at least 1", self.neighbours)


def probe(arguments: Sequence[str]) -> int:
    """Measure how well a network's features tell the targets of a source."""
    options = parse(ProbeOptions, arguments, program="flaxcnn probe")
    from flaxcnn import config
    from flaxcnn.errors import ConfigError, printable
    from flaxcnn.files import user_path
    from flaxcnn.probing.extra import require_sklearn, require_writable

    given = {name: value for name, value in asdict(options.data).items() if value is not None}
    config.Data(source=options.source, **given)  # which checks them
    if not options.every_fold and options.data.folds is None:
        raise ConfigError("not without folds", where="--no_every_fold", fix="add --data.folds, or leave it out")
    if options.every_fold and options.data.fold:
        fix = "add --no_every_fold to measure this one alone, or leave it out"
        raise ConfigError("every fold is measured", where="--data.fold", found=options.data.fold, fix=fix)
    json_file = None if options.json is None else user_path(options.json, "--json")
    folder = None if options.out is None else user_path(options.out, "--out")
    require_sklearn()
    require_writable(json_file, folder)
    with computing():
        from flaxcnn.probing.network import find_network
        from flaxcnn.probing.probe import options_for
        from flaxcnn.probing.probe import probe as run
        from flaxcnn.probing.report import heading, table, write

        again = {"model.name": options.model.name}
        network = find_network(options.network, options.init, again, options.normalization)
        found = run(
            network,
            options.source,
            options_for(network, options.source, given),
            every_fold=options.every_fold,
            c=options.c,
            count=options.neighbours,
            shortcuts=options.shortcuts,
            say=lambda line: print(printable(line), flush=True),
        )
        write(found, json_file, folder)
    print("\n".join(["", *heading(found), "", *table(found)]))
    for place in filter(None, (folder, json_file)):
        print(printable(f"written   {place}"))
    return 0
