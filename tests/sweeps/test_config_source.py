"""An experiment as Python: the library reads the same experiment back, and ruff has nothing to change."""

import ast
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from flaxcnn.config import (
    Augmentation,
    Checkpoint,
    Data,
    Experiment,
    Logging,
    Mesh,
    Model,
    Optimizer,
    Schedule,
    Task,
    Training,
    load_experiment,
)
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.report.config_source import experiment_source

RUFF = shutil.which("ruff", path=f"{sys.prefix}/bin") or shutil.which("ruff")


def numbers(low, high, **ends):
    return st.floats(low, high, **ends)


def some(section, **fields):
    """Sections in which any of the fields have any of their values."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: build(section, values))


def build(section, values):
    try:
        return section(**values)
    except ConfigError:  # values that do not go together
        reject()


EXPERIMENTS = {
    "data": some(Data, source=st.text(), dir=st.text(), validation=st.just(0.1), workers=st.integers(0, 9)),
    "task": st.sampled_from([{}, {"name": "regression", "loss": "absolute"}]).map(lambda values: Task(**values))
    | st.sampled_from(["age=regression", "sex=classification:0.5", "signs=multilabel:2"]).map(
        lambda head: Task(name="several", heads=(head,))
    ),
    "augmentation": some(Augmentation, crop_padding=st.integers(0, 9), flip=numbers(0, 1), shift=numbers(0, 3e38)),
    "model": some(Model, name=st.text(), dropout=numbers(0, 1, exclude_max=True), dtype=st.just("bfloat16")),
    "optimizer": st.sampled_from(["adamw", "sgd"]).flatmap(
        lambda name: some(
            Optimizer,
            name=st.just(name),
            learning_rate=numbers(1e-30, 1e30),
            weight_decay=numbers(0, 10) if name == "adamw" else st.just(0.0),
            clip_norm=numbers(1e-30, 1e30),
        )
    ),
    "schedule": some(Schedule, name=st.just("cosine"), warmup_epochs=numbers(0, 1, exclude_max=True)),
    "training": some(
        Training,
        seed=st.integers(0, 2**32 - 1),
        steps=st.integers(1, 10**12),
        class_weights=st.just("balanced") | st.lists(numbers(1e-9, 1e9), min_size=1, max_size=12).map(tuple),
        ema_decay=numbers(0, 1, exclude_max=True),
    ),
    "logging": some(Logging, every=st.integers(1, 10**9), tensorboard=st.booleans(), csv=st.booleans()),
    "checkpoint": some(Checkpoint, keep=st.integers(1, 10**9), keep_best=st.just("train_loss"), final=st.just("best")),
    "mesh": some(Mesh, data=st.integers(1, 999), model=st.integers(1, 9)),
}

DOCSTRINGS = st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters='\n\\"'), min_size=1)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sections=st.fixed_dictionaries({}, optional=EXPERIMENTS), docstring=DOCSTRINGS)
@example(sections={}, docstring='"')
@example(sections={}, docstring='"quoted"\n\nWith """three""", or a \\')
def test_the_file_binds_the_same_experiment(tmp_path, sections, docstring):
    experiment = Experiment(**sections)
    path = tmp_path / "best.py"
    path.write_text(experiment_source(experiment, docstring), encoding="utf-8", newline="")
    assert load_experiment(str(path)).experiment == experiment


LONG = Training(class_weights=tuple(1 + number / 7 for number in range(10)), ema_decay=0.999, label_smoothing=0.1)
SHOWN = {
    "default": Experiment(),
    "one": Experiment(optimizer=Optimizer(learning_rate=0.0021)),
    "quoted": Experiment(data=Data(source="idx:/a \"quoted\" folder", dir="it's \\ \n \x07 ü 'both' \"ways\"")),
    "numbers": Experiment(optimizer=Optimizer(learning_rate=1e-05, eps=1e16, clip_norm=123456789.123)),
    "one_weight": Experiment(training=Training(class_weights=(1.0,))),
    "long": Experiment(data=Data(source="idx:/" + 120 * "x"), training=LONG),
    "all": Experiment(
        Data(validation=0.1), Task(name="several", heads=("a=classification",)), Augmentation(flip=0.5),
        Model(name="small_cnn"), Optimizer(name="adamw"), Schedule(name="cosine"), LONG, Logging(every=5),
        Checkpoint(keep=1), Mesh(data=1),
    ),
}  # fmt: skip


@pytest.mark.skipif(RUFF is None, reason="ruff is not installed")
def test_ruff_has_nothing_to_change(tmp_path):
    for name, experiment in SHOWN.items():
        text = experiment_source(experiment, f'What "{name}" is.\n\nIts second paragraph.  ')
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    rules = ["--isolated", "--line-length", "120"]
    for command in (
        ["format", "--diff"],
        ["check", "--select", "E,F,I,W,D", "--config", "lint.pydocstyle.convention='google'"],
    ):
        done = subprocess.run([RUFF, *command, *rules, tmp_path], capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if "E501" not in line]
        assert done.returncode == 0, "\n".join([*lines, done.stderr])


@pytest.mark.skipif(RUFF is None, reason="ruff is not installed")
@pytest.mark.parametrize("docstring", ['"', '"First" and "last"', '"First" line.\n\nAnd "last".', "'Single' ones'"])
def test_ruff_leaves_quotes_at_the_ends_of_a_docstring(tmp_path, docstring):
    (tmp_path / "best.py").write_text(experiment_source(Experiment(), docstring), encoding="utf-8")
    done = subprocess.run([RUFF, "format", "--diff", "--isolated", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_differs_from_the_defaults_is_written():
    experiment = Experiment(model=Model(), optimizer=Optimizer(name="sgd", learning_rate=0.1, momentum=0.9))
    assert experiment_source(experiment, "Found.") == (
        '"""Found."""\n'
        "\n"
        "from flaxcnn.config import Experiment, Optimizer\n"
        "\n"
        "experiment = Experiment(\n"
        '    optimizer=Optimizer(name="sgd", learning_rate=0.1),\n'
        ")\n"
    )


@pytest.mark.parametrize(
    "text", ['"""\nimport os\n"""', 'a\\"""', '"' * 7, "a\0b", "a\rimport os", "a\x85b\u2028c", "\ud800", "a\\"]
)
def test_a_docstring_is_text_whatever_it_says(text):
    source = experiment_source(Experiment(optimizer=Optimizer(learning_rate=0.5)), f"first\n{text}")
    kinds = [type(each) for each in ast.parse(source).body]
    assert kinds == [ast.Expr, ast.ImportFrom, ast.Assign]
    assert source.encode().decode() == source
