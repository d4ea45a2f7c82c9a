"""Epochs of Grain's DataLoader over a folder of JPEG files, for `benchmarks.photographs`; runs in a Python with Grain.

    python grain_epochs.py FOLDER WORKERS EPOCHS [KEPT]

Prints the seconds an image in the last epoch. With KEPT, a folder, it writes a digest of each batch to KEPT/batches and
Grain's own state after it to KEPT/state, and goes on from that state where there is one.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import grain.python as grain
import numpy as np
import PIL.Image

SIZE, BATCH = 224, 32


class Decode(grain.MapTransform):
    """Crops the middle and resizes it, as this library does."""

    def map(self, path):
        """Return an image's pixels."""
        picture = PIL.Image.open(path)
        picture.draft("RGB", (2 * SIZE, 2 * SIZE))
        picture = picture.convert("RGB")
        width, height = picture.size
        side = min(width, height)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        return np.asarray(picture.resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC, box=box))


def main() -> None:
    """Read the batches."""
    folder, workers, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    kept = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    paths = sorted(map(str, folder.rglob("*.jpg")))
    sampler = grain.IndexSampler(len(paths), shard_options=grain.NoSharding(), shuffle=True, num_epochs=epochs, seed=0)
    loader = grain.DataLoader(
        data_source=paths, sampler=sampler, worker_count=workers, operations=[Decode(), grain.Batch(BATCH)]
    )
    iterator = iter(loader)
    step = 0
    if kept is not None and (kept / "state").exists():
        saved = json.loads((kept / "state").read_text())
        step = saved["step"]
        iterator.set_state(saved["state"].encode())
    last = len(paths) // BATCH * (epochs - 1)  # the last epoch is timed: by then the workers run
    started, first = time.perf_counter(), step
    for batch in iterator:
        step += 1
        if step == last:
            started, first = time.perf_counter(), step
        if kept is not None:
            with open(kept / "batches", "a") as file:
                file.write(f"{step} {hashlib.sha256(batch.tobytes()).hexdigest()}\n")
            (kept / "new").write_text(json.dumps({"step": step, "state": iterator.get_state().decode()}))
            os.replace(kept / "new", kept / "state")
    print((time.perf_counter() - started) / max(1, step - first) / BATCH)


if __name__ == "__main__":
    main()
