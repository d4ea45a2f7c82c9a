"""Epochs of this library's loader over a folder of JPEG files, for `benchmarks.photographs`.

    python -m benchmarks.programs.flaxcnn_epochs FOLDER WORKERS EPOCHS [KEPT]

As `grain_epochs.py`. What it keeps is what a run keeps of its data: the number of the step and the data set's digests,
which have to be the same. The cache is where FLAXCNN_CACHE says, and built where it is not there.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from flaxcnn.data import Loader, Options, load

SIZE, BATCH = 224, 32


def main() -> None:
    """Read the batches."""
    workers, epochs = int(sys.argv[2]), int(sys.argv[3])
    kept = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    dataset = load(f"folder:{sys.argv[1]}", Options(size=(SIZE,)), in_memory=0)
    train = dataset.train
    each = len(train) // BATCH
    step = 0
    if kept is not None and (kept / "state").exists():
        saved = json.loads((kept / "state").read_text())
        if saved["digests"] != dataset.digests:
            sys.exit("the data set is another one")
        step = saved["step"]
    span = {"first_step": step, "total_steps": each * epochs, "chunk_steps": 1}
    started, first = time.perf_counter(), step
    with Loader(train.images, train.targets, seed=0, batch_size=BATCH, workers=workers, **span) as loader:
        while step < each * epochs:
            batch = loader.next().images
            step += 1
            if step == each * (epochs - 1):
                started, first = time.perf_counter(), step
            if kept is not None:
                with open(kept / "batches", "a") as file:
                    file.write(f"{step} {hashlib.sha256(batch.tobytes()).hexdigest()}\n")
                (kept / "new").write_text(json.dumps({"step": step, "digests": dataset.digests}))
                os.replace(kept / "new", kept / "state")
    print((time.perf_counter() - started) / max(1, step - first) / BATCH)


if __name__ == "__main__":
    main()
