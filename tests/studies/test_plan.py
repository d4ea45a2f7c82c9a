"""Mistakes in a study's file and on its command line: each is one line, and nothing is written."""

import re
import shutil

import pytest

from flaxcnn import Study
from flaxcnn.config import Data, Experiment, Model, Training
from flaxcnn.errors import ConfigError
from flaxcnn.models import require_model
from flaxcnn.runs.checked_model import published_weights
from flaxcnn.studies import Probe, load_study_file, studies
from flaxcnn.studies.files import StudyFile
from flaxcnn.studies.folder import require_same_plan
from flaxcnn.studies.plan import Fold
from flaxcnn.studies.planning import plan_of
from tests.many_commands import answers

TWO = {"a": {"model.name": "lenet5"}, "b": {"model.name": "paper_cnn"}}


def plan(tmp_path, **fields):
    study = Study(**{"entries": TWO, **fields})
    return plan_of(StudyFile("tiny", study, "", tmp_path / "tiny.py"), study.base)


def test_jobs_are_entries_times_repeats_times_folds_times_seeds(tmp_path):
    found = plan(tmp_path, folds=3, repeats=2, seeds=(4, 7), base=Experiment(data=Data(source="folder:x")))
    assert found.jobs == 2 * 2 * 3 * 2
    assert list(found.test_splits)[:4] == [Fold(0, 0), Fold(0, 1), Fold(0, 2), Fold(1, 0)]
    entry = found.entries[0]
    assert str(found.below(entry, Fold(1, 2))) == "a/repeat-1/fold-2"
    data = found.experiment(entry, Fold(1, 2)).data
    assert (data.folds, data.fold, data.repeat) == (3, 2, 1)
    once = plan(tmp_path, folds=3, seeds=(0,))
    assert str(once.below(once.entries[0], Fold(0, 2))) == "a/fold-2"
    assert str(plan(tmp_path).below(entry, Fold())) == "a"


def test_an_experiment_as_an_entry_counts_where_it_differs_from_the_base(tmp_path):
    """What the command line changes in the base reaches it, too."""
    base = Experiment(training=Training(epochs=3, batch_size=20))
    own = Experiment(training=Training(epochs=3, batch_size=10), model=Model(name="lenet5"))
    study = Study(entries={"own": own}, base=base)
    changed = Experiment(training=Training(epochs=9, batch_size=20))
    (entry,) = plan_of(StudyFile("tiny", study, "", tmp_path / "tiny.py"), changed).entries
    assert (entry.experiment.training.epochs, entry.experiment.training.batch_size) == (9, 10)
    assert entry.experiment.model.name == "lenet5"


def test_a_recipe_gives_values_that_the_entrys_own_replace(tmp_path):
    entries = {
        "tuned": {"model.name": "efficientnet_lite0", "recipe": "finetune", "optimizer.weight_decay": 0.5},
        "probe": {"model.name": "efficientnet_lite0", "recipe": "probe"},
        "own": {"model.name": "lenet5", "model.init": "run", "recipe": "finetune"},
    }
    tuned, probe, own = plan(tmp_path, entries=entries, base=Experiment(training=Training(epochs=16))).entries
    assert (tuned.experiment.model.init, tuned.experiment.training.head_epochs) == ("imagenet", 2)
    assert tuned.experiment.optimizer.layer_decay < 1
    assert tuned.experiment.optimizer.weight_decay == 0.5
    assert (probe.experiment.model.freeze, probe.experiment.training.epochs) == (("trunk",), 16)
    assert own.experiment.model.init.endswith("/run")
    for entry, said in (
        ({"recipe": "fintune"}, "study.entries, a: recipe: no such recipe"),
        ({"model.name": "lenet5", "recipe": "finetune"}, "study.entries, a: model.init: no weights to begin with"),
    ):
        with pytest.raises(ConfigError) as caught:
            plan(tmp_path, entries={"a": entry})
        assert str(caught.value).startswith(said)


def test_a_grid_is_the_product_of_its_values_and_an_entrys_own_replaces_that_of_all(tmp_path):
    search = {
        "all": {"optimizer.learning_rate": (1e-3, 1e-2), "training.label_smoothing": (0.0, 0.1)},
        "b": {"optimizer.learning_rate": (0.1,)},
    }
    first, second = plan(tmp_path, search=search).entries
    assert first.settings[1] == {"optimizer.learning_rate": 1e-3, "training.label_smoothing": 0.1}
    assert len(first.settings) == 4
    assert second.settings == ()  # one setting is no search
    assert second.experiment.optimizer.learning_rate == 0.1


