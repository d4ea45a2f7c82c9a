"""PyTorch in the layout that it computes fastest in: channels last, all images in memory as floats, fused Adam.

Eager: `torch.compile` of the model takes 22 ms a step to eager's 12 (one core, medians of four times 100 steps, modes
"default", "reduce-overhead" and "max-autotune" alike). Evaluation is fastest in batches of 50 to 100: 0.75 s of one
core for 10,000 images, 0.80 in batches of 250, 0.93 of 500, 1.5 of 1,000.
"""

import os
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.jobs import Convolution, Job, Network
from benchmarks.programs.torch_layers import Training, prepare_convolution, prepare_network
from benchmarks.worker import Data, Measure, answer, log_row

EVALUATION_BATCH = 100
CHECKED = 500  # test images that are looked at, beside the clock, after a training without evaluations


class Tensors:
    """The data as PyTorch's tensors, the images floats in [0, 1] in channels last."""

    def __init__(self, data: Data):
        self.train_images, self.test_images = (
            torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
            for images in (data.train_images, data.test_images)
        )
        self.train_labels = torch.from_numpy(data.train_labels).long()
        self.test_labels = torch.from_numpy(data.test_labels).long()
        self.order = torch.from_numpy(data.order).long()


def fresh(width: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the paper's CNN as PyTorch draws it, its filters multiplied, and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16 * width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16 * width, 32 * width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568 * width, 10),
    ).to(memory_format=torch.channels_last)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def evaluate(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of images that is classified correctly."""
    model.eval()
    with torch.inference_mode():
        parts = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
        correct = sum((model(part).argmax(1) == wanted).sum() for part, wanted in parts)
    model.train()
    return float(correct) / len(labels)


def train(data: Tensors, job: Job, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path | None = None):
    """Make a job's steps, log its rows in the folder, and return the accuracy of the last evaluation."""
    loss_of, accuracy = nn.CrossEntropyLoss(), None
    for step, batch in enumerate(data.order[: job.steps * job.batch_size].split(job.batch_size)):
        loss = loss_of(model(data.train_images[batch]), data.train_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if job.evaluates(step):
            if job.evaluated:
                accuracy = evaluate(model, data.test_images[: job.evaluated], data.test_labels[: job.evaluated])
            if folder is not None:
                log_row(folder, step, loss.item(), accuracy)
    return accuracy


def prepare(data: Data, job: Job) -> Measure:
    """Warm up and return what does a job."""
    tensors = Tensors(data)

    def measure(job: Job = job) -> dict[str, float | None]:
        model, optimizer = fresh(job.width)
        started = time.perf_counter()
        if job.task == "evaluate":
            accuracy = evaluate(model, tensors.test_images, tensors.test_labels)
            return {"seconds": time.perf_counter() - started, "accuracy": accuracy}
        accuracy = train(tensors, job, model, optimizer)
        seconds = time.perf_counter() - started
        if accuracy is None:
            accuracy = evaluate(model, tensors.test_images[:CHECKED], tensors.test_labels[:CHECKED])
        return {"seconds": seconds, "accuracy": accuracy}

    measure(job._replace(steps=min(job.steps, 5)))
    return measure


def run(file: str, folder: Path, job: Job | Network) -> None:
    """Train as a whole process does."""
    if isinstance(job, Network):
        training = Training(job)
        for step in range(job.calls):
            log_row(folder, step, training.step(step).item(), None)
        return
    model, optimizer = fresh(job.width)
    train(Tensors(Data.load(file)), job, model, optimizer, folder)
    torch.save(model.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    does = {Job: prepare, Convolution: prepare_convolution, Network: prepare_network}
    answer(f"PyTorch {torch.__version__}, channels_last", does, run)
