"""A task and data that flaxcnn does not know: trained, killed and resumed, evaluated, compared, searched and drawn."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from flaxcnn.cli import main
from flaxcnn.cli.overrides import DataOverride, TaskOverride, named_again
from flaxcnn.config import Data, Experiment, ExperimentFile, Task
from flaxcnn.data import Loader, epoch_order, load, load_idx_folder
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.predictions import load_predictions
from flaxcnn.files.user_code import load_outside
from flaxcnn.runs.folder.record import read_config, write_config
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import set_up
from flaxcnn.tasks import TASKS, Predicted, create_task
from tests.many_processes import held_port
from tests.outside.ordinal import Ordinal
from tests.own_models import write_own_models
from tests.pages import require_alone
from tests.runs.test_faults import Started, ended_well, same_bits, summary
from tests.sweeps.sweep_command import rows, start

HERE = Path(__file__).parent
TASK, ARRAYS = ("--task", "ordinal.py:Ordinal"), ("--data", "sources.py:arrays")
MODEL = ("--model", "own_linen.py:Plain")
RANDOM_ACCESS = ("--data", "sources.py:random_access")
SHORT = ("--training.steps", "20", "--optimizer.learning_rate", "3e-3", "--logging.test_examples", "0")


def write_own(folder, small_mnist):
    """Write the files of the task, the data and the models, and return the folder."""
    for name in ("ordinal.py", "sources.py"):
        shutil.copy(HERE / name, folder)
    write_own_models(folder)
    data = load_idx_folder(small_mnist)
    arrays = {
        f"{name}_{part}": array
        for name, split in (("train", data.train), ("test", data.test))
        for part, array in (("images", split.images), ("labels", split.targets))
    }
    np.savez(folder / "images.npz", **arrays)
    return folder


@pytest.fixture
def folder(small_mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(write_own(tmp_path, small_mnist))
    return tmp_path


@pytest.fixture(scope="module")
def trained(small_mnist, commands, tmp_path_factory):
    """A folder with the files, and a run with the task, the data and a model that ended."""
    folder = write_own(tmp_path_factory.mktemp("outside"), small_mnist)
    done = commands.run(["train", *TASK, *ARRAYS, *MODEL, *SHORT, "--out", "run"], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "copied"))
    return tmp_path / "copied"


def read_recorded(run):
    return json.loads((run / "config.json").read_text())


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return caught.value


# --- what it measures


@pytest.mark.parametrize("seed", range(3))
def test_its_metrics_are_scikit_learns_for_examples_and_for_resamples(seed):
    random = np.random.default_rng(seed)
    true_N = random.integers(0, 5, 80).astype(np.int32)
    logits_NxL = random.normal(size=(80, 4)).astype(np.float32) + 1.5 * (true_N[:, None] > np.arange(4))
    said_N = (logits_NxL > 0).sum(-1)
    counts_BxN = np.stack([np.ones(80, int), *random.multinomial(80, np.full(80, 1 / 80), 3)])
    found = Ordinal().scores(Predicted(true_N, {"cumulative_logits": logits_NxL}, {})).measure(counts_BxN)
    for row, counts_N in enumerate(counts_BxN):
        true, said = np.repeat(true_N, counts_N), np.repeat(said_N, counts_N)
        assert found["kappa"][row] == pytest.approx(cohen_kappa_score(true, said, weights="quadratic"), abs=1e-12)
        assert found["accuracy"][row] == pytest.approx(accuracy_score(true, said))
        assert found["class_error"][row] == pytest.approx(mean_absolute_error(true, said))


def test_its_loss_is_the_sum_of_the_links_cross_entropies():
    logits, classes = np.asarray([[0.0, np.log(3.0)]], np.float32), np.asarray([1], np.int32)
    # Above 0 with probability 1/2, and not above 1 with probability 1 - 3/4.
    assert float(Ordinal().losses(None, {}, logits, classes)[0]) == pytest.approx(np.log(2) + np.log(4), rel=1e-6)


def test_a_run_of_it_is_summed_up_with_intervals_and_drawn(trained):
    numbers, saved = summary(trained / "run"), load_predictions(trained / "run" / "predictions.npz")
    said = (saved.predictions["cumulative_logits"] > 0).sum(-1)
    assert numbers["test_kappa"] == pytest.approx(cohen_kappa_score(saved.targets, said, weights="quadratic"))
    assert numbers["test_class_error"] == pytest.approx(mean_absolute_error(saved.targets, said))
    for name in ("kappa", "class_error", "accuracy"):
        low, high = numbers[f"test_{name}_interval_95"]
        assert low < numbers[f"test_{name}"] < high
    assert (trained / "run" / "ordinal.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((trained / "run" / "test_metrics.json").read_text())
    assert report["kappa"] == numbers["test_kappa"]


@pytest.mark.slow
def test_a_report_of_it_lacks_what_is_not_named_again(copied, capsys):
    assert main(["report", "run", *TASK]) == 0
    said = capsys.readouterr().err
    assert "The model is not there" in said
    assert "The data are not there" in said
    parsed = require_alone((copied / "run" / "report.html").read_bytes())
    assert {"kappa", "class error"} <= set(parsed.of("th"))
    assert "Filters of the first layer" not in parsed.of("h2")
    assert main(["report", "run", *TASK, *ARRAYS, *MODEL]) == 0
    assert capsys.readouterr().err == ""
    parsed = require_alone((copied / "run" / "report.html").read_bytes())
    assert {"Filters of the first layer", "Map of the last features"} <= set(parsed.of("h2"))
    (commands,) = parsed.of("pre")
    evaluate = shlex.split(commands.splitlines()[1])
    assert evaluate[:3] == ["flaxcnn", "evaluate", "run"]
    assert {"ordinal.py:Ordinal", "sources.py:arrays", "own_linen.py:Plain"} < set(evaluate)


def test_no_line_of_the_library_knows_it():
    package = HERE.parents[1] / "flaxcnn"
    assert not [path for path in package.rglob("*.py") if "kappa" in path.read_text(encoding="utf-8").lower()]
    assert "ordinal" not in TASKS


# --- commands


def test_its_runs_are_evaluated_and_compared_where_the_files_are_named_again(copied, capsys):
    assert main(["evaluate", "run", *TASK, *ARRAYS, *MODEL]) == 0
    assert "kappa" in capsys.readouterr().out
    assert main(["compare", "run", "run", *TASK]) == 0
    assert "kappa" in capsys.readouterr().out
    assert main(["resume", "run", *TASK, *ARRAYS, *MODEL]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["resume", "run"],
        ["evaluate", "run"],
        ["compare", "run", "run"],
        ["replay", "run/crash"],
        ["train", *SHORT, "--out", "run"],
        ["train", *SHORT, "--batch_size", "auto", "--out", "run"],
        ["lr-find", "run"],
        ["sweep", "run"],
        ["reproduce", "run"],
        ["data", "run"],
        ["report", "run"],
    ],
    ids=" ".join,
)
def test_no_command_imports_code_because_a_run_says_so(words, copied, small_mnist, capsys):
    for name in ("ordinal.py", "sources.py", "own_linen.py"):
        (copied / name).write_text("from pathlib import Path\nPath('marker').touch()\n")
    (copied / "run" / "crash").mkdir()
    shutil.copy(copied / "run" / "config.json", copied / "run" / "crash")
    step = {"step": 0, "epoch": 0, "loss": "nan", "examples": []}
    (copied / "run" / "crash" / "step.json").write_text(json.dumps(step))
    if words[0] == "train":
        words = [*words, "--data", f"idx:{small_mnist}"]
    assert main(words) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    if words[0] not in ("lr-find", "sweep", "reproduce", "data"):  # of which none takes a run's folder
        assert "--task.name ordinal.py:Ordinal" in printed[0]
    assert not (copied / "marker").exists()


def test_the_files_named_again_are_compared_with_the_recorded_digests(copied):
    run = RunFolder(copied / "run")
    named = {"task.name": TASK[1], "data.source": ARRAYS[1], "model.name": MODEL[1]}
    digests = {field: load_outside(name, field).digest for field, name in named.items()}
    assert read_recorded(run.path)["code"] == digests
    read_config(run, named)
    (copied / "moved").mkdir()
    (copied / "ordinal.py").rename(copied / "moved" / "other.py")
    moved = {**named, "task.name": "moved/other.py:Ordinal"}
    assert read_config(run, moved).file.experiment.task.name == "moved/other.py:Ordinal"
    for field, other in (("task.name", "classification"), ("data.source", "mnist")):
        assert refused(ConfigError, read_config, run, {**moved, field: other}).found == other
    file = copied / "sources.py"
    file.write_text(file.read_text() + "# changed\n")
    error = refused(ConfigError, read_config, run, moved)
    assert (error.where, error.expected) == (file.relative_to(copied), f"SHA-256 {digests['data.source']}")
    read_config(run, moved, needs="task.")  # a command that needs no data does not look at them


def test_data_that_changed_are_refused_though_their_code_did_not(copied, capsys):
    with np.load("images.npz") as arrays:
        changed = {name: np.array(array) for name, array in arrays.items()}
    changed["test_labels"][7] = 1 - changed["test_labels"][7].clip(0, 1)
    np.savez("images.npz", **changed)
    assert main(["evaluate", "run", *TASK, *ARRAYS, *MODEL]) == 2
    assert "arrays: test/targets:" in capsys.readouterr().err


def test_a_run_of_the_librarys_task_and_data_takes_no_others(tiny_run, folder):
    for field, name, has in (
        ("task.name", TASK[1], "classification"),
        ("task.heads.age", TASK[1], "nothing"),
        ("data.source", ARRAYS[1], None),
    ):
        error = refused(ConfigError, read_config, RunFolder(tiny_run), {field: name})
        assert (error.where, error.found) == (f"--{field}", name)
        assert has is None or error.expected == has
    read_config(RunFolder(tiny_run), {"data.source": "idx:elsewhere"})  # where the data lie now


# --- interrupted


@pytest.mark.faults
@pytest.mark.parametrize(
    "own",
    [(*TASK, *ARRAYS), ARRAYS, (*RANDOM_ACCESS, "--data.device_memory", "0", "--data.workers", "1")],
    ids=["task", "arrays", "random access"],
)
def test_killed_and_resumed_it_ends_with_the_same_bits(own, commands, command_environment, folder):
    options = ("--training.epochs", "20", "--training.steps", "300", "--training.batch_size", "20", *own)
    options += ("--checkpoint.every", "7", "--logging.every", "10", "--logging.test_examples", "100")
    done = commands.run(["train", *options, "--out", "whole"], folder)
    assert done.returncode == 0, done.stderr
    train = [sys.executable, "-m", "flaxcnn", "train", *options, "--out", "run"]
    for row in (2, 9):
        started = Started(train, command_environment)
        started.wait_for(rf"^ +{row} +{row}0 ")
        started.kill()
    assert not (folder / "run" / "summary.json").exists()
    again = [word for word in own if not word.startswith("--data.")][: own.index("--data") + 2]
    printed, _ = ended_well(Started([sys.executable, "-m", "flaxcnn", "resume", "run", *again], command_environment))
    assert int(printed.split("resumes after step ")[1].split()[0]) >= 84
    same_bits(folder / "run", folder / "whole")


# --- searched


@pytest.mark.sweeps
@pytest.mark.parametrize("executor", [("vmap",), ("processes", "--workers", "2")], ids=lambda words: words[0])
def test_it_is_searched_in_this_process_and_in_others(executor, command_environment, folder):
    (folder / "search.py").write_text(
        "from flaxcnn.config import *\nfrom flaxcnn.sweeps import *\n"
        "experiment = Experiment(data=Data(source='sources.py:arrays', validation=0.1), "
        "task=Task(name='ordinal.py:Ordinal'))\n"
        "sweep = Sweep(space={'optimizer.learning_rate': Float(1e-4, 1e-2, log=True)}, trials=3, "
        "metric='validation_loss')\n"
    )
    sweep = start(command_environment, folder, "search.py", "--out", "out", "--executor", *executor)
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert [row["status"] for row in rows(folder / "out")] == ["complete"] * 3
    assert (folder / "out" / "learning_curves.png").stat().st_size > 5000
    assert set(json.loads((folder / "out" / "sweep.json").read_text())["code"]) == {TASK[1], ARRAYS[1]}
    trained = Started(
        [sys.executable, "-m", "flaxcnn", "train", "out/best.py", "--out", "best", "--training.steps", "2"],
        command_environment,
    )
    ended_well(trained)
    assert "test_kappa" in summary(folder / "best")
    # Another task in the same file is another sweep.
    (folder / "ordinal.py").write_text((folder / "ordinal.py").read_text() + "# changed\n")
    sweep = start(command_environment, folder, "search.py", "--out", "out", "--executor", *executor)
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 2
    assert "holds another sweep, by code" in errors


# --- in processes of their own


@pytest.mark.devices
def test_two_processes_train_it_together(command_environment, folder):
    words = [sys.executable, "-m", "flaxcnn", "train", *TASK, *ARRAYS, *MODEL, *SHORT, "--out", "run"]
    with held_port() as port:
        together = ("--processes.coordinator", f"127.0.0.1:{port}", "--processes.count", "2", "--processes.index")
        started = [Started([*words, *together, str(index)], command_environment) for index in range(2)]
        assert [each.end()[0] for each in started] == [0, 0]
    assert {"task.name", "model.name", "data.source"} == set(read_recorded(folder / "run")["code"])
    assert np.isfinite(summary(folder / "run")["test_kappa"])


def test_loading_workers_find_the_classes_of_the_file(folder):
    (folder / "counting.py").write_text(
        "import os\nimport sources\nfrom flaxcnn.data import from_source\n"
        "class Counting(sources.Rows):\n"
        "    def __getitem__(self, position):\n"
        "        with open('asked', 'a') as file:\n"
        "            print(os.getpid(), file=file)\n"
        "        return super().__getitem__(position)\n"
        "def make():\n"
        "    return from_source(Counting('test'), Counting('test'), in_memory=0)\n"
    )
    train = load("counting.py:make").train
    (folder / "asked").unlink()
    calendar = {"first_step": 0, "total_steps": 4, "chunk_steps": 2, "workers": 1}
    with Loader(train.images, train.targets, seed=3, batch_size=5, **calendar) as loader:
        chunks = [loader.next() for _ in range(2)]
    images = np.concatenate([chunk.images[: chunk.steps] for chunk in chunks])
    expected = load(ARRAYS[1]).test.images[epoch_order(3, 0, 300)[:20]]
    np.testing.assert_array_equal(images.reshape(expected.shape), expected)
    assert len({int(line) for line in (folder / "asked").read_text().split()} - {os.getpid()}) == 1


# --- one of several


def test_a_head_may_be_of_ones_own(folder):
    task = create_task(Task("several", heads=("age=ordinal.py:Ordinal:0.5", "weight=regression")))
    assert [(head.name, head.task.name, head.weight) for head in task.heads] == [
        ("age", "ordinal", 0.5),
        ("weight", "regression", 1.0),
    ]
    assert not task.metrics["age_class_error"].higher_is_better
    (folder / "several.py").write_text(
        "import numpy as np\nimport sources\nfrom flaxcnn.data import from_arrays\n"
        "def make():\n"
        "    rows = sources.Rows('test')\n"
        "    targets = {'age': rows.labels, 'weight': rows.labels.astype(np.float32)}\n"
        "    return from_arrays(rows.images, targets, test=np.arange(300) >= 200)\n"
    )
    heads = ("age=ordinal.py:Ordinal:0.5", "weight=regression")
    setup = set_up(Experiment(Data("several.py:make"), Task("several", heads=heads)))
    digests = {name: load_outside(name, "x").digest for name in ("several.py:make", "ordinal.py:Ordinal")}
    assert setup.code == {"data.source": digests["several.py:make"], "task.heads.age": digests["ordinal.py:Ordinal"]}
    write_config(RunFolder(folder), ExperimentFile("several", setup.experiment, ()), setup.code)
    error = refused(ConfigError, read_config, RunFolder(folder), {"data.source": "several.py:make"})
    assert (error.where, error.found) == (f"{folder / 'config.json'}: task.heads.age", "ordinal.py:Ordinal")
    named = named_again(TaskOverride(heads=("age=./ordinal.py:Ordinal",)), data=DataOverride("several.py:make"))
    again = read_config(RunFolder(folder), named).file.experiment
    assert again.task.heads == ("age=./ordinal.py:Ordinal:0.5", "weight=regression")
    other = {**named, "task.heads.age": "ordinal.py:OrdinalScores"}
    assert refused(ConfigError, read_config, RunFolder(folder), other).where == "--task.heads.age"


# --- what a task may be

BROKEN = """
from dataclasses import dataclass
import jax.numpy as jnp
from flaxcnn.tasks import Metric, Task
from ordinal import Ordinal

