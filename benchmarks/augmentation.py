"""Times a training step of the paper's model with augmentations, as a multiple of one without, on CPU.

    python -m benchmarks.augmentation [--rounds N] [--steps N] [--check]

All variants live in one process and take turns, block of steps by block of steps. Within a round they are compared with
the plain step of that round, so that a machine that grows slower meanwhile is slower for both.
"""

import argparse
import os
import statistics
import sys

BATCH_SIZE = 50
BATCHES = 40  # in an epoch: enough that no image stays in a core's nearest cache
TARGET = 1.25  # of the plain step's time, at most, for shift, rotation, scale and shear together

PLAIN = "no augmentation"
AFFINE = "shift + rotate + scale + shear"


def variants():
    """Return what is timed: the augmentations of each row of the report."""
    from flaxcnn.layers.augmentation import (
        Cutout,
        Elastic,
        RandomCrop,
        RandomFlip,
        RandomRotation,
        RandomScale,
        RandomShear,
        RandomShift,
    )

    alone = {
        "shift": RandomShift(2.0),
        "rotate": RandomRotation(15.0),
        "scale": RandomScale(0.15),
        "shear": RandomShear(10.0),
        "elastic": Elastic(1.4, smoothness=4.0),
        "flip": RandomFlip(0.5),
        "crop": RandomCrop(2),
        "cutout": Cutout(8.0),
    }
    affine = (alone["shift"], alone["rotate"], alone["scale"], alone["shear"])
    return {
        PLAIN: (),
        **{name: (augmentation,) for name, augmentation in alone.items()},
        AFFINE: affine,
        f"{AFFINE} + elastic": (*affine, alone["elastic"]),
        f"elastic + {AFFINE}": (alone["elastic"], *affine),
    }


def measure(rounds: int, steps: int) -> dict[str, list[float]]:
    """Return each variant's seconds per step, one number a round."""
    from flaxcnn.data import Split, load
    from flaxcnn.models import create
    from flaxcnn.training import adam, create_state
    from flaxcnn.training.batches import ResidentSource
    from flaxcnn.training.calendar import StepCalendar
    from flaxcnn.training.device_layout import single_device
    from flaxcnn.training.loop import BlockRunner

    train = load("mnist").train
    examples = BATCH_SIZE * BATCHES
    split = Split(train.images[:examples], train.targets[:examples])
    calendar = StepCalendar(examples, BATCH_SIZE, total_steps=10**9, log_every=10**9, save_every=10**9)
    batch_source = ResidentSource(split, calendar, 0, single_device())
    runners, states, done, seconds = {}, {}, {}, {}
    for name, augmentations in variants().items():
        states[name] = create_state(create("paper_cnn", classes=10), adam(1e-3), (28, 28, 1), 0, augmentations)
        runners[name], done[name], seconds[name] = BlockRunner(states[name], calendar, batch_source), 0, []

    def take(name: str) -> float:
        """Return what a step took, over `steps` of them in as many blocks as the runner makes of them."""
        end, total = done[name] + steps, 0.0
        while done[name] < end:
            block = runners[name].run(states[name], done[name], most=end - done[name])
            states[name], total = block.state, total + block.seconds
            done[name] += len(block.losses)
        return total / steps

    for name in runners:
        take(name)  # the first run is slower
    for _ in range(rounds):
        for name in runners:
            seconds[name].append(take(name))
    return seconds


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=30, help="blocks of each variant (default 30)")
    parser.add_argument("--steps", type=int, default=20, help="steps in a block (default 20)")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the target is missed")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
    seconds = measure(options.rounds, options.steps)
    plain = seconds[PLAIN]
    medians = {}
    print(f"A step on {BATCH_SIZE} images; ratios to the plain step of the same round, median and quartiles.")
    for name, mine in seconds.items():
        ratios = [one / other for one, other in zip(mine, plain, strict=True)]
        low, medians[name], high = statistics.quantiles(ratios, n=4)
        print(f"{name:42}{statistics.median(mine) * 1e3:7.2f} ms{medians[name]:8.3f}  ({low:.3f} to {high:.3f})")
    met = medians[AFFINE] <= TARGET
    print(f"{'PASS' if met else 'FAIL'}: {AFFINE} takes {medians[AFFINE]:.3f}; at most {TARGET} is the target.")
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
