"""The devices never wait for the host, but where what was computed decides about what comes next."""

import dataclasses
import itertools

import pytest

from flaxcnn.config import Checkpoint, Data, Experiment, Logging, Training
from flaxcnn.evaluation.table import Columns
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.running import Training as Running
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.steps import run_steps
from flaxcnn.training.loop import BlockRunner


class Recorded(BlockRunner):
    """A runner that writes down what it is asked for."""

    def start(self, state, step, most=256):
        started = super().start(state, step, most)
        self.events.append(("start", step))
        return started

    def finish(self, started):
        self.events.append(("finish", started.first))
        return super().finish(started)


def run(small_mnist, *, stop_after=None, **sections):
    experiment = Experiment(
        data=sections.pop("data", Data(f"idx:{small_mnist}")),
        training=Training(epochs=3, batch_size=50),
        logging=Logging(every=7, test_examples=100),
        checkpoint=sections.pop("checkpoint", Checkpoint(every=25)),
    )
    setup = set_up(dataclasses.replace(experiment, **sections))
    training, events = Running(setup, setup.first_state()), []
    runner = Recorded(
        training.state, setup.calendar, setup.batch_source(), wants_stop=lambda: len(events) > (stop_after or 10_000)
    )
    runner.events = events
    evaluator = Evaluator(setup, setup.model, training.state.variables)

    def save():
        events.append(("save", training.step))
        assert int(training.state.step) == training.step  # the state is there to be read

    console = RunConsole(speaks=False)
    with console.training(setup.calendar.total_steps, Columns(setup.task.logged)):
        run_steps(
            training,
            runner,
            evaluator,
            log=lambda row: events.append(("log", row.step)),
            save=save,
            console=console,
        )
    return events, training, setup


def test_the_next_block_is_started_before_the_numbers_of_the_last_one_are_read(small_mnist):
    events, training, setup = run(small_mnist)
    assert training.step == setup.calendar.total_steps == 60
    starts = [step for event, step in events if event == "start"]
    assert [step for event, step in events if event == "finish"] == starts
    for this, following in itertools.pairwise(starts):
        ahead = events.index(("start", following)) < events.index(("finish", this))
        assert ahead == (not setup.calendar.saved(following)), f"block from {this} to {following}"
    assert [step for event, step in events if event == "save"] == [25, 50, 60]
    assert [step for event, step in events if event == "log"] == list(range(0, 60, 7))


def test_where_a_row_decides_nothing_is_started_before_it_is_known(small_mnist):
    events, training, _ = run(
        small_mnist,
        data=Data(f"idx:{small_mnist}", validation=0.1),
        checkpoint=Checkpoint(every=1000, keep_best="validation_loss"),
    )
    for position, (event, step) in enumerate(events):
        if event == "log" and step + 1 < training.step:
            assert ("start", step + 1) in events[position:]


@pytest.mark.parametrize("after", [2, 3, 8, 9, 10])
def test_a_stop_ends_with_a_saved_state_and_at_most_one_more_block(small_mnist, after):
    events, training, _ = run(small_mnist, stop_after=after)
    assert len([event for event, _ in events[after + 1 :] if event == "start"]) <= 1
    assert events[-1] == ("save", training.step)
    assert 0 < training.step < 60


def test_what_is_done_meanwhile_has_the_predictions_and_its_error_goes_through(small_mnist):
    setup = set_up(Experiment(data=Data(f"idx:{small_mnist}"), training=Training(batch_size=50)))
    variables, seen = setup.first_state().variables, []
    evaluator = Evaluator(setup, setup.model, variables)
    numbers, _, predictions, _ = evaluator.final_numbers(variables, meanwhile=seen.append)
    assert seen == [predictions]
    assert numbers == evaluator.final_numbers(variables)[0]

    def full(predictions):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        evaluator.final_numbers(variables, meanwhile=full)