class NoTask: pass

class Bare(Task):
    logged = ("x",)
    def losses(self, values, constants, outputs, targets): pass

@dataclass(frozen=True)
class Needs(Ordinal):
    classes: int

class NoHash(Ordinal):
    __hash__ = None

class Unmeasured(Ordinal):
    logged = ("class_error", "rank")

class Unnamed(Ordinal):
    metrics = {"class_error": True}

class Scalar(Ordinal):
    def losses(self, *arguments):
        return super().losses(*arguments).mean()

class Summed(Ordinal):
    def statistics(self, *arguments):
        return {name: array.sum() for name, array in super().statistics(*arguments).items()}

class Silent(Ordinal):
    def measures(self, sums, examples):
        return {"accuracy": sums["correct"] / examples}

class Fails(Ordinal):
    def decode(self, constants, outputs):
        return {"said": outputs @ jnp.ones((3, 1))}

instance = Needs(classes=4)
"""


@pytest.fixture
def broken(folder):
    (folder / "broken.py").write_text(BROKEN)
    return folder


@pytest.mark.parametrize(
    ("name", "where", "expected", "found"),
    [
        ("NoTask", "broken.py:NoTask", "a subclass of flaxcnn.tasks.Task, or an instance of one", "a class"),
        (
            "Bare",
            "broken.py:Bare",
            "all methods of a task",
            "none of check, decode, measures, metrics, outputs, scores, statistics",
        ),
        ("Needs", "broken.py:Needs", "a default for each", "none for classes"),
        ("NoHash", "broken.py:NoHash", "a frozen dataclass with fields that have one", "unhashable type: 'NoHash'"),
        ("Unmeasured", "broken.py:Unmeasured, logged", "some of accuracy, class_error, kappa", "rank"),
        (
            "Unnamed",
            "broken.py:Unnamed, metrics",
            "a dictionary of flaxcnn.tasks.Metric",
            "{'class_error': True}",
        ),
    ],
)
def test_what_is_no_whole_task_is_refused(name, where, expected, found, broken):
    error = refused(ConfigError, create_task, Task(f"broken.py:{name}"))
    assert (str(error.where), error.expected, error.found) == (where, expected, found)


@pytest.mark.parametrize(
    ("name", "part", "expected", "found"),
    [
        ("Scalar", "losses", "float32 (B,)", "float32 ()"),
        ("Summed", "statistics correct", "(B, ...)", "int32 ()"),
        ("Silent", "measures class_error", "one number", "nothing"),
    ],
)
def test_what_it_computes_is_tried_before_anything_is_trained(name, part, expected, found, broken):
    error = refused(ConfigError, set_up, Experiment(Data("sources.py:arrays"), Task(f"broken.py:{name}")))
    assert str(error.where) == f"{broken / 'broken.py'}: {name}.{part}"
    assert (error.expected, error.found) == (expected, found)


def test_a_task_that_fails_names_the_line_of_its_file(broken):
    error = refused(ConfigError, set_up, Experiment(Data("sources.py:arrays"), Task("broken.py:Fails")))
    assert error.where == broken / "broken.py"
    assert error.what.startswith("line 40: TypeError: ")


def test_a_class_makes_one_task_and_an_instance_is_taken_as_it_is(broken):
    plain = Task("broken.py:Unmeasured")
    assert refused(ConfigError, create_task, plain).found == "rank"
    assert create_task(Task("ordinal.py:Ordinal")) is create_task(Task("./ordinal.py:Ordinal"))
    assert create_task(Task("broken.py:instance")).classes == 4
    assert refused(ConfigError, create_task, Task("ordinal.py")).fix.endswith("FILE.py:NAME")


# --- what data may be

SOURCES = """
import numpy as np
import sources
def needs(folder): return sources.arrays()
def nothing(): pass
def fails():
    return 1 / 0
