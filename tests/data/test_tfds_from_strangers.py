"""A prepared data set may come from anybody: it runs no code, reads nothing outside its folder, and lies in vain."""

import json
import os
import shutil
import sys

import pytest

from flaxcnn.data import Options, load
from flaxcnn.errors import DataError
from tests.data.array_record_files import array_record, chunk_of, message
from tests.data.prepared_sets import NAMES, as_examples, drawings, encoded, features, prepare

PAYLOAD = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Feature: pass\n"
TFDS = "tensorflow_datasets.core.features"
IMAGE = {"pythonClassName": f"{TFDS}.image_feature.Image", "image": {"shape": {"dimensions": ["4", "4", "1"]}}}
LABEL = {"pythonClassName": f"{TFDS}.class_label_feature.ClassLabel", "classLabel": {"numClasses": "3"}}


def dictionary(**named):
    return {"pythonClassName": f"{TFDS}.features_dict.FeaturesDict", "featuresDict": {"features": named}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    examples = as_examples(drawings(6, (12, 12, 1), 0))
    prepare(folder, {"train": examples, "test": examples[:3]}, features())
    return folder


@pytest.fixture
def sets(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "sets")
    return tmp_path / "sets"


@pytest.fixture
def version(sets):
    return sets / "drawn" / "1.0.0"


def refusal(sets):
    with pytest.raises(DataError) as refused:
        load("tfds:drawn", Options(dir=sets))
    line = str(refused.value)
    assert line.isprintable()
    assert str(sets) in line
    return line


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    "description",
    [
        {"pythonClassName": "sets.payload.Feature", "featuresDict": {"features": {}}},
        {"type": "sets.payload.Feature", "content": {}},
        dictionary(image={"pythonClassName": "sets.payload.Feature"}, label=LABEL),
        dictionary(image=IMAGE, label={"pythonClassName": "sets.payload.Feature", "classLabel": {}}),
        dictionary(image={"type": "sets.payload.Feature", "content": {}}, label=LABEL),
        dictionary(image=dictionary(image={"pythonClassName": "sets.payload.Feature"}), label=LABEL),
    ],
)
def test_no_module_that_a_data_set_names_is_imported(sets, version, description, monkeypatch):
    (sets / "payload.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(sets.parent)
    (version / "features.json").write_text(json.dumps(description))
    change(version / "dataset_info.json", moduleName="sets.payload")
    refusal(sets)
    assert not (sets / "ran").exists()
    assert "sets.payload" not in sys.modules


def test_a_feature_of_a_class_of_somebodys_own_is_not_looked_at(sets, version):
    (sets / "payload.py").write_text(PAYLOAD)
    description = json.loads((version / "features.json").read_text())
    description["featuresDict"]["features"]["other"] = {"pythonClassName": "sets.payload.Feature"}
    (version / "features.json").write_text(json.dumps(description))
    assert len(load("tfds:drawn", Options(dir=sets)).train) == 6


@pytest.mark.slow
def test_neither_data_nor_evaluate_nor_resume_imports_what_a_data_set_names(flaxcnn, sets, version):
    options = ("--model.name", "small_cnn", "--training.steps", "2", "--training.batch_size", "2", "--out", "run")
    assert flaxcnn("train", "--data.source", "tfds:drawn", "--data.dir", sets, *options).returncode == 0
    (sets / "payload.py").write_text(PAYLOAD)  # `python -m` looks for modules in the folder where it is called
    (version / "features.json").write_text(json.dumps({"pythonClassName": "sets.payload.Feature", "featuresDict": {}}))
    for words in (("data", "tfds:drawn", "--data.dir", sets), ("evaluate", "run"), ("resume", "run")):
        ended = flaxcnn(*words)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "found sets.payload.Feature" in ended.stderr
        assert not (sets / "ran").exists()


def test_a_description_in_the_words_of_old_versions_is_read(sets, version):
    # As TFDS wrote it before 4.5, and as it still stands in sets that were converted since.
    old = {
        "type": f"{TFDS}.features_dict.FeaturesDict",
        "content": {
            "image": {
                "type": f"{TFDS}.image_feature.Image",
                "content": {"shape": [None, None, 1], "dtype": "uint8", "encoding_format": "png"},
            },
            "label": {"type": f"{TFDS}.class_label_feature.ClassLabel", "content": {"num_classes": 3}},
        },
    }
    before = load("tfds:drawn", Options(dir=sets))
    (version / "features.json").write_text(json.dumps(old))
    assert load("tfds:drawn", Options(dir=sets)).digests == before.digests
    assert load("tfds:drawn", Options(dir=sets)).target_names == NAMES


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [DEEP, "[" * 100_000, '{"a": 1e999}', '{"a": NaN}', "\ufeff{}", '{"a": "\\ud800"}'])
def test_a_description_that_no_reader_can_take_is_one_line(sets, version, name, content):
    (version / name).write_text(content, encoding="utf-8")
    refusal(sets)


