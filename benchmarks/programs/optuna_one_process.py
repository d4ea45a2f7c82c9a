"""Optuna with its own pruner, in one process that keeps its compiled step: what a user writes without this library.

    python -m benchmarks.programs.optuna_one_process PRUNER TRIALS STEPS

PRUNER is none, median or hyperband. The step is plain JAX, Flax and Optax. The learning rate is a value in it, so all
trials share it. The images lie on the device, and the study is in memory. Prints one line of JSON.
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optuna

from benchmarks.programs.naive_flax import CNN
from flaxcnn.compilation_cache import use_compilation_cache
from flaxcnn.data import epoch_order, load, split_validation

BATCH = 50
EVALUATION_BATCH = 500
REDUCTION, RUNGS = 3, 3  # the rungs of `flaxcnn.sweeps.ASHA()`: 1/9, 1/3 and all of the steps
MODEL = CNN()
OPTIMIZER = optax.inject_hyperparams(optax.adam)(learning_rate=0.0)
PRUNERS = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    # A report is numbered by the share of the steps: 1, 3 and 9 ninths.
    "hyperband": lambda: optuna.pruners.HyperbandPruner(1, REDUCTION ** (RUNGS - 1), REDUCTION),
}


def logits_of(params: Any, images_u8: jax.Array) -> jax.Array:
    """Return the logits (B, 10) of images (B, 28, 28, 1)."""
    return MODEL.apply({"params": params}, images_u8.astype(jnp.float32) / 255)


@jax.jit
def train_step(params, opt_state, rate, images_u8, labels, batch):
    def loss_of(params):
        loss = optax.softmax_cross_entropy_with_integer_labels(logits_of(params, images_u8[batch]), labels[batch])
        return loss.mean()

    opt_state.hyperparams["learning_rate"] = rate
    updates, opt_state = OPTIMIZER.update(jax.grad(loss_of)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


@jax.jit
def eval_step(params, images_u8, labels):
    return (logits_of(params, images_u8).argmax(-1) == labels).sum()


def main() -> None:
    """Search, and print the best value, the steps trained, and how often the step was compiled."""
    pruner, trials, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    use_compilation_cache()
    from benchmarks.sweeps import EXPERIMENT, SPACE

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    train, validation = split_validation(load("mnist").train, EXPERIMENT.data.validation)
    images, labels = jax.device_put((train.images, train.targets))
    held_out, answers = jax.device_put((validation.images, validation.targets))
    parts = [slice(start, start + EVALUATION_BATCH) for start in range(0, len(validation), EVALUATION_BATCH)]
    batches = epoch_order(0, 0, len(train))[: steps * BATCH].reshape(steps, BATCH)
    first = MODEL.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    rungs = range(RUNGS if pruner != "none" else 1)  # counted from the last one, which ends with the training
    ends = {max(1, round(steps / REDUCTION**rung)): REDUCTION ** (RUNGS - 1 - rung) for rung in rungs}
    trained = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal trained
        domain = SPACE["optimizer.learning_rate"]
        rate = jnp.float32(trial.suggest_float("learning_rate", domain.low, domain.high, log=domain.log))
        params, opt_state, accuracy = first, OPTIMIZER.init(first), 0.0
        for step, batch in enumerate(batches, start=1):
            params, opt_state = train_step(params, opt_state, rate, images, labels, batch)
            trained += 1
            if step not in ends:
                continue
            right = [eval_step(params, held_out[part], answers[part]) for part in parts]
            accuracy = sum(map(int, right)) / len(validation)
            trial.report(accuracy, ends[step])
            if step < steps and trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    rates = [float(rate) for rate in SPACE["optimizer.learning_rate"].spread(trials)]
    sampler = optuna.samplers.GridSampler({"learning_rate": rates}, seed=0)
    # Hyperband draws a trial's bracket from the study's name.
    study = optuna.create_study(study_name="rates", direction="maximize", sampler=sampler, pruner=PRUNERS[pruner]())
    study.optimize(objective, n_trials=trials)
    print(json.dumps({"best": study.best_value, "trained": trained, "programs": train_step._cache_size()}))


if __name__ == "__main__":
    main()