def test_plans_that_differ_have_other_fingerprints(tmp_path):
    one = plan(tmp_path)
    assert one.fingerprint() == plan(tmp_path).fingerprint()
    for fields in ({"seeds": (0,)}, {"validation": 0.3}, {"entries": {**TWO, "c": {}}}, {"metric": "log_loss"}):
        assert plan(tmp_path, **fields).fingerprint() != one.fingerprint()
    moved = plan(tmp_path, base=Experiment(data=Data(source="mnist", workers=1)))
    assert moved.fingerprint() == one.fingerprint()


def test_a_plan_of_an_older_version_lacks_fields_that_have_their_defaults_now(tmp_path):
    here = plan(tmp_path).fingerprint()
    there = plan(tmp_path).fingerprint()
    del there["entries"]["a"]["experiment"]["optimizer"]["clip_norm"]
    del there["entries"]["a"]["probe"]
    require_same_plan(there, here, tmp_path)
    there["entries"]["a"]["experiment"]["optimizer"]["clip_norm"] = 1.0
    with pytest.raises(ConfigError, match=r"by entries.a.experiment.optimizer.clip_norm; expected 1.0, found null"):
        require_same_plan(there, here, tmp_path)
    for damaged in ([], {"entries": 3}, {"entries": {"a": 3}}, {"entries": {"a": {"experiment": {"model": 3}}}}):
        with pytest.raises(ConfigError, match="holds another study") as raised:
            require_same_plan(damaged, here, tmp_path)
        assert len(str(raised.value)) < 1000


def test_a_study_may_grow_by_seeds_and_entries_and_by_nothing_else(tmp_path):
    there = plan(tmp_path, seeds=(0, 1)).fingerprint()
    probe = Probe("efficientnet_lite0", "x.npz")
    for more in ({"seeds": (0, 1, 2)}, {"seeds": (0, 1), "entries": {**TWO, "c": {}, "d": probe}}):
        require_same_plan(there, plan(tmp_path, **more).fingerprint(), tmp_path)
    older = plan(tmp_path, entries={**TWO, "d": probe}).fingerprint()
    del older["entries"]["d"]["probe"]["groups"]
    require_same_plan(older, plan(tmp_path, entries={**TWO, "d": probe}).fingerprint(), tmp_path)
    for other in ({"seeds": (0,)}, {"seeds": (1, 0)}, {"seeds": (0, 1), "entries": {"a": TWO["a"]}}):
        with pytest.raises(ConfigError, match="holds another study"):
            require_same_plan(there, plan(tmp_path, **other).fingerprint(), tmp_path)


OF_GROUPS = Experiment(data=Data(source="csv:x.csv", group="plant"))
FAULTS = [
    ({"entries": {}}, "no entries"),
    ({"entries": {"a/b": {}}}, "not a name"),
    ({"entries": {"all": {}}}, "not a name"),
    ({"entries": {"a": {}, "A": {}}}, "differ by case"),
    ({"entries": {"a": "lenet5"}}, "study.entries, a: wrong type"),
    ({"entries": {"a": {"model.nmae": "lenet5"}}}, "unknown field 'model.nmae'.*Did you mean 'model.name'"),
    ({"entries": {"a": {"optimizer.momentum": 2.0}}}, "study.entries, a: .*momentum"),
    ({"entries": {"a": {"data.source": "mnist"}}}, "entries have the same examples"),
    ({"entries": {"a": {"data.test": 0.5}}}, "entries have the same examples"),
    ({"entries": {"a": {"task.name": "regression"}}}, "entries learn the same targets"),
    ({"entries": {"a": {"training.seed": 1}}}, "every entry has the study's seeds"),
    ({"search": {"c": {}}}, "no such entry"),
    ({"search": {"all": {"optimizer.rate": (1.0, 2.0)}}}, "unknown field 'optimizer.rate'"),
    ({"search": {"all": {"optimizer.learning_rate": 1e-3}}}, "not values to try"),
    ({"search": {"all": {"optimizer.learning_rate": (1e-3, 1e-3)}}}, "a value twice"),
    ({"search": {"all": {"optimizer.learning_rate": (1e-3, -1.0)}}}, "study.search, a: .*learning_rate"),
    ({"search": {"all": {"training.epochs": (1, 2)}}}, "the budget is the same"),
    ({"search": {"all": {"model.name": ("a", "b")}}}, "another model is another entry"),
    ({"search": {"all": {"data.size": (32, 64)}}}, "settings are compared on the same images"),
    ({"folds": 1}, "2 or more"),
    ({"repeats": 2}, "nothing to repeat without folds"),
    ({"seeds": ()}, "a tuple of whole numbers"),
    ({"seeds": (1, 1)}, "seeds that differ"),
    ({"seeds": (-1,)}, "0 to 2"),
    ({"validation": 0.0}, "0 < fraction < 1"),
    ({"metric": 3}, "study.metric"),
    ({"base": Experiment(data=Data(source="folder:x", folds=3))}, "a study divides the data itself"),
    (
        {"entries": {"a": Probe("lenet5", "x.npz", groups="divided")}, "folds": 3},
        "no groups to divide; expected a study",
    ),
    ({"entries": {"a": Probe("lenet5", "x.npz", groups="divided")}, "base": OF_GROUPS}, "no groups to divide"),
]


