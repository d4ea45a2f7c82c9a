"""Run folders that came from a stranger: whatever stands in them, a command ends with a line of ours and nothing else.

The commands run in this process, one after the other, on copies of a folder that a real run left.
"""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from flaxcnn.cli import main

DEEP = "[" * 100_000
JSON_FILES = ["config.json", "environment.json", "summary.json"]


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A copy of the run's folder, to be tampered with."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def refused(capsys):
    """Run a command that has to refuse, and return the line that it says."""

    def run(*arguments):
        assert main([*map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.rstrip("\n").isprintable()
        return said

    return run


def change(path, *keys, to):
    """Set a value within a JSON file."""
    value = json.loads(path.read_text())
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(value))


# --- every JSON file


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize("text", ["", "{", "[]", "null", DEEP, '{"a":' * 100_000, '{"a": NaN}', "\xff", "1" * 5000])
def test_a_file_of_another_form_is_named(copy, refused, name, text):
    (copy / name).write_bytes(text.encode("latin-1"))
    assert f"{copy / name}: " in refused("evaluate", copy)


@pytest.mark.parametrize("name", [*JSON_FILES, "weights.npz"])
@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "/dev/stdin", "folder", "missing"])
def test_a_pipe_a_device_or_nothing_in_a_files_place_is_named_and_not_waited_for(copy, refused, name, kind):
    (copy / name).unlink()
    if kind == "fifo":
        os.mkfifo(copy / name)
    elif kind == "folder":
        (copy / name).mkdir()
    elif kind != "missing":
        (copy / name).symlink_to(kind)
    assert f"{copy / name}: " in refused("evaluate", copy)


def test_a_file_of_gigabytes_is_refused_before_it_is_read(copy, refused):
    os.truncate(copy / "summary.json", 1 << 40)  # sparse: it takes no room
    assert "summary.json: too large" in refused("evaluate", copy)


# --- config.json


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("name",), 3, "damaged at name; expected text, found 3"),
        (("name",), "\x1b[2J", "damaged at name; expected the name of a config file"),
        (("name",), "a" * 10_000, "damaged at name"),
        (("published",), [[0, "low", None]], r"damaged at published[0][1]"),
        (("published",), {}, "damaged at published; expected a list, found an object"),
        (("changes",), [3], "damaged at changes[0]; expected an object, found 3"),
        (("data",), None, "data: not an object"),
        (("data", "source"), "idx:/a\0b", "a path cannot hold a null byte"),
        (("data", "source"), "\ud800", "half of a character"),
        (("data", "source"), 3, "data.source: wrong type"),
        (("data", "workers"), 10**9, "data.workers: out of range; expected 0 to 1024"),
        (("model", "name"), "os.system", "model.name: unknown model 'os.system'"),
        (("model", "name"), "../../contract", "model.name: unknown model"),
        (("optimizer", "learning_rate"), 10**400, "a whole number of more than 64 bits"),
        (("optimizer", "learning_rate"), 2**63, "OK"),
        (("training", "batch_size"), 10**12, "training.batch_size: batch larger than the data"),
        (("training", "class_weights"), [10**18] * 3, "training.class_weights: not one number for each class"),
        (("training", "class_weights"), [[1]], "training.class_weights: wrong type"),
        (
            ("augmentation", "crop_padding"),
            10**9,
            "augmentation.crop_padding: out of range",
        ),
        (("augmentation", "cutout"), 10**12, "augmentation.cutout: out of range"),
        (("augmentation", "shift"), 1e300, "augmentation.shift: out of range"),
        (("augmentation", "unknown"), 1, "unknown field 'unknown'"),
        (("mesh", "model"), True, "mesh.model: wrong type"),
    ],
)
def test_a_config_that_no_run_wrote_is_named(copy, refused, keys, value, said):
    change(copy / "config.json", *keys, to=value)
    if said == "OK":
        assert main(["evaluate", str(copy)]) == 0
        return
    line = refused("evaluate", copy)
    assert said in line
    assert "config.json" in line or "train" in line or "augmentation" in line or "model.name" in line


