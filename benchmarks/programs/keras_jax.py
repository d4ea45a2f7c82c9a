"""Keras 3 on its JAX backend, compiled, with `fit` and `evaluate` on NumPy arrays.

`steps_per_execution` is 50; on this backend it is a loop in Python, and 1, 10 and 50 take 4.8, 4.8 and 4.7 s of one
core for 200 steps. Evaluation is fastest in batches of 250 to 1,000: 1.4 s of one core for 10,000 images; 1.7 of 2,000.
Evaluations between the steps are `fit`'s own: an epoch of Keras is then 50 steps, and validation follows it, so that as
many evaluations of as many images come after the steps 49, 99, … and not 0, 50, ….
"""

import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import jax
import keras
from keras import layers

from benchmarks.jobs import Job
from benchmarks.worker import Data, Measure, answer, log_row

STEPS_PER_EXECUTION = 50
EVALUATION_BATCH = 500


def drawn(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """Return the initializers of a layer: uniform in ±1/√fan_in, as every program here draws its parameters."""
    bound = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-bound, bound),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


def create(job: Job, steps_per_execution: int = STEPS_PER_EXECUTION) -> keras.Model:
    """Return the paper's CNN, its filters multiplied, compiled; with accuracy as a metric where a job evaluates."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((28, 28, 1))])
    channels = 1
    for filters in (16 * job.width, 32 * job.width):
        model.add(layers.Conv2D(filters, 5, padding="same", activation="relu", **drawn(25 * channels)))
        model.add(layers.MaxPooling2D())
        channels = filters
    model.add(layers.Flatten())
    model.add(layers.Dense(10, **drawn(1568 * job.width)))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"] if job.evaluate_every or job.task == "evaluate" else [],
        jit_compile=True,
        steps_per_execution=steps_per_execution,
    )
    return model


def as_floats(data: Data) -> Data:
    """Return the data with images in [0, 1]."""
    return data._replace(
        train_images=data.train_images.astype("float32") / 255, test_images=data.test_images.astype("float32") / 255
    )


def fit(model: keras.Model, data: Data, job: Job, folder: Path | None = None) -> float | None:
    """Make a job's steps, log its rows in the folder, and return the accuracy of the last evaluation."""
    every = min(job.evaluate_every, job.steps)
    seen = job.steps * job.batch_size
    validation = data.test_images[: job.evaluated], data.test_labels[: job.evaluated]

    def log(epoch: int, logs: dict[str, float]) -> None:
        if folder is not None:
            log_row(folder, (epoch + 1) * every - 1, logs["loss"], logs.get("val_accuracy"))

    history = model.fit(
        data.train_images[:seen],
        data.train_labels[:seen],
        batch_size=job.batch_size,
        epochs=job.steps // every if every else 1,
        steps_per_epoch=every or None,
        validation_data=validation if every and job.evaluated else None,
        validation_batch_size=EVALUATION_BATCH,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=log)] if every else [],
        verbose=0,
    ).history
    return history["val_accuracy"][-1] if "val_accuracy" in history else None


def prepare(data: Data, job: Job, steps_per_execution: int = STEPS_PER_EXECUTION) -> Measure:
    """Compile and return what does a job."""
    data = as_floats(data)
    model = create(job, steps_per_execution)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    first = [keras.ops.convert_to_numpy(variable) for variable in variables]

    def measure(job: Job = job) -> dict[str, float | None]:
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        started = time.perf_counter()
        if job.task == "evaluate":
            _, accuracy = model.evaluate(data.test_images, data.test_labels, batch_size=EVALUATION_BATCH, verbose=0)
            return {"seconds": time.perf_counter() - started, "accuracy": accuracy}
        accuracy = fit(model, data, job)
        jax.block_until_ready([variable.value for variable in model.trainable_variables])
        seconds = time.perf_counter() - started
        if accuracy is None:
            logits = model.predict(data.test_images[:EVALUATION_BATCH], batch_size=EVALUATION_BATCH, verbose=0)
            accuracy = float((logits.argmax(-1) == data.test_labels[:EVALUATION_BATCH]).mean())
        return {"seconds": seconds, "accuracy": accuracy}

    measure(job._replace(steps=min(job.steps, 5)))
    return measure


def run(file: str, folder: Path, job: Job) -> None:
    """Train as a whole process does."""
    model = create(job)
    fit(model, as_floats(Data.load(file)), job, folder)
    model.save(folder / "model.keras")


if __name__ == "__main__":
    answer(f"Keras {keras.__version__} on jax {jax.__version__}", {Job: prepare}, run)
