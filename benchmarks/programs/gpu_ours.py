"""This library's steps on the default device, as `flaxcnn train` runs them: blocks on data that lies on the device."""

import time

import jax

import flaxcnn
from benchmarks.gpu_job import CLASSES, GpuJob, Prepared, answer
from benchmarks.jobs import Job
from benchmarks.programs import ours
from benchmarks.programs.resnet import ResNet
from benchmarks.worker import Data
from flaxcnn.training import TrainState
from flaxcnn.training.batches import ResidentSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import single_device
from flaxcnn.training.loop import BlockRunner


def peak_bytes() -> int | None:
    """Return the most bytes that the device held; None where it does not count them."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def prepare(job: GpuJob) -> Prepared:
    """Compile, and return what makes the steps."""
    if not job.stages:
        measure = ours.prepare(Data.load(job.file), Job("train", job.steps, job.batch_size))
        return Prepared(lambda: measure()["seconds"], peak_bytes)
    images, labels = job.images()
    layout = single_device()
    calendar = StepCalendar.of(
        len(images), batch_size=job.batch_size, epochs=1, steps=None, log_every=10**9, save_every=10**9
    )
    source = ResidentSource(flaxcnn.Split(images, labels), calendar, 0, layout)
    model = ResNet(job.stages, job.bottleneck, CLASSES)

    def fresh() -> TrainState:
        return flaxcnn.create_state(model, flaxcnn.sgd(0.1, 0.9), images.shape[1:], seed=0)

    runner = BlockRunner(fresh(), calendar, source, layout)

    def steps() -> float:
        state = jax.block_until_ready(fresh())
        started, step = time.perf_counter(), 0
        while step < job.steps:
            block = runner.start(state, step)
            state, step = block.state, block.end
            runner.finish(block)
        jax.block_until_ready(state.params)
        return time.perf_counter() - started

    return Prepared(steps, peak_bytes)


if __name__ == "__main__":
    answer(f"flaxcnn {flaxcnn.__version__} on jax {jax.__version__}", jax.devices()[0].device_kind, prepare)