@pytest.mark.parametrize("devices", [10**9, 2**63])
def test_devices_that_there_are_not_are_named(copy, refused, devices):
    change(copy / "config.json", "mesh", "model", to=devices)
    assert "mesh" in refused("resume", copy)


# --- environment.json, summary.json and metrics.jsonl


@pytest.mark.parametrize("value", [None, [], "text", {"t10k-images": 3}, {"a": {}}])
def test_digests_of_another_form_are_named(copy, refused, value):
    change(copy / "environment.json", "data_sha256", to=value)
    assert "environment.json: damaged at data_sha256" in refused("evaluate", copy)
    assert "environment.json: damaged at data_sha256" in refused("compare", copy, copy)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", "../../x"), ("steps", -1), ("rows", None), ("stopped_early", 1), ("weights_sha256", 3), ("x", {"a": 1})],
)
def test_a_summary_that_no_run_wrote_is_named(copy, refused, name, value):
    change(copy / "summary.json", name, to=value)
    assert f"summary.json: damaged at {name}" in refused("resume", copy)
    assert (copy / "summary.json").exists()


def test_what_a_summary_says_instead_is_shown_as_text(copy, capsys):
    change(copy / "summary.json", "test_loss", to="\x1b[2Jnothing")
    assert main(["evaluate", str(copy)]) == 1
    said = capsys.readouterr().out
    assert "summary.json says \\x1b[2Jnothing" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("train_loss", None, "line 2: damaged at train_loss; expected a number, found null"),
        ("train_loss", "low", "line 2: damaged at train_loss; expected a number, found 'low'"),
        ("validation_loss", None, "line 2: damaged at validation_loss; expected a number, found null"),
        ("step", 0, "line 2: damaged at step; expected at least 1, found 0"),
        ("step", 99, "line 2: damaged at step; expected less than 12, the checkpoint's, found 99"),
        ("validation_loss", "low", "line 2: damaged at validation_loss; expected a number or null, found low"),
        ("more", 1, "line 2: damaged at more; expected of what is measured: test_accuracy, validation_accuracy, "),
    ],
)
def test_a_row_that_no_run_logged_is_named(copy, refused, field, value, said):
    (copy / "summary.json").unlink()  # the run goes on
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rows[1][field] = value
    if value == 99:
        rows[2][field] = 100
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said in refused("resume", copy)


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory(copy, refused):
    (copy / "summary.json").unlink()
    os.truncate(copy / "metrics.jsonl", 0)
    os.truncate(copy / "metrics.jsonl", 1 << 40)
    assert "line 1: line too long" in refused("resume", copy)


# --- weights and predictions


def other_arrays(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


HEAD = "params/head/bias"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({HEAD: None}, "head: bias missing"),
        ({HEAD: np.zeros(11, np.float32)}, "head: bias has another shape"),
        ({HEAD: np.zeros(10)}, "of another type; expected float32, found float64"),
        ({HEAD: np.array(["a"] * 10)}, "damaged"),
        ({HEAD: np.array([None] * 10)}, "damaged"),
        ({"params/more": np.zeros(9, np.float32)}, "more not declared"),
    ],
)
def test_weights_of_another_model_are_named(copy, refused, changes, said):
    other_arrays(copy / "weights.npz", **changes)
    assert said in refused("evaluate", copy)


