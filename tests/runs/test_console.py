"""What a run prints of any task: a table of which a terminal has room, and lines that begin in one column."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from flaxcnn import config
from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.table import Columns, LoggedRow
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.tasks import create_task

CLASSES, LABELS, NUMBERS = (config.Task(name=name) for name in ("classification", "multilabel", "regression"))
BOTH = config.Task(name="several", heads=("amount=regression", "kind=classification"))


def printed(use):
    """What a console prints that `use` is called with, in lines."""
    file = io.StringIO()
    use(RunConsole(Console(file=file, highlight=False, soft_wrap=True)))
    return file.getvalue().splitlines()


def ended(task, **more):
    """The lines at the end of a run, each test metric 0.5 with an interval of 0.25 to 0.75."""
    reported = dict.fromkeys((*task.reported, *task.logged))
    main = task.logged[0]
    summary = {
        "stopped_early": False,
        "weights_step": 10,
        "steps": 10,
        "test_examples": 2000,
        "test_loss": 0.125,
        **{f"test_{name}": 0.5 for name in reported},
        **{f"test_{name}_interval_95": [0.25, 0.75] for name in reported},
        **{f"test_{name}_first_100": 0.375 for name in task.logged},
        f"train_{main}": 0.625,
        "train_examples": 1500,
        "generalization_gap": 0.0625,
        "total_seconds": 9.0,
        "train_seconds": 4.0,
        "eval_seconds": 2.0,
        "compile_seconds": 1.0,
        **more,
    }
    return printed(lambda console: console.finished(summary, task, 100, Path("runs/a")))


def table(task, **columns):
    """The lines of a table with one row in which every metric is 0.5."""
    shown = Columns(task.logged, **columns)
    measured = {f"{kind}_{name}": 0.5 for kind in ("test", "validation") for name in (*task.logged, "loss")}
    row = LoggedRow(50, 0, 1.5, measured, 0.001, 1.0, 0.01, 100.0)

    def use(console):
        with console.training(100, shown):
            console.logged(1, row)

    return printed(use)[1:]


def test_a_classifier_ends_as_the_readme_shows():
    more = {"validation_accuracy": 0.6, "validation_examples": 300, "weights_step": 6}
    assert ended(create_task(CLASSES), **more) == [
        "",
        "weights        of step 6, the best one",
        "test accuracy  0.5000 on all 2,000, each exactly once (95 % interval 0.2500 to 0.7500)",
        "               0.3750 on the first 100",
        "validation     0.6000 on 300 images never trained on",
        "training       0.6250 on the first 1,500: generalization gap 0.0625",
        "test loss      0.1250",
        "time           9.0 s: steps 4.0, evaluation 2.0, compilation 1.0",
        "folder         runs/a",
    ]


@pytest.mark.parametrize("task", [LABELS, NUMBERS, BOTH], ids=lambda task: task.name)
def test_the_end_of_every_task_is_aligned_and_names_what_is_measured(task):
    task = create_task(task)
    main = task.logged[0]
    lines = ended(task, **{f"validation_{main}": 0.6, "validation_examples": 300})[1:]
    heads = ["test " + name for name in task.reported] + [f"validation {main}", f"training {main}"]
    heads = [head.replace("_", " ") for head in (*heads, "test loss", "time", "folder")]
    column = max(map(len, heads)) + 1
    begun = [line[:column].rstrip() for line in lines]
    assert [head for head in begun if head] == heads
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.0000"), (1234.5, "1234.5000"), (1.45e14, "1.45e+14"), (0.000123456, "0.0001235"), (-2.5, "-2.5000")],
)
def test_a_number_of_any_size_is_readable(value, shown):
    (line,) = [line for line in ended(create_task(NUMBERS), test_rmse=value) if line.startswith("test rmse")]
    assert line.split()[2] == shown


def test_a_metric_that_is_not_defined_says_so():
    (line,) = [
        line
        for line in ended(create_task(NUMBERS), test_r2=None, test_r2_interval_95=None)
        if line.startswith("test r2")
    ]
    assert line.split(maxsplit=2)[2] == "not defined on all 2,000, each exactly once"


def test_the_table_of_a_classifier_has_one_line_of_headings_and_all_columns():
    head, row = table(create_task(CLASSES), published=[PublishedRow(50, 2.5, 0.75)], validated=True)
    words = "train loss  validation loss  validation accuracy  test accuracy  paper's loss  paper's accuracy"
    assert head == f"   row    step  {words}"
    assert row.split() == ["1", "50", "1.5000", "0.5000", "0.5000", "0.5000", "2.5000", "0.75"]


def test_several_heads_show_the_first_metric_of_each():
    *head, row = table(create_task(BOTH), validated=True)
    assert head == [
        "                 train  validation  validation     validation       test           test",
        "   row    step    loss        loss   amount r2  kind accuracy  amount r2  kind accuracy",
    ]
    assert row == "     1      50  1.5000      0.5000      0.5000         0.5000     0.5000         0.5000"


@pytest.mark.parametrize("task", [LABELS, NUMBERS, BOTH], ids=lambda task: task.name)
@pytest.mark.parametrize("columns", [{}, {"validated": True}, {"tested": False, "validated": True}])
def test_a_table_of_many_metrics_fits_a_terminal_and_is_aligned(task, columns):
    lines = table(create_task(task), **columns)
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 100


def test_metrics_that_have_no_room_leave_in_pairs():
    columns, heads = Columns(("aa", "bb", "c" * 40), validated=True).fitting(100)
    assert (columns.logged, columns.validated, len(heads)) == (("aa", "bb"), True, 1)
    assert columns.headings() == heads[0]
