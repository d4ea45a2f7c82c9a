"""The recipe of configs/mnist_fast.py as a PyTorch user would write it, in its fastest layout; a whole process."""

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.worker import log_row

EPOCHS, BATCH_SIZE, PEAK = 2, 100, 0.02


def main(file: str, folder: Path, seed: int, most_steps: int) -> None:
    """Train, at most so many steps, evaluate all test images, and leave weights and accuracy in the folder."""
    torch.manual_seed(seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    arrays = {name: torch.from_numpy(array) for name, array in np.load(file).items()}

    def floats(images_NHWC: torch.Tensor) -> torch.Tensor:
        images = images_NHWC.permute(0, 3, 1, 2).float().div(255)
        return images.contiguous(memory_format=torch.channels_last)

    images, labels = floats(arrays["train_images"]), arrays["train_labels"].long()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 10),
    ).to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=PEAK, fused=True)
    folder.mkdir(parents=True)
    steps = EPOCHS * len(images) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps, cycle_momentum=False)
    loss_of = nn.CrossEntropyLoss()
    batches = (batch for _ in range(EPOCHS) for batch in torch.randperm(len(images)).split(BATCH_SIZE))
    for batch in itertools.islice(batches, most_steps):
        loss = loss_of(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    average.eval()
    with torch.no_grad():
        logits = torch.cat([average(part) for part in floats(arrays["test_images"]).split(500)])
    torch.save(average.state_dict(), folder / "weights.pt")
    accuracy = (logits.argmax(1) == arrays["test_labels"].long()).float().mean().item()
    log_row(folder, most_steps - 1, loss.item(), accuracy)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
