"""One trial as a process of its own, as a user of Optuna would start it: the library's program, no pictures, no files.

    python -m benchmarks.programs.one_trial LEARNING_RATE STEPS

Prints the validation accuracy.
"""

import dataclasses
import sys

from flaxcnn.compilation_cache import use_compilation_cache
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.setup import set_up
from flaxcnn.training.loop import BlockRunner


def main() -> None:
    """Train and print."""
    from benchmarks.sweeps import EXPERIMENT

    use_compilation_cache()
    rate, steps = float(sys.argv[1]), int(sys.argv[2])
    experiment = dataclasses.replace(
        EXPERIMENT,
        optimizer=dataclasses.replace(EXPERIMENT.optimizer, learning_rate=rate),
        training=dataclasses.replace(EXPERIMENT.training, steps=steps),
    )
    setup = set_up(experiment)
    state = setup.first_state()
    runner = BlockRunner(state, setup.calendar, setup.batch_source(), setup.layout)
    evaluator = Evaluator(setup, setup.model, state.variables)
    step, accuracy = 0, None
    while step < setup.calendar.total_steps:
        block = runner.run(state, step)
        state, step = block.state, step + len(block.losses)
        if setup.calendar.logged(step - 1) or step == setup.calendar.total_steps:
            accuracy = evaluator.finish_row(evaluator.start_row(state.variables))["validation_accuracy"]
    print(accuracy)


if __name__ == "__main__":
    main()
