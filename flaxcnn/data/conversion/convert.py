"""Write a source of annotated images in another format, with its images, as a folder that is read as a source again.

Boxes are those of the files, not of fitted images. The folder is written under another name, read back, compared, and
renamed: at its own name it is whole.
"""

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from flaxcnn.data.conversion.formats import FORMATS, Format, Written
from flaxcnn.data.conversion.names import Named, names_of
from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.options import Options, Request
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.data.photographs.listing import refuse_bad
from flaxcnn.data.photographs.objects import Object, clipped, in_pixels
from flaxcnn.data.photographs.scanning import scan
from flaxcnn.data.sources import coco, voc, yolo
from flaxcnn.data.sources.annotated import AnnotatedImage, Annotations, check_classes, usable
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.files import cannot_write, remove, sync, sync_tree

Placing: TypeAlias = Literal["copy", "hardlink", "symlink"]
"""How images come into the folder."""

USES = frozenset({"dir", "on_bad", "cache"})
"""The options of a source that a conversion heeds: others say how images are fitted and divided."""

_READERS: Mapping[str, Callable[[Request], Annotations]] = {
    "coco": coco.annotations,
    "voc": voc.annotations,
    "yolo": yolo.annotations,
}
_ROUNDED = 0.01  # pixels by which a box may reach out without a word: YOLO's fractions often have six digits
_CLOSE = 1e-9  # of an image's longer side, by which coordinates may differ once they are read back


class _Sound(NamedTuple):
    """An image that can be used: its path below the source's root, its split or "", its header, and its objects."""

    path: str
    split: str
    info: FileInfo
    objects: list[Object]


def convert(source: str, to: str, out: Path, options: Options, placing: Placing = "copy") -> list[str]:
    """Write a source in another format, or in its own.

    Args:
        source: `coco:`, `voc:` or `yolo:` with its name.
        to: the format, "coco", "voc" or "yolo".
        out: the folder, which must not exist; its parent must.
        options: how the source's files are read, those of `USES`.
        placing: whether images are copied or linked.

    Returns:
        Lines that say what was written, and what was left out or changed.

    Raises:
        ConfigError: the source has no boxes, an option is not for a conversion, or the folder exists.
        DataError: annotations or images that cannot be used, or a class that the format cannot name.
        RunFolderError: the folder cannot be written.
    """
    kind, _, name = source.partition(":")
    if kind not in _READERS or not name:
        expected = "coco:FILE, voc:DIR or yolo:FILE"
        raise ConfigError("no boxes to convert", where="data.source", expected=expected, found=f"'{source}'")
    options.refuse_others(USES, f"{source} --to {to}")
    _refuse_existing(out)
    form = FORMATS[to]
    found = _READERS[kind](Request(source, name, options))
    classes = check_classes(found.classes, source)
    for called in classes:
        if fault := form.fault(called):
            what = f"a class that {form.called} cannot name"
            raise DataError(what, where=source, found=f"{called!r}, which has {fault}", fix="rename it in the source")
    sound, skipped = _sound(found, source, options)
    names = names_of([Named(each.path, each.split, each.info.format) for each in sound], form.rules)
    images, lines = [], list(skipped)
    crowds = beyond = 0
    for each, new in zip(sound, names, strict=True):
        objects = []
        for one in each.objects:
            crowds += one.crowd
            inside = clipped(one.box, each.info)
            if inside is not None and (form.crowds or not one.crowd):
                beyond += any(abs(a - b) > _ROUNDED for a, b in zip(inside, one.box, strict=True))
                objects.append(one._replace(box=inside))
        height, width, gray = each.info.height, each.info.width, each.info.gray
        images.append(Written(new, each.split, height, width, gray, tuple(objects)))
    _write(out, form, found.root, [each.path for each in sound], images, classes, placing)
    if crowds and not form.crowds:
        lines.append(f"{crowds:,} crowds are left out: {form.called} has none")
    if beyond:
        lines.append(f"{beyond:,} boxes reached out of their images, and are clipped to them")
    changed = [
        (each.path, new)
        for each, new in zip(sound, names, strict=True)
        if posixpath.basename(each.path) != posixpath.basename(new)
    ]
    if changed:
        lines.append(f"{len(changed):,} files have other names, such as {changed[0][1]} for {changed[0][0]}")
    if placing == "symlink":
        lines.append(
            "the images are links to other folders, which flaxcnn refuses to follow: they are for other programs"
        )
    return [_summary(f"{to}:{form.source(out, images)}", images, classes), *lines]


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise ConfigError(
            "exists already", where="--out", expected="a new folder", found=out, fix="name another folder"
        )
    if not out.parent.is_dir():
        fix = "make it, or name another folder"
        raise ConfigError("no such folder", where="--out", found=out.parent, fix=fix)


