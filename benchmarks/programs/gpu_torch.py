"""The same steps in PyTorch, eager, in its fastest layout: channels last, data on the device, a fused optimizer.

Convolutions may use TF32, as PyTorch and JAX have it by default. Exits with 3 where PyTorch has no GPU and the run is
no dry run.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks import backend
from benchmarks.gpu_job import CLASSES, GpuJob, Prepared, answer
from benchmarks.jobs import Job
from benchmarks.programs import torch_channels_last
from benchmarks.worker import Data

NO_GPU = 3
DEVICE = "cpu" if backend.dry_run() else "cuda"


def wait() -> None:
    """Wait until the device has done its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int | None:
    """Return the most bytes that tensors took on the device; None where it does not count them."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


class Block(nn.Module):
    """A block of `benchmarks.programs.resnet`."""

    def __init__(self, inputs: int, channels: int, stride: int, bottleneck: bool):
        super().__init__()
        outputs = channels * (4 if bottleneck else 1)
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        layers: list[nn.Module] = []
        before = inputs
        for place, size in enumerate(kernels):
            after = outputs if place == len(kernels) - 1 else channels
            step = stride if place == kernels.index(3) else 1
            layers += [nn.Conv2d(before, after, size, step, size // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's activations."""
        return functional.relu(self.shortcut(x) + self.layers(x))


def resnet(stages: tuple[int, ...], bottleneck: bool) -> nn.Module:
    """Return the network with the stem for large images."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    layers, inputs = stem, 64
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            layers.append(Block(inputs, 64 * 2**stage, 2 if stage > 0 and block == 0 else 1, bottleneck))
            inputs = 64 * 2**stage * (4 if bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


def prepare_paper(job: GpuJob) -> Prepared:
    """Return what makes the steps of the paper's network."""
    tensors = torch_channels_last.Tensors(Data.load(job.file))
    for name, tensor in vars(tensors).items():
        setattr(tensors, name, tensor.to(DEVICE))

    def steps() -> float:
        model, optimizer = torch_channels_last.fresh(1)
        model.to(DEVICE)
        wait()
        started = time.perf_counter()
        torch_channels_last.train(tensors, Job("train", job.steps, job.batch_size), model, optimizer)
        wait()
        return time.perf_counter() - started

    return Prepared(steps, peak_bytes)


def prepare(job: GpuJob) -> Prepared:
    """Return what makes the steps."""
    if not job.stages:
        return prepare_paper(job)
    images, labels = (torch.from_numpy(array).to(DEVICE) for array in job.images())
    images, labels = images.permute(0, 3, 1, 2), labels.long()  # bytes in the order of channels last

    def steps() -> float:
        torch.manual_seed(0)
        model = resnet(job.stages, job.bottleneck).to(DEVICE, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
        order = torch.randperm(len(images)).to(DEVICE)
        wait()
        started = time.perf_counter()
        for batch in order.split(job.batch_size):
            floats = images[batch].float().div_(255).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(model(floats), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wait()
        return time.perf_counter() - started

    return Prepared(steps, peak_bytes)


if __name__ == "__main__":
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} has no GPU here", file=sys.stderr)
        sys.exit(NO_GPU)
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    answer(f"PyTorch {torch.__version__}, channels_last", name, prepare)
