"""`hf:DIR`: a data set that Hugging Face's `datasets` saved with `save_to_disk`, its images within its files."""

from collections.abc import Mapping
from pathlib import Path

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import DECODED, DIVIDED, GROUPED, Request
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.prepare import prepare
from flaxcnn.data.sources.folder import SPLIT_FOLDERS
from flaxcnn.data.sources.hugging_face.arrow import ArrowImages, cells_of, open_columns, require_images
from flaxcnn.data.sources.hugging_face.saved import Feature, SavedSplit, read_saved
from flaxcnn.data.sources.tables.columns import Target, find_column, find_targets, targets_of_table
from flaxcnn.data.sources.tables.reading import MAX_ROWS, Cell, Table
from flaxcnn.data.sources.tables.source import groups_of_table
from flaxcnn.errors import DataError
from flaxcnn.files import user_path

USES = DECODED | DIVIDED | GROUPED | {"target"}

_IMAGE = "image"  # the column that is read where several have images


def load(request: Request) -> Dataset:
    """Return the data set of a folder; raises as `list_saved` and `prepare`."""
    return prepare(list_saved(request), request)


def list_saved(request: Request) -> Listing:
    """Return the images of a folder, in the order of its splits and rows, named "SPLIT/POSITION" or "POSITION".

    Raises:
        ConfigError: an option names a column that is not there.
        DataError: as `read_saved`, `open_columns` and `targets_of_table`; or no column has images.
    """
    source, options = request.source, request.options
    root = user_path(request.name, "data.source")
    splits, notes = _known_splits(read_saved(root), root, source)
    features = splits[0].features
    image = _image_column(features, root)
    others = [name for name in features if name != image]
    wanted = tuple(
        Target(target.column, "labels") if features[target.column].listed and target.kind == "any" else target
        for target in find_targets(options.target, others, root)
    )
    group = None if options.group is None else find_column(options.group, others, "data.group", root)
    columns = list(dict.fromkeys([*(target.column for target in wanted), *([] if group is None else [group])]))
    _require_same(splits, [image, *columns], root)
    cells: dict[str, list[Cell]] = {name: [] for name in columns}
    paths: list[str] = []
    sides: list[str] = []
    counts: dict[str, list[int]] = {}
    for split in splits:
        counts[split.name] = []
        for file in split.files:
            table = open_columns(root, file, [image, *columns])
            require_images(table, image, root / file)
            for name in columns:
                cells[name] += cells_of(table, name, features[name].names, root / file)
            counts[split.name].append(table.num_rows)
        rows = sum(counts[split.name])
        paths += [f"{split.name}/{row}".lstrip("/") for row in range(rows)]
        sides += [SPLIT_FOLDERS.get(split.name.lower(), "")] * rows
        if len(paths) > MAX_ROWS:
            raise DataError("too large", where=root, expected=f"at most {MAX_ROWS:,} images", found="more")
    if not paths:
        raise DataError("no images", where=root, expected="at least one row", found="none")
    rows_of = Table(root, cells, range(1, len(paths) + 1), "row")
    declared = {name: features[name].names for name in columns if features[name].names}
    targets, names, told = targets_of_table(rows_of, wanted, source, declared)
    return Listing(
        source,
        root,
        tuple(paths),
        targets,
        names,
        None if group is None else groups_of_table(rows_of, group, options.group_size, targets),
        tuple(sides) if splits[0].name else None,
        notes=(*notes, *told),
        encoded=ArrowImages(root, image, {split.name: split.files for split in splits}, counts),
    )


def _known_splits(splits: list[SavedSplit], root: Path, source: str) -> tuple[list[SavedSplit], list[str]]:
    """Return the splits that are used, and a line of those that are not."""
    if not splits[0].name:
        return splits, []
    known = [split for split in splits if split.name.lower() in SPLIT_FOLDERS]
    others = [split.name for split in splits if split not in known]
    if not known:
        expected = ", ".join(SPLIT_FOLDERS)
        raise DataError("no known split", where=root, expected=expected, found=", ".join(others))
    return known, [f"{source}: the splits {', '.join(others)} are not used"] if others else []


def _image_column(features: Mapping[str, Feature], root: Path) -> str:
    images = [name for name, feature in features.items() if feature.kind == "Image" and not feature.listed]
    if not images:
        found = ", ".join(f"{name}: {feature.kind or 'unknown'}" for name, feature in features.items()) or "none"
        raise DataError("no column of images", where=root, expected="a feature of the type Image", found=found)
    return _IMAGE if _IMAGE in images else images[0]


def _require_same(splits: list[SavedSplit], columns: list[str], root: Path) -> None:
    """Raise DataError where a split declares a column otherwise than the first does."""
    first = splits[0]
    for split in splits[1:]:
        for name in columns:
            if split.features.get(name) != first.features[name]:
                raise DataError(
                    f"splits with different features '{name}'",
                    where=root / split.name,
                    expected=f"{first.features[name]} as in {first.name}",
                    found=split.features.get(name) or "none",
                )
