"""Single convolutions and networks called in PyTorch, everything in channels last; see `flax_networks` for the sources.

Gradients come from `torch.autograd.grad`: no loss is added, and nothing is accumulated in tensors.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.jobs import CLASSES, LEARNING_RATE, MOBILENET_BLOCK, MOMENTUM, RESNET18, Convolution, Network
from benchmarks.worker import Data, Measure, timed_calls


def channels_last(array_BHWC: Any) -> torch.Tensor:
    """Return an array of NumPy's (B, H, W, C) as a tensor (B, C, H, W) in channels last."""
    return torch.from_numpy(array_BHWC).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def prepare_convolution(data: Data, job: Convolution) -> Measure:
    """Return what calls a convolution, alone or with both gradients."""
    images_BHWC, kernel_HWIF, gradient_BHWF = job.arrays()
    images, gradient = channels_last(images_BHWC), channels_last(gradient_BHWF)
    kernel = channels_last(kernel_HWIF.transpose(3, 0, 1, 2))

    def forward() -> tuple[torch.Tensor, ...]:
        return (nn.functional.conv2d(images, kernel, None, job.stride, job.padding, 1, job.groups),)

    def with_gradients() -> tuple[torch.Tensor, ...]:
        (output,) = forward()
        return output, *torch.autograd.grad(output, (images, kernel), gradient)

    def alone() -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            return forward()

    if job.gradients:
        images.requires_grad_()
        kernel.requires_grad_()
    call = with_gradients if job.gradients else alone
    return timed_calls(call, job.calls, [float(array.detach().abs().mean()) for array in call()])


class Residual(nn.Module):
    """The sum of a branch and a shortcut, and a ReLU."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return nn.functional.relu(self.shortcut(x) + self.branch(x), inplace=True)


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by what two layers make of the means of all."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return x * self.scale(x)


def resnet18() -> nn.Module:
    """Return ResNet-18 with a 3×3 convolution as its stem and no pool after it."""

    def conv_norm(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(filters)]

    layers = [*conv_norm(3, 64, 3), nn.ReLU(inplace=True)]
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            first = [*conv_norm(channels, filters, 3, stride), nn.ReLU(inplace=True)]
            changes = stride > 1 or channels != filters
            shortcut = nn.Sequential(*conv_norm(channels, filters, 1, stride)) if changes else nn.Identity()
            layers.append(Residual(nn.Sequential(*first, *conv_norm(filters, filters, 3)), shortcut))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def mobilenet_v3_block(channels: int = 80, expanded: int = 480, squeezed: int = 120, projected: int = 112) -> nn.Module:
    """Return the block of MobileNetV3-Large with these numbers of channels, with a 5×5 kernel."""
    return nn.Sequential(
        nn.Conv2d(channels, expanded, 1, bias=False),
        nn.BatchNorm2d(expanded, eps=1e-3, momentum=0.01),
        nn.Hardswish(inplace=True),
        nn.Conv2d(expanded, expanded, 5, padding=2, groups=expanded, bias=False),
        nn.BatchNorm2d(expanded, eps=1e-3, momentum=0.01),
        nn.Hardswish(inplace=True),
        SqueezeExcitation(expanded, squeezed),
        nn.Conv2d(expanded, projected, 1, bias=False),
        nn.BatchNorm2d(projected, eps=1e-3, momentum=0.01),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {RESNET18: resnet18, MOBILENET_BLOCK: mobilenet_v3_block}


def created(job: Network) -> nn.Module:
    """Return a job's network in channels last, drawn from a seed."""
    torch.manual_seed(0)
    if job.zoo:
        from benchmarks.programs import torch_zoo  # torchvision, which other jobs do not need

        model = torch_zoo.create(job.network, job.classes)
    else:
        model = NETWORKS[job.network]()
    return model.to(memory_format=torch.channels_last)


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def prepare_network(data: Data, job: Network) -> Measure:
    """Return what does a network's job."""
    if job.task == "train":
        return _prepare_training(job)
    model, images = created(job), channels_last(job.images())

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    model.eval()
    output = forward()
    same = [count(model), *output.permute(0, 2, 3, 1).shape] if output.ndim == 4 else [count(model), *output.shape]
    if job.task == "forward":
        return timed_calls(forward, job.calls, same)
    model.train()
    images.requires_grad_()
    gradient = torch.ones_like(output)
    wanted = (*model.parameters(), images)
    return timed_calls(lambda: torch.autograd.grad(model(images), wanted, gradient), job.calls, same)


class Training:
    """A network that trains by stochastic gradient descent, and its examples as floats in channels last."""

    def __init__(self, job: Network):
        images_BHWC, labels = job.examples()
        self._images, self._labels = channels_last(images_BHWC).float().div_(255), torch.from_numpy(labels).long()
        self._batches = torch.arange(job.calls * job.batch).split(job.batch)
        self._loss_of = nn.CrossEntropyLoss()
        self.model = created(job)
        parameters = self.model.parameters()
        self._optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)

    def step(self, number: int) -> torch.Tensor:
        """Make a step on its batch, and return the loss."""
        batch = self._batches[number]
        loss = self._loss_of(self.model(self._images[batch]), self._labels[batch])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss


def _prepare_training(job: Network) -> Measure:
    def measure(steps: int = job.calls) -> dict[str, Any]:
        training = Training(job)
        if job.zoo:  # the first step makes gradients and momenta, which weighs much among few steps
            training.step(0)
        started = time.perf_counter()
        for number in range(steps):
            loss = training.step(number)
        seconds = (time.perf_counter() - started) / steps
        return {"seconds": seconds, "loss": loss.item(), "same": [count(training.model)]}

    measure(steps=1)
    return measure