def _sound(found: Annotations, source: str, options: Options) -> tuple[list[_Sound], list[str]]:
    """Return the images that can be used, and a line on those that are skipped, if there are any."""
    good, bad = usable(found, source)
    cache = Cache.of_user() if options.cache else None
    scanned = scan(Files(found.root), tuple(good), None if cache is None else cache.scans(found.root))
    sound = []
    for (path, image), each in zip(good.items(), scanned, strict=True):
        objects = each.fault if each.info is None else in_pixels(image.annotated, each.info)
        if each.info is None or isinstance(objects, str):
            bad[path] = str(objects)
        else:
            sound.append(_Sound(path, image.split or "", each.info, objects))
    expected = "files that can be decoded, with sound annotations"
    line = refuse_bad(bad, len(bad) + len(sound), options.on_bad, source, expected=expected)
    if not sound:
        raise DataError("no usable image files", where=source, expected="at least one", found="none")
    return sound, [line] if line else []


def _write(
    out: Path,
    form: Format,
    root: Path,
    paths: Sequence[str],
    images: Sequence[Written],
    classes: Sequence[str],
    placing: Placing,
) -> None:
    """Write the folder whole; raises as `convert`."""
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    files = Files(root)
    try:
        partial.mkdir()
        for path, image in zip(paths, images, strict=True):
            place = partial / form.place(image)
            place.parent.mkdir(parents=True, exist_ok=True)
            if placing == "copy":
                place.write_bytes(files.read(path))
            elif placing == "hardlink":
                os.link(os.path.realpath(root / path), place)
            else:
                place.symlink_to(os.path.realpath(root / path))
        form.write(partial, images, classes)
        _compare(form, form.source(partial, images), images, classes)
        sync_tree(partial)
        partial.rename(out)
        sync(out.parent)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        remove(partial)


def _compare(form: Format, path: Path, images: Sequence[Written], classes: Sequence[str]) -> None:
    """Raise DataError where what was written is not read as it was."""
    found = form.read(path)
    expected = {form.place(image): image for image in images}
    read = {posixpath.normpath(image.path): image for image in found.images}
    where = next((place for place in {**expected, **read} if not _same(expected.get(place), read.get(place))), None)
    if found.bad or tuple(found.classes) != tuple(classes) or where is not None:
        told = next(iter(found.bad.items()), None) or where or "other classes"
        what, fix = "is not read back as it was written", "please report it with this line"
        raise DataError(what, where=path, expected="the same boxes", found=told, fix=fix)


def _same(image: Written | None, read: AnnotatedImage | None) -> bool:
    if image is None or read is None or (image.split or "train") != (read.split or "train"):
        return False
    info = FileInfo("", image.height, image.width, image.gray, 8)
    objects = in_pixels(read.annotated, info)
    if isinstance(objects, str) or [(o.number, o.crowd) for o in objects] != [
        (o.number, o.crowd) for o in image.objects
    ]:
        return False
    ours, theirs = (np.asarray([one.box for one in each], np.float64) for each in (image.objects, objects))
    return np.allclose(ours, theirs, rtol=0, atol=_CLOSE * max(image.height, image.width))


def _summary(source: str, images: Sequence[Written], classes: Sequence[str]) -> str:
    splits = [f"{sum(image.split == split for image in images):,} {split}" for split in ("train", "validation", "test")]
    told = f" ({', '.join(each for each in splits if not each.startswith('0 '))})" if images[0].split else ""
    boxes = sum(not one.crowd for image in images for one in image.objects)
    negatives = sum(not image.objects for image in images)
    without = f", {negatives:,} images without" if negatives else ""
    return f"{source}  {len(images):,} images{told}, {boxes:,} boxes of {len(classes):,} classes{without}"
