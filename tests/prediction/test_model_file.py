"""A model file answers as its run does, and says which of its parts is not what it was."""

import json
import shutil
import struct
import sys

import numpy as np
import pytest

import flaxcnn
from flaxcnn import config, data
from flaxcnn.errors import ContractError, DataError
from flaxcnn.models.weights.safetensors import read_with_metadata
from flaxcnn.models.weights.writing import write_safetensors
from flaxcnn.prediction import model_file
from flaxcnn.prediction.loading import load


@pytest.fixture(scope="module")
def exported(shapes_run, commands, tmp_path_factory):
    """A model file, alone in a folder."""
    folder, _ = shapes_run
    place = tmp_path_factory.mktemp("exported")
    done = commands.run(["export", folder, "--to", place / "shapes.fcnn"], place)
    assert done.returncode == 0, done.stderr
    assert "read again and verified" in done.stdout
    return place / "shapes.fcnn"


def parts(path):
    with path.open("rb") as file:
        return read_with_metadata(file, path.stat().st_size)


def test_it_answers_as_the_run_in_another_process_and_place(exported, shapes_run, flaxcnn, tmp_path):
    folder, paths = shapes_run
    shutil.copy(exported, tmp_path / "moved.fcnn")
    of_file = flaxcnn("predict", "moved.fcnn", *paths[:5], "--format", "jsonl", "--precision", "0.3")
    of_run = flaxcnn("predict", folder, *paths[:5], "--format", "jsonl", "--precision", "0.3")
    assert of_file.returncode == of_run.returncode == 0, of_file.stderr
    assert of_file.stdout == of_run.stdout
    assert of_file.stderr == of_run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "multilabel", "several"])
def test_every_task_and_views_and_constants_travel(task, tmp_path, light_programs):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12, 12, 3), np.uint8)
    amounts, labels = images.mean((1, 2, 3)).astype("f4"), rng.random((40, 4)) < 0.5
    targets = {
        "regression": amounts,
        "multilabel": labels,
        "several": {"kind": labels[:, 0].astype("i4"), "x": amounts},
    }
    names = {"regression": ("x",), "multilabel": tuple("abcd"), "several": {"kind": ("no", "yes"), "x": ("x",)}}
    heads = ("kind=classification", "x=regression") if task == "several" else ()
    experiment = config.Experiment(
        task=config.Task(task, heads=heads),
        model=config.Model("small_cnn", normalization="dataset", tta="flip"),
        data=config.Data(validation=0.3),
        training=config.Training(epochs=1, batch_size=10),
    )
    own = data.from_arrays(images, targets[task], test_fraction=0.25, target_names=names[task])
    run = flaxcnn.train(experiment, dataset=own, out=tmp_path / "run", quiet=True)
    trained = load(run.folder)
    model_file.write_model_file(tmp_path / "m.fcnn", trained, {})
    again = load(tmp_path / "m.fcnn")
    assert again.calibration == trained.calibration != {}
    assert again.predict(images[:7]) == trained.predict(images[:7])


def test_the_file_is_one_that_other_libraries_read_and_holds_no_code(exported):
    raw = exported.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    texts = header.pop("__metadata__")
    assert set(texts) == {"flaxcnn_model", "written_by", "config", "form", "contract", "sha256"}
    assert header["variables/params/conv1/kernel" if "variables/params/conv1/kernel" in header else "check/images"]
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(raw) - 8 - length
    assert texts["contract"].splitlines()[0].startswith("model ")


def test_it_says_nothing_of_where_it_was_made(exported, shapes_run):
    raw = exported.read_bytes()
    assert str(shapes_run[0].parent).encode() not in raw
    assert b"photos" not in raw


def test_a_changed_byte_anywhere_is_told(exported, tmp_path):
    raw, place = bytearray(exported.read_bytes()), tmp_path / "altered.fcnn"
    rng = np.random.default_rng(0)
    for position in [*rng.integers(0, len(raw), 40), 8, len(raw) - 1]:
        changed = bytearray(raw)
        changed[position] ^= 1
        place.write_bytes(changed)
        with pytest.raises(flaxcnn.errors.FlaxcnnError) as raised:
            load(place)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_told(exported, tmp_path, length):
    (tmp_path / "short.fcnn").write_bytes(exported.read_bytes()[:length])
    with pytest.raises(DataError, match=r"damaged|no model file"):
        load(tmp_path / "short.fcnn")


def rewritten(exported, place, change):
    """Write the file with other parts and a digest that fits them, as who wants to deceive would."""
    tensors, texts = parts(exported)
    del texts["sha256"]
    change(tensors, texts)
    write_safetensors(place, tensors, {**texts, "sha256": model_file._digest(tensors, texts)})
    return place


