"""A data set as Hugging Face's `datasets` 5.2.0 saves it is read from its files, or one line says what is wrong."""

import io
import json
import pickle
from collections import Counter

import numpy as np
import PIL.Image
import pyarrow
import pytest

from flaxcnn.data import Options, StoredImages, load
from flaxcnn.data.photographs import scanning
from flaxcnn.data.sources.hugging_face.arrow import ArrowImages
from flaxcnn.errors import ConfigError, DataError

CLASSES = {"names": ["cat", "ant", "bee"], "_type": "ClassLabel"}
FEATURES = {
    "image": {"_type": "Image"},
    "label": CLASSES,
    "area": {"dtype": "float32", "_type": "Value"},
    "tags": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "who": {"dtype": "string", "_type": "Value"},
}
TYPES = pyarrow.schema(
    {
        "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        "label": pyarrow.int64(),
        "area": pyarrow.float32(),
        "tags": pyarrow.list_(pyarrow.string()),
        "who": pyarrow.string(),
    }
)


def png(gray):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((4, 5, 3), gray, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count, first=0):
    return [
        {
            "image": {"bytes": png(first + n), "path": None},
            "label": n % 3,
            "area": n / 2,
            "tags": ["x", "y"][: n % 3],
            "who": f"p{n // 2}",
        }
        for n in range(count)
    ]


def save(folder, shards, features=FEATURES, **state):
    folder.mkdir(exist_ok=True, parents=True)
    names = [f"data-{n:05}-of-{len(shards):05}.arrow" for n in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        table = pyarrow.Table.from_pylist(shard, TYPES)
        with pyarrow.OSFile(str(folder / name), "wb") as file, pyarrow.ipc.new_stream(file, TYPES) as stream:
            stream.write_table(table, max_chunksize=2)
    told = {"_data_files": [{"filename": name} for name in names], "_split": None, **state}
    (folder / "state.json").write_text(json.dumps(told))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features, "citation": ""}))
    return folder


def save_splits(root, **splits):
    for name, shards in splits.items():
        save(root / name, shards)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return root


def refused(root, error=DataError, **options):
    with pytest.raises(error) as refusal:
        load(f"hf:{root}", Options(**options))
    return str(refusal.value)


def grays(split):
    return np.asarray(split.images)[:, 0, 0, 0].tolist()


def test_the_splits_of_a_dictionary_are_read_from_all_their_files(tmp_path):
    save_splits(tmp_path, train=[rows(3), rows(3, 10)], valid=[rows(1, 50)], test=[rows(2, 60)], unsupervised=[rows(1)])
    dataset = load(f"hf:{tmp_path}")
    assert [grays(split) for split in dataset.splits.values()] == [[0, 1, 2, 10, 11, 12], [60, 61], [50]]
    assert dataset.target_names == ("cat", "ant", "bee")  # in the order in which they are declared
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([0, 1, 2, 0, 1, 2], [0, 1])
    assert dataset.train.names[-1] == "train/5"
    assert dataset.notes == (f"hf:{tmp_path}: the splits unsupervised are not used",)


def test_columns_are_targets_of_their_types_and_groups(tmp_path):
    examples = rows(12)
    examples[4]["label"] = -1
    save(tmp_path, [examples])
    dataset = load(f"hf:{tmp_path}", Options(target=("label", "area", "tags"), group="who"))
    assert dataset.target_names == {"label": ("cat", "ant", "bee"), "area": ("area",), "tags": ("x", "y")}
    for split in dataset.splits.values():
        gray = np.asarray(grays(split))
        np.testing.assert_array_equal(split.targets["label"], np.where(gray == 4, -1, gray % 3))
        np.testing.assert_array_equal(split.targets["area"], gray.astype(np.float32) / 2)
        np.testing.assert_array_equal(split.targets["tags"], np.stack([gray % 3 > 0, gray % 3 > 1], 1))
        assert {name: int(gray) for name, gray in zip(split.names, gray, strict=True)} == {str(g): g for g in gray}
    assert not set(dataset.train.groups) & set(dataset.test.groups)
    assert "1 of 12 rows have no 'label'" in refused(tmp_path)


def test_images_beyond_the_memory_are_read_from_the_files_where_they_lie(tmp_path):
    save_splits(tmp_path, train=[rows(3), rows(3, 10)], test=[rows(2, 60)])
    dataset = load(f"hf:{tmp_path}", Options(cache=False), in_memory=10)
    assert isinstance(dataset.train.images, StoredImages)
    again = pickle.loads(pickle.dumps(dataset.train.images))
    assert again[[5, 0, 3]][:, 0, 0, 0].tolist() == [12, 0, 10]
    assert dataset.digests == load(f"hf:{tmp_path}").digests
    save(tmp_path / "train", [rows(3), rows(3, 11)])
    with pytest.raises(DataError, match="changed since the data set was loaded"):
        pickle.loads(pickle.dumps(dataset.train.images))[[3]]