@pytest.mark.parametrize(("fields", "said"), FAULTS)
def test_a_mistake_is_one_line(fields, said, tmp_path):
    with pytest.raises(ConfigError, match=said) as raised:
        plan(tmp_path, **fields)
    assert "\n" not in str(raised.value)


def test_a_mistake_on_the_command_line_is_one_line_and_leaves_nothing(
    command_environment, shapes, study_file, tmp_path
):
    """Among them a model that there is not, folds of data that have a test split, and a folder of something else."""
    study_file('entries={"a": {}, "b": {"model.name": "lenet6"}}, seeds=(0,)')
    study_file('entries={"a": {}, "b": {"optimizer.learning_rate": 0.1}}, seeds=(0,), folds=2', "good.py")
    study_file('entries={"a": {}}, seeds=(0,), metric="acuracy"', "metric.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "plan.json").write_text('{"name": "other"}')
    for split in ("train", "test"):
        shutil.copytree(shapes, tmp_path / "divided" / split)
    source = f"folder:{shapes}"
    asked = [
        (["study"], "STUDY is missing"),
        (["study", "nothing"], "unknown config"),
        (["study", "insect"], "Did you mean 'insects'"),
        (["study", "animals"], "no data of its own.*flaxcnn study animals folder:PHOTOS"),
        (["study", "empty.py", source], "no study in this file"),
        (["study", "good.py", source, "--training.epoch", "3"], "unknown option.*training.epochs"),
        (["study", "good.py", source, "--training.epochs", "many"], "wrong type"),
        (["study", "good.py", source, "more"], "unexpected argument"),
        (["study", "good.py", source, "--data.fold", "1"], "data.fold"),
        (["study", "good.py", source, "--folds", "1"], "study.folds"),
        (["study", "good.py", source, "--data.source", "mnist2"], "given twice"),
        (["study", "good.py", "folder:nowhere"], "nowhere"),
        (["study", "tiny.py", source], "lenet6.*lenet5"),
        (["study", "metric.py", source], "no such metric.*accuracy"),
        (["study", "good.py", source, "--folds", "100"], "fewer.*than folds"),
        (["study", "good.py", f"folder:{tmp_path / 'divided'}"], "has a test split of its own"),
        (["study", "good.py", source, "--out", "mine"], "holds files but no study"),
        (["study", "good.py", source, "--out", "run"], "holds a run, no study"),
        (["study", "good.py", source, "--out", "other"], "holds another study, by name"),
        (["study", "other"], "the folder of a study, not a config"),
        (["resume", "other"], "the folder of a study, not of a run"),
        (
            ["train", "--data.source", source, "--training.batch_size", "8", "--out", "other"],
            "holds a study; expected a run or nothing",
        ),
    ]
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    found = answers(command_environment, tmp_path, [words for words, _ in asked])
    for answer, said in zip(found, [said for _, said in asked], strict=True):
        assert answer["code"] == 2, answer
        assert answer["said"].count("\n") == 1, answer
        assert re.search(said, answer["said"]), answer
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", studies())
def test_the_studies_of_the_library_name_models_that_there_are(name):
    file = load_study_file(name)
    assert file.question.endswith("?")
    found = plan_of(file, file.study.base)
    assert len(found.entries) >= 2
    for entry in found.entries:
        require_model(entry.experiment.model.name)
        assert published_weights(entry.experiment.model) is not None or entry.experiment.model.init is None
