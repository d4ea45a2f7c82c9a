"""Tables, arrays and sets of images from strangers: whatever their bytes are."""

import io
import json

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest

from flaxcnn.data import Options, load
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json

RANDOM = np.random.default_rng(0)
ROWS = [
    {
        "path": f"{name}.png",
        "label": "xy"[n % 2],
        "area": n / 2 or None,
        "tags": "u|v",
        "plant": f"p{n}",
        "split": split,
    }
    for n, (name, split) in enumerate(zip("abcd", ("train", "train", "val", "test"), strict=True))
]
OPTIONS = [
    Options(),
    Options(target=("label", "area:number", "tags[]"), group="plant", on_bad="skip"),
    Options(target=("area", "split:class"), on_bad="skip", cache=False),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    for n, name in enumerate("abcd"):
        PIL.Image.fromarray(np.full((4, 5), n, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def try_table(path, kind, mutations, seeds):
    """Read tables with one set of options after the other, and the seeds, which are sound, with each."""

    def run(data, options):
        path.write_bytes(data)
        load(f"{kind}:{path}", options)

    for seed in seeds:
        for options in OPTIONS:
            run(seed, options)
    hold(lambda each: run(each[1], OPTIONS[each[0] % len(OPTIONS)]), enumerate(mutations))


def csv(delimiter, quote=""):
    lines = [list(ROWS[0]), *(["" if cell is None else str(cell) for cell in row.values()] for row in ROWS)]
    return "\r\n".join(delimiter.join(f"{quote}{cell}{quote}" for cell in line) for line in lines).encode()


def test_no_csv_is_answered_with_anything_but_a_line(folder):
    seeds = [csv(","), csv(";", '"'), b"\xef\xbb\xbf" + csv("\t")]
    try_table(folder / "t.csv", "csv", mutated_bytes(seeds, count()), seeds)


def test_no_lines_of_json_are_answered_with_anything_but_a_line(folder):
    lines = [json.dumps(row).encode() for row in ROWS]
    seeds = [b"\n".join(lines), b"\n".join(json.dumps({**row, "tags": ["u", "v"]}).encode() for row in ROWS)]
    path, rest = folder / "t.jsonl", b"\n".join(lines[1:])
    try_table(path, "jsonl", mutated_bytes(seeds, count(2)), seeds)
    try_table(path, "jsonl", (each + b"\n" + rest for each in mutated_json([ROWS[0]], count(2))), [])


def test_no_parquet_is_answered_with_anything_but_a_line(folder):
    seeds = []
    for options in ({}, {"compression": "zstd", "use_dictionary": False}, {"data_page_version": "2.0"}):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), buffer, **options)
        seeds.append(buffer.getvalue())
    try_table(folder / "t.parquet", "parquet", mutated_bytes(seeds, count(2)), seeds)


def test_no_arrays_are_answered_with_anything_but_a_line(tmp_path):
    images = RANDOM.integers(0, 256, (9, 4, 5, 3), np.uint8)
    seeds = []
    for save in (np.savez, np.savez_compressed):
        for arrays in (
            {"images": images, "labels": np.arange(9) % 3},
            {"x_train": images, "y_train": np.ones(9), "x_test": images, "y_test": np.ones(9)},
        ):
            buffer = io.BytesIO()
            save(buffer, **arrays)
            seeds.append(buffer.getvalue())

    def run(data):
        (tmp_path / "a.npz").write_bytes(data)
        load(f"npz:{tmp_path}/a.npz", Options(test=0.5))

    for seed in seeds:
        run(seed)
    hold(run, mutated_bytes(seeds, count(2)))
    buffer = io.BytesIO()
    np.save(buffer, images)
    np.save(tmp_path / "labels.npy", np.arange(9) % 3)

    def run_one(data):
        (tmp_path / "a.npy").write_bytes(data)
        for in_memory in (0, 1 << 20):
            load(f"npy:{tmp_path}/a.npy", Options(test=0.5), in_memory)

    run_one(buffer.getvalue())
    hold(run_one, mutated_bytes([buffer.getvalue()], count(2)))


def test_no_cifar_is_answered_with_anything_but_a_line(tmp_path):
    records = b"".join(bytes([n, n]) + RANDOM.integers(0, 256, 3072, np.uint8).tobytes() for n in range(2))
    names = "\n".join(f"name {n}" for n in range(100)).encode()
    content = {"train.bin": records, "test.bin": records, "fine_label_names.txt": names}
    for name, seed in content.items():
        for each, whole in content.items():
            (tmp_path / each).write_bytes(whole)

        def run(data, path=tmp_path / name):
            path.write_bytes(data)
            load(f"cifar100:{tmp_path}", Options(target=("fine", "coarse")))

        run(seed)
        hold(run, mutated_bytes([seed], count(2)))


@pytest.fixture
def saved(folder):
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "ant"], "_type": "ClassLabel"},
        "tags": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    }
    rows = [
        {"image": {"bytes": (folder / f"{name}.png").read_bytes(), "path": None}, "label": n % 2, "tags": ["u"] * n}
        for n, name in enumerate("abcd")
    ]
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.OSFile(str(folder / "data.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    declared = {
        "state.json": {"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": None},
        "dataset_info.json": {"features": features},
    }
    for name, told in declared.items():
        (folder / name).write_text(json.dumps(told))
    return folder, declared


def test_no_saved_set_is_answered_with_anything_but_a_line(saved):
    folder, declared = saved
    options = Options(target=("label", "tags"), on_bad="skip", test=0.5)
    load(f"hf:{folder}", options)

    def run_on(path):
        def run(data):
            path.write_bytes(data)
            load(f"hf:{folder}", options)

        return run

    for name, told in declared.items():
        hold(run_on(folder / name), mutated_json([told], count(4)))
        (folder / name).write_text(json.dumps(told))
    names = mutated_json([{"splits": ["train", "test"]}], count(8))
    hold(run_on(folder / "dataset_dict.json"), names)
    (folder / "dataset_dict.json").unlink()
    hold(run_on(folder / "data.arrow"), mutated_bytes([(folder / "data.arrow").read_bytes()], count(2)))
