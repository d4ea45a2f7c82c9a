"""Divide the images of a listing into splits, and make their data set."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split, target_digests
from flaxcnn.data.given_targets import groups_of, targets_of
from flaxcnn.data.image_files import ImageFiles
from flaxcnn.data.images import Images, StoredImages
from flaxcnn.data.options import Options, Request
from flaxcnn.data.photographs.decoding import Shape
from flaxcnn.data.photographs.folds import fold_numbers
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.splitting import stratified
from flaxcnn.data.targets import is_classes
from flaxcnn.errors import ConfigError, DataError

_SPLITS = ("train", "validation", "test")


def divide(
    listing: Listing,
    images: Images,
    digests: Sequence[str],
    shape: Shape,
    request: Request,
    notes: tuple[str, ...],
    files: ImageFiles | None,
) -> Dataset:
    """Return the data set of a listing's images in its splits, the source's own or drawn.

    Args:
        listing: of the images.
        images: of its paths, in their order.
        digests: of each image's content.
        shape: what the images are fitted to.
        request: what they are wanted for.
        notes: of the data set, which are completed.
        files: the image files that it is made of; None where it is made of something else.

    Raises:
        DataError: a single class, nothing to train on, or too few examples to draw a test split; or as `Dataset`.
    """
    targets, names = listing.targets, listing.target_names
    if listing.fit_targets is None:
        (targets,), names = targets_of([targets], names, [f"{listing.source} targets"])
    (groups,) = groups_of([listing.groups], [f"{listing.source} groups"])
    if isinstance(names, tuple) and isinstance(targets, np.ndarray) and targets.dtype == np.int32 and len(names) < 2:
        raise DataError(
            "only one class", where=listing.source, expected="at least two classes", found=f"only '{names[0]}'"
        )
    whole = Split(
        images, targets, groups, listing.paths, {"images": listing.source, "labels": f"{listing.source} targets"}
    )
    sides, told = _sides(listing, whole, digests, request.options)
    splits: dict[str, Split] = {}
    made: dict[str, str] = {}
    for name in _SPLITS:
        chosen = np.flatnonzero(sides == name)
        if len(chosen):
            split = whole.choose(chosen)
            if isinstance(split.images, StoredImages) and split.images.nbytes <= request.in_memory:
                split = Split(np.asarray(split.images), split.targets, split.groups, split.names)
            splits[name] = split
            content = hashlib.sha256(f"{' '.join(map(str, shape))}\n".encode())
            content.update("\n".join(digests[place] for place in chosen.tolist()).encode())
            made |= {f"{name}/images": content.hexdigest(), **target_digests(name, split)}
    return Dataset(
        listing.source,
        splits["train"],
        splits["test"],
        names,
        made,
        validation=splits.get("validation"),
        notes=(*notes, *told),
        preparation={
            "size": (shape.height, shape.width),
            "fit": shape.fit,
            "channels": "gray" if shape.channels == 1 else "rgb",
        },
        files=files,
    )


def _sides(
    listing: Listing, whole: Split, digests: Sequence[str], options: Options
) -> tuple[npt.NDArray[np.str_], list[str]]:
    """Return the split of each example, and lines that say how they were made."""
    given = np.asarray(listing.splits if listing.splits is not None else ["train"] * len(whole), "U10")
    told: list[str] = []
    if options.folds is not None and (given != "train").any():
        has = " and ".join(name for name in _SPLITS[1:] if name in given)
        raise ConfigError(
            f"{listing.source} has a {has} split of its own",
            where="data.folds",
            expected="a source without one",
            found=options.folds,
            fix="leave out --data.folds",
        )
    if "test" not in given and "validation" in given:
        given[given == "validation"] = "test"
        told.append(f"{listing.source} has no test split: its validation split is the test split")
    if "train" not in given:
        raise DataError("nothing to train on", where=listing.source, expected="a training split", found="others alone")
    if "test" not in given:
        drawn, told = _drawn(listing.source, whole, digests, options)
        given[drawn] = "test"
    return given, told


def _drawn(
    source: str, whole: Split, digests: Sequence[str], options: Options
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Return which examples are the test split, a fraction or a fold of them, and a line that says so."""
    targets = whole.targets
    classes = targets.tolist() if isinstance(targets, np.ndarray) and is_classes(targets) else None
    groups = None if whole.groups is None else whole.groups.tolist()
    if options.folds is None:
        drawn = stratified(digests, options.test, classes, groups)
        how, way = "drawn", "; --data.test chooses another fraction"
    else:
        if not 0 <= options.fold < options.folds:
            expected = f"0 to {options.folds - 1:,}"
            raise ConfigError("out of range", where="data.fold", expected=expected, found=options.fold)
        drawn = fold_numbers(digests, options.folds, classes, groups, options.repeat) == options.fold
        repetition = f" in repetition {options.repeat}" if options.repeat else ""
        how, way = f"fold {options.fold} of {options.folds}{repetition}, divided", ""
    if not drawn.any() or drawn.all():
        unit = "images" if groups is None else "groups"
        found = f"{len(whole):,} images"
        raise DataError(
            "too few examples to draw a test split",
            where=source,
            expected=f"at least two {unit}" + ("" if classes is None else " of one class"),
            found=found if groups is None else f"{found} in {len(set(groups)):,} groups",
        )
    unit = "" if groups is None else ", whole groups each"
    count = f"{np.count_nonzero(drawn):,} of {len(whole):,}"
    return drawn, [f"{count} images are the test split, {how} by their content{unit}{way}"]