def test_each_part_that_does_not_fit_says_which(exported, tmp_path):
    place = tmp_path / "other.fcnn"

    def version(tensors, texts):
        texts["flaxcnn_model"] = "9"

    def weights(tensors, texts):
        name = next(name for name in tensors if name.startswith("variables/params/"))
        tensors[name] = tensors[name] + np.float32(0.1)

    def shape(tensors, texts):
        name = next(name for name in tensors if name.endswith("/kernel"))
        tensors[name] = tensors[name][..., :-1].copy()

    def contract(tensors, texts):
        texts["contract"] = texts["contract"].replace("parameters", "parameter", 1)

    def code(tensors, texts):
        texts["config"] = (
            texts["config"].replace('"small_cnn"', '"evil.py:Net"').replace('"paper_cnn"', '"evil.py:Net"')
        )

    def nothing_stored(tensors, texts):
        del tensors["check/logits"]

    def no_contract(tensors, texts):
        texts["contract"] = ""

    def other_targets(tensors, texts):
        tensors["validation/target"] = tensors["validation/target"] + np.int32(7)

    def other_logits(tensors, texts):
        tensors["validation/logits"] = tensors["validation/logits"][:, :1].copy()

    def other_features(tensors, texts):
        tensors["familiar/means"] = tensors["familiar/means"][:, :-1].copy()
        tensors["familiar/whitening"] = tensors["familiar/whitening"][:-1, :-1].copy()

    def no_square(tensors, texts):
        tensors["familiar/whitening"] = tensors["familiar/whitening"][:-1].copy()

    def not_all_features(tensors, texts):
        del tensors["familiar/means"]

    def no_distance(tensors, texts):
        tensors["familiar/distances"] = tensors["familiar/distances"] * np.float32(np.inf)

    def too_many(tensors, texts):
        tensors["familiar/distances"] = np.zeros(10_000, np.float32)

    def no_number(tensors, texts):
        tensors["validation/logits"] = tensors["validation/logits"] * np.float32(np.nan)

    for change, error, said in (
        (nothing_stored, DataError, "other outputs"),
        (no_contract, ContractError, "another contract"),
        (other_targets, DataError, "validation"),
        (other_logits, DataError, "validation logits: not this model's"),
        (no_number, DataError, "validation logits: not this model's"),
        (other_features, DataError, "statistics of another model's features"),
        (no_square, flaxcnn.errors.RunFolderError, "not the statistics of features"),
        (not_all_features, flaxcnn.errors.RunFolderError, "not the statistics of features"),
        (no_distance, flaxcnn.errors.RunFolderError, "damaged at distances"),
        (too_many, DataError, "statistics of another model's features"),
        (version, DataError, "of another version; expected 1, found 9"),
        (weights, DataError, "other outputs on this machine"),
        (shape, ContractError, "kernel"),
        (contract, ContractError, "another contract"),
        (code, flaxcnn.errors.RunFolderError, "damaged at code"),
    ):
        with pytest.raises(error, match=said) as raised:
            load(rewritten(exported, place, change))
        assert "\n" not in str(raised.value)
    assert "evil" not in sys.modules


def test_a_file_of_an_older_version_answers_and_says_what_it_lacks(exported, shapes_run, flaxcnn, tmp_path):
    """Older files have no statistics of features, and no distances of the stored images."""

    def older(tensors, texts):
        for name in [name for name in tensors if name.startswith("familiar/")]:
            del tensors[name]
        del tensors["check/distance"]
        config = json.loads(texts["config"])
        del config["logging"]["csv"], config["logging"]["mlflow"]
        texts["config"] = json.dumps(config)

    place, (_, paths) = rewritten(exported, tmp_path / "older.fcnn", older), shapes_run
    now = flaxcnn("predict", exported, paths[0], "--format", "jsonl")
    then = flaxcnn("predict", place, paths[0], "--format", "jsonl")
    assert (now.returncode, now.stderr, then.returncode) == (0, "", 0)
    assert then.stderr.count("\n") == 1
    assert "familiar goes by the logits alone: nothing was kept of the model's features" in then.stderr
    now, then = json.loads(now.stdout), json.loads(then.stdout)
    assert set(now.pop("familiar_by")) == {"evidence", "features"}
    assert then.pop("familiar_by") == {"evidence": then.pop("familiar")}
    del now["familiar"]
    assert now == then


def test_it_says_nothing_of_a_server(tmp_path, light_programs):
    from flaxcnn.prediction.model_file import _shareable

    experiment = config.Experiment(logging=config.Logging(mlflow="http://somewhere.example:5000"))
    assert _shareable(experiment).logging.mlflow is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "{run}"], "--to is missing"),
        (["export", "{run}", "--to", "model.xyz"], "in no known format"),
        (["export", "{run}", "--to", "nowhere/model.fcnn"], "no such folder"),
        (["export", "nowhere", "--to", "model.fcnn"], "nowhere"),
        (["export", "{file}", "--to", "model.fcnn"], "a file, no run"),
        (["predict", "{run}/weights.npz", "x.png"], "no model file"),
        (["predict", "mistyped.fcnn", "x.png"], "mistyped.fcnn: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(exported, shapes_run, commands, words, said, tmp_path):
    done = commands.run([word.format(run=shapes_run[0], file=exported) for word in words], tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
