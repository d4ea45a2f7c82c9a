"""The command `cache`."""

from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from flaxcnn.command_line import parse


@dataclass(frozen=True)
class CacheOptions:
    """List the decoded images, and the features of images, that are kept on disk, or clear them.

    They are in FLAXCNN_CACHE, by default the user's cache folder, and take at most FLAXCNN_CACHE_GIB, by default 50;
    what was not used for longest makes room.
    """

    entries: Positional[tuple[str, ...]] = ()
    """Names of entries, or how they begin; none for all."""
    clear: bool = False
    """Remove the entries. What a running training reads stays."""


def cache(arguments: Sequence[str]) -> int:
    """List the decoded images that are kept on disk, or clear them."""
    options = parse(CacheOptions, arguments, program="flaxcnn cache")
    import datetime

    from flaxcnn.data.photographs.cache import IMAGES, Cache
    from flaxcnn.errors import ConfigError, printable

    kept = Cache.of_user()
    found = [each for each in kept.entries() if not options.entries or each.key.startswith(options.entries)]
    if options.entries and not found:
        known = ", ".join(each.key for each in kept.entries()) or "none"
        raise ConfigError("no such entry of the cache", where=options.entries[0], expected=known)
    if options.clear:
        removed, used = kept.clear([each.key for each in found] if options.entries else None)
        print(f"removed {len(removed):,} entries, {sum(each.bytes for each in removed) / 2**30:.2f} GiB")
        if used:
            print(f"kept {len(used):,} that a process uses: {', '.join(each.key for each in used)}")
        return 0
    for each in found:
        height, width, channels = each.shape
        when = datetime.datetime.fromtimestamp(each.used).strftime("%Y-%m-%d %H:%M")
        what = f"images {height}×{width}×{channels}" if each.kind == IMAGES else printable(each.kind)
        print(f"{each.key}  {each.bytes / 2**30:7.3f} GiB  {each.images:>9,} {what}  "
              f"used {when}  {printable(each.source)}")  # fmt: skip
    total = sum(each.bytes for each in found)
    print(f"{len(found):,} entries, {total / 2**30:.3f} GiB of at most {kept.limit / 2**30:g} GiB in {kept.folder}")
    return 0