@pytest.mark.parametrize(
    "fields",
    [
        {"splits": [{"name": "train"}, {"name": "test"}]},
        {"splits": {"train": 3}},
        {"splits": [{"name": ["train"]}]},
        {"name": 3},
        {"name": "../../drawn"},
        {"name": "/etc/passwd"},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": "x" * 10_000},
        {"fileFormat": None},
        {"alternativeFileFormats": "array_record", "fileFormat": "tfrecord"},
    ],
)
def test_a_description_of_wrong_types_or_names_is_one_line(sets, version, fields):
    change(version / "dataset_info.json", **fields)
    refusal(sets)


@pytest.mark.parametrize(
    "lengths", [["-1"], ["1_000"], ["٣"], [2**63], ["9" * 5000], [1.5], ["7"], ["5"], ["3", "3"], []]
)
def test_a_count_of_examples_that_lies_takes_no_memory(sets, version, lengths):
    change(
        version / "dataset_info.json", splits=[{"name": name, "shardLengths": lengths} for name in ("train", "test")]
    )
    refusal(sets)


@pytest.mark.parametrize(
    "template",
    [
        "../{DATASET}-{SPLIT}",
        "/dev/zero",
        "{SPLIT.__class__}",
        "{SPLIT:>999999999}",
        "a\0b",
        "\x1b[2J",
        ".",
        "{DATASET}" * 10_000,
    ],
)
def test_a_template_of_file_names_leads_nowhere_else(sets, version, template):
    splits = [{"name": name, "shardLengths": ["3"], "filepathTemplate": template} for name in ("train", "test")]
    change(version / "dataset_info.json", splits=splits)
    refusal(sets)


@pytest.mark.parametrize(
    "name", ["dataset_info.json", "features.json", "label.labels.txt", "drawn-test.array_record-00000-of-00001"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "outside", "folder"])
def test_only_regular_files_in_the_data_sets_folder_are_read(sets, version, name, kind):
    content = (version / name).read_bytes()
    (version / name).unlink()
    if kind == "pipe":
        os.mkfifo(version / name)
    elif kind == "folder":
        (version / name).mkdir()
    else:
        (sets.parent / "secret").write_bytes(content)
        (version / name).symlink_to("/dev/zero" if kind == "device" else sets.parent / "secret")
    refusal(sets)


def test_a_link_within_the_data_sets_folder_is_followed(sets, version):
    (version / "features.json").rename(version / "blob")
    (version / "features.json").symlink_to("blob")
    assert len(load("tfds:drawn", Options(dir=sets)).train) == 6


@pytest.mark.parametrize(
    "content",
    [
        b"circle\nsquare\n",
        b"circle\nsquare\n\x1b[2Jtriangle\n",
        b"circle\nsquare\n\xff\xfe\n",
        b"a\nb\nc\nd\n",
        b"a\nb\n\x00\n",
    ],
)
def test_class_names_are_as_many_as_declared_and_nothing_a_terminal_obeys(sets, version, content):
    (version / "label.labels.txt").write_bytes(content)
    refusal(sets)


@pytest.mark.parametrize("count", ["1000000000000", 10**18, "-1", None, "many"])
def test_a_number_of_classes_that_lies_takes_no_memory(sets, version, count):
    (version / "label.labels.txt").unlink()
    description = json.loads((version / "features.json").read_text())
    description["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = count
    (version / "features.json").write_text(json.dumps(description))
    refusal(sets)


def test_a_sparse_file_in_place_of_any_other_is_one_line(sets, version):
    for path in list(version.iterdir()):
        content = path.read_bytes()
        os.truncate(path, 1 << 40)
        refusal(sets)
        path.write_bytes(content)


def feature(field, *values):
    return message((field, b"".join(message((1, value)) for value in values)))


def example(**named):
    entries = [(1, message((1, key.encode()), (2, value))) for key, value in named.items()]
    return message((1, message(*entries)))


PNG = encoded(drawings(1, (4, 4), 0)[0])


@pytest.mark.parametrize(
    "record",
    [
        example(image=feature(1, PNG), label=feature(3, 2**40)),
        example(image=feature(1, PNG), label=feature(3, 2**63)),
        example(image=feature(1, PNG), label=feature(3, 3)),
        example(image=feature(1, PNG), label=feature(3, 0, 1)),
        example(image=feature(1, PNG), label=feature(3)),
        example(image=feature(1, PNG), label=feature(1, b"1")),
        example(image=feature(3, 1), label=feature(3, 1)),
        example(image=feature(1, PNG, PNG), label=feature(3, 1)),
        example(image=feature(1, PNG)),
        example(label=feature(3, 1)),
        example(other=feature(1, PNG)),
        b"\xff" * 40,
        b"\x0b" * 40,  # groups within each other
    ],
)
def test_an_example_that_is_no_image_with_a_label_in_range_is_one_line(sets, version, record):
    good = example(image=feature(1, PNG), label=feature(3, 1))
    for split, records in (("train", [good, record]), ("test", [good])):
        chunks = [(chunk_of([each]), 1, len(each)) for each in records]
        (version / f"drawn-{split}.array_record-00000-of-00001").write_bytes(array_record(chunks))
    splits = [{"name": "train", "shardLengths": ["2"]}, {"name": "test", "shardLengths": ["1"]}]
    change(version / "dataset_info.json", splits=splits)
    assert "train" in refusal(sets)
