"""Times a training step of the paper's model with augmentations, as a multiple of one without, on CPU.

    python -m benchmarks.augmentation [--rounds N] [--steps N] [--check]
    python -m benchmarks.augmentation --photographs [--rounds N]

All variants live in one process and take turns, block of steps by block of steps. Within a round they are compared with
the plain step of that round, so that a machine that grows slower meanwhile is slower for both.

With --photographs, each augmentation is timed by itself, on a batch of colour images.
"""

import argparse
import functools
import os
import statistics
import sys
import time

BATCH_SIZE = 50
BATCHES = 40  # in an epoch: enough that no image stays in a core's nearest cache
TARGET = 1.25  # of the plain step's time, at most, for shift, rotation, scale and shear together

PHOTOGRAPHS = (32, 128, 128, 3)

PLAIN = "no augmentation"
AFFINE = "shift + rotate + scale + shear"


def alone():
    """Return every augmentation of single images, by name, with usual strengths."""
    from flaxcnn.layers import augmentation as layers

    return {
        "shift": layers.RandomShift(2.0),
        "rotate": layers.RandomRotation(15.0),
        "scale": layers.RandomScale(0.15),
        "shear": layers.RandomShear(10.0),
        "elastic": layers.Elastic(1.4, smoothness=4.0),
        "flip": layers.RandomFlip(0.5),
        "crop": layers.RandomCrop(2),
        "resized crop": layers.RandomResizedCrop(0.3, 4 / 3),
        "RandAugment": layers.RandAugment(2, 9.0),
        "TrivialAugment": layers.TrivialAugment(),
        "AugMix": layers.AugMix(3.0),
        "jitter of brightness and contrast": layers.ColorJitter(0.4, 0.4),
        "jitter of all four": layers.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "gray": layers.RandomGray(0.2),
        "blur": layers.GaussianBlur(0.5, 2.0),
        "cutout": layers.Cutout(8.0),
        "erasing": layers.RandomErasing(0.25),
    }


def mixtures():
    """Return every augmentation that mixes pairs of images, by name."""
    from flaxcnn.layers import augmentation as layers

    return {"MixUp": layers.MixUp(0.2), "CutMix": layers.CutMix(1.0)}


def variants():
    """Return what a step is timed with: the augmentations and the mixture of each row of the report."""
    single = alone()
    for name in ("jitter of all four", "gray"):  # which leave digits as they are
        del single[name]
    affine = (single["shift"], single["rotate"], single["scale"], single["shear"])
    return {
        PLAIN: ((), None),
        **{name: ((augmentation,), None) for name, augmentation in single.items()},
        **{name: ((), mixture) for name, mixture in mixtures().items()},
        AFFINE: (affine, None),
        f"{AFFINE} + elastic": ((*affine, single["elastic"]), None),
        f"elastic + {AFFINE}": ((single["elastic"], *affine), None),
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
    for name, (augmentations, mixture) in variants().items():
        states[name] = create_state(
            create("paper_cnn", classes=10), adam(1e-3), (28, 28, 1), 0, augmentations, mixup=mixture
        )
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


def measure_photographs(rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each augmentation takes for a batch of colour images, one number a round."""
    import jax
    import numpy as np

    from flaxcnn.layers.augmentation import augment, mix

    images = jax.numpy.asarray(np.random.default_rng(0).random(PHOTOGRAPHS, np.float32))
    programs = {name: jax.jit(functools.partial(augment, (each,))) for name, each in alone().items()}
    programs |= {name: jax.jit(functools.partial(mix, each)) for name, each in mixtures().items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for place in range(-1, rounds):  # the first compiles
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(jax.random.key(max(place, 0)), images))
            if place >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=30, help="blocks of each variant (default 30)")
    parser.add_argument("--steps", type=int, default=20, help="steps in a block (default 20)")
    parser.add_argument("--photographs", action="store_true", help="time each by itself, on colour images")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the target is missed")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
    if options.photographs:
        print(f"A batch of {'×'.join(map(str, PHOTOGRAPHS))}; median and quartiles.")
        for name, mine in measure_photographs(options.rounds).items():
            low, median, high = (1e3 * each for each in statistics.quantiles(mine, n=4))
            print(f"{name:42}{median:7.1f} ms  ({low:.1f} to {high:.1f})")
        return 0
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