def floats():
    return sources.from_arrays(np.zeros((4, 8, 8, 1), np.float32), [0, 1, 0, 1], test_fraction=0.5)
number = 3
dataset = sources.arrays()
"""


@pytest.mark.parametrize(
    ("name", "expected", "found"),
    [
        ("number", "a flaxcnn.data.Dataset, or a function without arguments that returns one", "a int"),
        ("needs", "a default for each", "none for folder"),
        ("nothing", "a flaxcnn.data.Dataset", "a NoneType"),
    ],
)
def test_what_makes_no_data_is_refused(name, expected, found, folder):
    (folder / "broken.py").write_text(SOURCES)
    error = refused(ConfigError, set_up, Experiment(Data(f"broken.py:{name}")))
    assert (error.where, error.expected, error.found) == (f"broken.py:{name}", expected, found)


def test_data_that_fail_name_the_line_and_errors_of_the_library_stay(folder):
    (folder / "broken.py").write_text(SOURCES)
    error = refused(ConfigError, set_up, Experiment(Data("broken.py:fails")))
    assert (error.where, error.what) == (folder / "broken.py", "line 7: ZeroDivisionError: division by zero")
    assert refused(DataError, set_up, Experiment(Data("broken.py:floats"))).found == "float32 (4, 8, 8, 1)"
    assert refused(ConfigError, set_up, Experiment(Data("sources.py"))).fix.endswith("FILE.py:NAME")


def test_data_may_be_an_object(folder):
    (folder / "broken.py").write_text(SOURCES)
    setup = set_up(Experiment(Data("broken.py:dataset")))
    assert (len(setup.train), len(setup.dataset.test), setup.outputs) == (1000, 300, 10)
    assert set(setup.code) == {"data.source"}
