"""The command `models`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from flaxcnn.command_line import parse
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.jax_settings import import_jax

_MILLION = 10**6


@dataclass(frozen=True)
class ModelsOptions:
    """List the library's models: parameters, multiply-adds of one image, image size, known weights, source."""

    names: Positional[tuple[str, ...]] = ()
    """Names, or how they begin, such as `resnet`; none for all."""
    json: bool = False
    """Print one JSON list instead of a table, with the strides of the stages."""


def models(arguments: Sequence[str]) -> int:
    """List the library's models."""
    options = parse(ModelsOptions, arguments, program="flaxcnn models")
    import_jax()
    from flaxcnn.models import MODELS

    found = {name: each for name, each in MODELS.items() if not options.names or name.startswith(options.names)}
    for asked in options.names:
        if not any(name.startswith(asked) for name in MODELS):
            raise ConfigError(f"unknown model '{asked}'", where="flaxcnn models", fix=nearest(asked, MODELS))
    rows = [{"name": name, **_figures(name, each)} for name, each in found.items()]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    wide = max(len(str(row["name"])) for row in rows)
    print(f"{'model':<{wide}}  parameters  multiply-adds     image      classes  weights")
    for row in rows:
        height, width, channels = row["input"]
        cost = f"{row['multiply_adds'] / _MILLION:,.0f} M" if row["multiply_adds"] >= 10 * _MILLION else (
            f"{row['multiply_adds'] / _MILLION:,.1f} M"
        )  # fmt: skip
        weights = ", ".join(row["weights"]) or "–"
        print(
            f"{row['name']:<{wide}}  {row['parameters']:>11,}  {cost:>12}  {f'{height}×{width}×{channels}':>11}"
            f"  {row['classes']:>7,}  {weights}"
        )
    print("parameters and multiply-adds with that many classes; --json has the sources and the strides of the stages")
    return 0


def _figures(name: str, variant: Any) -> dict[str, Any]:
    from flaxcnn.models.figures import MULTIPLY_ADDS

    return {
        "parameters": variant.parameters,
        "multiply_adds": MULTIPLY_ADDS[name],
        "input": variant.size,
        "smallest": variant.smallest,
        "classes": variant.classes,
        "strides": dict(variant.strides),
        "weights": sorted(variant.weights),
        "layouts": sorted(variant.layouts),
        "source": variant.source,
    }