def test_what_was_scanned_is_read_again_only_where_its_file_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "_TICK", -(10**12))  # files of just now count as old
    save_splits(tmp_path, train=[rows(3), rows(3, 10)], test=[rows(3, 60)])
    first = load(f"hf:{tmp_path}")
    read = []
    before = ArrowImages.read
    monkeypatch.setattr(ArrowImages, "read", lambda self, path: read.append(path) or before(self, path))
    assert load(f"hf:{tmp_path}").digests == first.digests
    assert read == []
    save(tmp_path / "test", [rows(3, 61)])
    assert load(f"hf:{tmp_path}").digests != first.digests
    # The changed file is scanned, and its split makes a new entry of the cache, for which all is decoded.
    assert Counter(read) == {**{f"train/{n}": 1 for n in range(6)}, **{f"test/{n}": 2 for n in range(3)}}


def test_images_that_cannot_be_used_are_counted(tmp_path):
    examples = rows(8)
    examples[2]["image"] = {"bytes": None, "path": "/photos/2.jpg"}
    examples[3]["image"] = None
    examples[5]["image"]["bytes"] = b"no image"
    save(tmp_path, [examples])
    line = refused(tmp_path)
    assert "3 of 8 files cannot be used" in line
    assert "2: no bytes, but the path of a file; 3: no bytes" in line
    dataset = load(f"hf:{tmp_path}", Options(on_bad="skip"))
    assert sorted(grays(dataset.train) + grays(dataset.test)) == [0, 1, 4, 6, 7]


def test_columns_that_are_not_there_are_refused(tmp_path):
    save(tmp_path, [rows(6)])
    assert "Did you mean 'label'?" in refused(tmp_path, ConfigError, target=("lable",))
    assert "no column 'whom'" in refused(tmp_path, ConfigError, group="whom")
    assert "no column 'image'" in refused(tmp_path, ConfigError, target=("image",))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"features": {}}, "no column of images"),
        ({"features": {**FEATURES, "image": FEATURES["who"]}}, "no column of images"),
        ({"features": {**FEATURES, "who": {"_type": "Image"}, "image": FEATURES["who"]}}, "'who': a struct with bytes"),
        ({"features": {**FEATURES, "label": {**CLASSES, "names": ["cat", "ant"]}}}, "expected 0 to 1, or -1"),
        ({"features": {"image": FEATURES["image"], "class": FEATURES["who"]}}, "no column 'class'"),
        ({"_data_files": []}, "damaged; expected the names of Arrow files"),
        ({"_data_files": [{"filename": "../outside.arrow"}]}, "damaged; expected the names of Arrow files"),
        ({"_data_files": [{"filename": "none.arrow"}]}, "no such file"),
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "rows chosen by a file of indices"),
    ],
)  # fmt: skip
def test_what_the_folder_declares_has_to_fit(tmp_path, changed, told):
    save(tmp_path, [rows(6)], **{"features": FEATURES, **changed})
    assert told in refused(tmp_path)


def test_a_folder_or_file_that_is_none_is_one_line(tmp_path):
    assert "no data set that save_to_disk wrote" in refused(tmp_path)
    assert "no data set that save_to_disk wrote" in refused(tmp_path / "none")
    save_splits(tmp_path, train=[rows(3)], test=[rows(3)])
    path = tmp_path / "test" / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    path.write_bytes(b"ARROW1" + whole)
    assert "damaged; expected a stream of Arrow" in refused(tmp_path)
    (tmp_path.parent / "outside.arrow").write_bytes(whole)
    path.unlink()
    path.symlink_to(tmp_path.parent / "outside.arrow")
    assert "lies outside" in refused(tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["../train"]}')
    assert "expected the names of the splits" in refused(tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "none"]}')
    assert "no data set that save_to_disk wrote" in refused(tmp_path)
    (tmp_path / "none").mkdir()
    save(tmp_path / "none", [rows(3)])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["none"]}')
    assert "no known split; expected train, training," in refused(tmp_path)


def test_splits_with_other_classes_are_refused(tmp_path):
    save_splits(tmp_path, train=[rows(3)], test=[rows(3)])
    other = {**FEATURES, "label": {**CLASSES, "names": ["ant", "bee", "cat"]}}
    save(tmp_path / "test", [rows(3)], other)
    assert "splits with different features 'label'" in refused(tmp_path)
