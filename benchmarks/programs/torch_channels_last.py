"""PyTorch in the layout that it computes fastest in: channels last, all images in memory as floats."""

import os
import sys
import time

import torch
from torch import nn

from benchmarks.worker import Epoch, serve


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the paper's CNN as PyTorch draws it, and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 10),
    ).to(memory_format=torch.channels_last)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    epoch = Epoch.load(sys.argv[1])
    images = torch.from_numpy(epoch.images).permute(0, 3, 1, 2).float().div(255)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(epoch.labels).long()
    batches = [torch.from_numpy(batch).long() for batch in epoch.batches]
    loss_of = nn.CrossEntropyLoss()

    def measure(batches: list[torch.Tensor] = batches) -> dict[str, float]:
        (model, optimizer), losses = fresh(), []
        started = time.perf_counter()
        for batch in batches:
            loss = loss_of(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "last_loss": float(torch.stack(losses[-100:]).mean())}

    measure(batches[:20])
    serve({"library": f"PyTorch {torch.__version__}, channels_last"}, measure)


if __name__ == "__main__":
    main()