def test_weights_that_are_encrypted_or_no_archive_are_named(copy, refused):
    path = copy / "weights.npz"
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = data.index(mark)
        data[place + flags] |= 1  # the flag of an encrypted member
    path.write_bytes(data)
    assert "weights.npz: damaged: " in refused("evaluate", copy)
    np.save(copy / "plain.npy", np.zeros(3))
    (copy / "plain.npy").rename(path)
    assert "weights.npz: damaged: File is not a zip file" in refused("evaluate", copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": np.full(300, 10, np.int32)}, "label out of range; expected 0 to 9, "),
        ({"target": np.full(300, -1, np.int32)}, "label out of range; expected 0 to 9, "),
        ({"target": np.zeros(299, np.int32)}, "damaged: arrays of different lengths"),
        ({"target": np.zeros(300, np.float32)}, "labels are not class numbers"),
        ({"target": None, "target/species": np.zeros(300, np.int32)}, "labels and logits do not fit"),
        ({"logits": None, "boxes": np.zeros((300, 10), np.float32)}, "predictions of another task"),
        ({"logits": np.full((300, 10), np.nan, np.float32)}, "finite"),
        ({"logits": np.zeros((300, 0), np.float32)}, "labels and logits do not fit"),
        ({"index": np.zeros(300, ">i8")}, "not the arrays of predictions"),
        (
            {"index": np.zeros(0, np.int64), "target": np.zeros(0, np.int32), "logits": np.zeros((0, 10), np.float32)},
            "",
        ),
    ],
)
def test_predictions_that_no_run_wrote_are_named(copy, refused, changes, said):
    other_arrays(copy / "predictions.npz", **changes)
    assert said in refused("compare", copy, copy)


# --- links


def test_what_a_command_writes_follows_no_link_out_of_the_folder(copy, tmp_path, refused):
    mine = tmp_path / "mine.txt"
    for name in (".lock", "metrics.jsonl"):
        mine.write_text("years of work\n")
        shutil.rmtree(copy)
        copy.mkdir()
        (copy / ".lock").touch()
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(mine)
        line = refused("train", "--data.source", "idx:/nowhere", "--out", copy)
        assert "nowhere" in line
        assert mine.read_text() == "years of work\n"


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(copy, tmp_path, refused):
    mine = tmp_path / "mine.txt"
    mine.write_text("years of work\n")
    (copy / ".lock").unlink()
    (copy / ".lock").symlink_to(mine)
    assert ".lock: cannot write: a symbolic link" in refused("resume", copy)
    assert mine.read_text() == "years of work\n"


def test_a_lock_that_is_a_pipe_is_not_waited_for(copy, refused):
    (copy / ".lock").unlink()
    os.mkfifo(copy / ".lock")
    assert ".lock: cannot write: not a regular file" in refused("resume", copy)


# --- crash/


@pytest.fixture(scope="module")
def crash(small_mnist, commands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diverged") / "run"
    options = ("--data.source", f"idx:{small_mnist}", "--optimizer.name", "sgd", "--optimizer.learning_rate", "1e8")
    done = commands.run(["train", *options, "--training.steps", 6, "--out", folder], folder.parent)
    assert done.returncode == 1, done.stderr
    return folder / "crash"


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("step",), "1", "step.json: damaged at step"),
        (("loss",), None, "step.json: damaged at loss"),
        (("examples",), None, "step.json: damaged at examples; expected a list, found null"),
        (("examples", 0), 10**9, "step.json: damaged at examples; expected 50 indices of 1,000 examples"),
        (("examples", 0), -1, "step.json: damaged at examples"),
        (("examples",), [0] * 100_000, "step.json: damaged at examples; expected 50 indices"),
        (("examples",), [], "step.json: damaged at examples"),
    ],
)
def test_a_step_that_no_crash_left_is_named(crash, tmp_path, refused, keys, value, said):
    folder = shutil.copytree(crash, tmp_path / "crash")
    change(folder / "step.json", *keys, to=value)
    assert said in refused("replay", folder)


@pytest.mark.slow
def test_a_crash_as_it_was_left_is_replayed(crash, capsys):
    assert main(["replay", str(crash)]) == 0
    assert capsys.readouterr().out.startswith("step  ")


def test_an_archive_with_a_path_that_leads_outside_writes_nothing(copy, refused, tmp_path):
    with zipfile.ZipFile(copy / "weights.npz", "w") as archive:
        archive.writestr("../../outside.npy", b"x")
    assert "weights.npz: damaged" in refused("evaluate", copy)
    assert not (tmp_path / "outside.npy").exists()
