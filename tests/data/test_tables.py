"""A table of image files becomes a data set, or one error says which cells of which rows do not fit."""

import csv
import json
import math

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.photographs import scanning
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.data.sources.tables import reading
from flaxcnn.data.sources.tables.reading import read_table
from flaxcnn.errors import ConfigError, DataError

KINDS = ("csv", "jsonl", "parquet")
ROWS = [
    {"path": "a.png", "species": "bee", "count": 10, "area": 1.5, "plant": "p1", "split": "train"},
    {"path": "b.png", "species": "ant", "count": 9, "area": 2.0, "plant": "p1", "split": "training"},
    {"path": "c.png", "species": "bee", "count": 10, "area": None, "plant": "p2", "split": "val"},
    {"path": "d.png", "species": None, "count": 9, "area": -0.25, "plant": "p3", "split": "Test"},
]


@pytest.fixture
def folder(tmp_path):
    """Images a.png to h.png, each of its own gray: 0, 10, 20 and so on."""
    for place, name in enumerate("abcdefgh"):
        PIL.Image.fromarray(np.full((4, 5), 10 * place, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def write(path, kind, rows):
    if kind == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def made(folder, rows=ROWS, kind="csv", **options):
    path = folder / f"table.{kind}"
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    else:
        write(path, kind, rows)
    return load(f"{kind}:{path}", Options(**options))


def refused(*args, error=DataError, **options):
    with pytest.raises(error) as refusal:
        made(*args, **options)
    return str(refusal.value)


def grays(split):
    return np.asarray(split.images)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_become_a_dictionary_of_targets_in_the_splits_that_the_table_names(folder, kind):
    dataset = made(folder, kind=kind, target=("species", "count", "area"))
    assert [grays(split) for split in (dataset.train, dataset.validation, dataset.test)] == [[0, 10], [20], [30]]
    # Classes are sorted: as text, integers as numbers. An empty cell lacks the target.
    assert dataset.target_names == {"species": ("ant", "bee"), "count": ("9", "10"), "area": ("area",)}
    train, validation, test = (split.targets for split in (dataset.train, dataset.validation, dataset.test))
    assert (train["species"].tolist(), validation["species"].tolist(), test["species"].tolist()) == ([1, 0], [1], [-1])
    assert (train["count"].tolist(), test["count"].tolist()) == ([1, 0], [0])
    assert (train["area"].dtype, train["area"].tolist(), test["area"].tolist()) == (np.float32, [1.5, 2.0], [-0.25])
    assert math.isnan(validation["area"][0])
    assert dataset.train.names == ("a.png", "b.png")


@pytest.mark.parametrize("kind", KINDS)
def test_one_column_is_a_single_target(folder, kind):
    rows = [{"file_name": f"{name}.png", "Label": "xy"[place % 2]} for place, name in enumerate("abcdefgh")]
    dataset = made(folder, rows, kind)
    assert dataset.target_names == ("x", "y")
    of = {name: int(t) for split in dataset.splits.values() for name, t in zip(split.names, split.targets, strict=True)}
    assert of == {f"{name}.png": place % 2 for place, name in enumerate("abcdefgh")}
    assert len(dataset.test) == 2  # a fifth of each class of four, at least one: drawn by content
    again = made(folder, rows[::-1], kind)
    assert set(again.test.names) == set(dataset.test.names)


@pytest.mark.parametrize(
    ("cells", "asked", "dtype", "values", "names"),
    [
        (["1", "2", "10", "2"], "y", np.int32, [0, 1, 2, 1], ("1", "2", "10")),
        (["1", "2", "10", "2"], "y:number", np.float32, [1, 2, 10, 2], ("y",)),
        (["1", "2.5", "-3e1", ".5"], "y", np.float32, [1, 2.5, -30, 0.5], ("y",)),
        (["1.0", "2.0", "1.0", "2.0"], "y", np.float32, [1, 2, 1, 2], ("y",)),
        (["1.0", "2.5", "1.0", "2.5"], "y:class", np.int32, [0, 1, 0, 1], ("1.0", "2.5")),
        (["2", "10", "b", "2"], "y", np.int32, [1, 0, 2, 1], ("10", "2", "b")),
        (["01", "1", "2", "1"], "y", np.int32, [0, 1, 2, 1], ("01", "1", "2")),
        ([" ü ", "ü", "z", "z"], "y", np.int32, [1, 1, 0, 0], ("z", "ü")),
    ],
)
def test_a_column_is_classes_or_numbers_by_its_cells_or_as_the_user_says(folder, cells, asked, dtype, values, names):
    rows = [{"path": f"{name}.png", "y": cell, "split": "train"} for name, cell in zip("abcd", cells, strict=True)]
    dataset = made(folder, [*rows, {"path": "e.png", "y": cells[0], "split": "test"}], target=(asked,))
    assert dataset.train.targets.dtype == dtype
    np.testing.assert_array_equal(dataset.train.targets, np.asarray(values, dtype))
    assert dataset.target_names == names


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_numbers_of_json_and_parquet_are_classes_or_numbers_by_their_type(folder, kind):
    rows = [{"path": f"{name}.png", "whole": 3, "real": 2.0, "flag": name == "a", "split": "train"} for name in "abcd"]
    rows[3] |= {"split": "test", "whole": 20}
    dataset = made(folder, rows, kind, target=("whole", "real", "flag"))
    assert dataset.target_names == {"whole": ("3", "20"), "real": ("real",), "flag": ("false", "true")}
    assert dataset.train.targets["flag"].tolist() == [1, 0, 0]
    assert dataset.train.targets["real"].tolist() == [2, 2, 2]


def test_labels_are_divided_by_bars_or_semicolons(folder):
    cells = ["wing|spot", "spot; wing", "", "leg"]
    rows = [{"path": f"{name}.png", "marks": cell} for name, cell in zip("abcd", cells, strict=True)]
    rows = [{**row, "split": "test" if row["path"] == "d.png" else "train"} for row in rows]
    dataset = made(folder, rows, target=("marks[]",))
    assert dataset.target_names == ("leg", "spot", "wing")
    assert dataset.train.targets.tolist() == [[False, True, True], [False, True, True], [False, False, False]]
    assert dataset.test.targets.tolist() == [[True, False, False]]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_labels_are_lists_where_the_file_has_them(folder, kind):
    rows = [{"path": f"{name}.png", "marks": marks} for name, marks in zip("ab", [["x|y", "z"], ["z"]], strict=True)]
    dataset = made(folder, [row | {"split": split} for row, split in zip(rows, ("train", "test"), strict=True)], kind,
                   target=("marks[]",))  # fmt: skip
    assert dataset.target_names == ("x|y", "z")
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([[True, True]], [[False, True]])
    assert "write marks[]" in refused(folder, rows, kind, target=("marks",))


def test_a_column_whose_own_name_ends_as_a_kind_is_found(folder):
    rows = [
        {"path": f"{name}.png", "id:number": name, "split": s} for name, s in zip("ab", ("train", "test"), strict=1)
    ]
    assert made(folder, rows, target=("id:number",)).target_names == ("a", "b")


def test_groups_stay_on_one_side(folder):
    rows = [{"path": f"{name}.png", "label": "xy"[i % 2], "plant": "pqrs"[i // 2]} for i, name in enumerate("abcdefgh")]
    dataset = made(folder, rows, group="Plant", test=0.3)
    assert not set(dataset.train.groups) & set(dataset.test.groups)
    of = {n: int(g) for split in dataset.splits.values() for n, g in zip(split.names, split.groups, strict=True)}
    assert of == {f"{name}.png": place // 2 for place, name in enumerate("abcdefgh")}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_excel_and_others_is_read(folder, delimiter, mark, end):
    lines = [["path", "n,o;te", "label"], ["a.png", 'a "word"', "x"], [], ["b.png", "two\nlines, or; more", "y"]]
    text = end.join(
        delimiter.join('"' + cell.replace('"', '""') + '"' if set(cell) & set(',;\n"') else cell for cell in line)
        for line in lines
    )
    path = folder / "t.csv"
    path.write_bytes(mark + text.encode())
    table = read_table(path, "csv", lambda names: names)
    assert table.columns == {
        "path": ["a.png", "b.png"], "n,o;te": ['a "word"', "two\nlines, or; more"], "label": ["x", "y"],
    }  # fmt: skip
    assert list(table.numbers) == [2, 4]


def test_paths_begin_in_the_folder_that_the_user_names(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    rows = [{"path": f"./{name}.png", "label": "xy"[place % 2]} for place, name in enumerate("abcd")]
    rows[1]["path"] = str(folder / "b.png")
    write(elsewhere / "table.csv", "csv", rows)
    with pytest.raises(DataError, match="4 of 4 files cannot be used"):
        load(f"csv:{elsewhere / 'table.csv'}")
    dataset = load(f"csv:{elsewhere / 'table.csv'}", Options(dir=str(folder)))
    assert sorted(dataset.train.names + dataset.test.names) == ["a.png", "b.png", "c.png", "d.png"]
    with pytest.raises(ConfigError, match="no such folder"):
        load(f"csv:{elsewhere / 'table.csv'}", Options(dir=str(folder / "none")))


def test_files_that_are_missing_or_lie_outside_are_counted_and_the_first_ten_are_named(folder):
    outside = folder.parent / "outside.png"
    (folder / "a.png").rename(outside)
    (folder / "a.png").symlink_to(outside)
    rows = [{"path": f"none{n:02}.png", "label": "x"} for n in range(9)]
    rows += [{"path": path, "label": "y"} for path in ("../outside.png", str(outside), "a.png", "b.png", "c.png")]
    rows[0]["label"] = "z"
    line = refused(folder, rows)
    assert "12 of 14 files cannot be used" in line
    assert "../outside.png: lies outside the folder" in line
    assert f"{outside}: lies outside the folder" in line
    assert "a.png: a link out of the folder" in line
    assert "none06.png: no such file or directory" in line
    assert "none07.png" not in line
    assert line.count("2 more") == 1
    dataset = made(folder, rows, on_bad="skip")
    assert sorted(dataset.train.names + dataset.test.names) == ["b.png", "c.png"]


def test_empty_cells_of_a_single_target_are_one_error(folder):
    line = refused(folder, target=("area",))
    assert "1 of 4 rows have no 'area'" in line
    assert "line 4" in line
    rows = [{"path": f"{n}.png", "label": "" if n > 1 else "x"} for n in range(20)]
    assert "lines 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 8 more" in refused(folder, rows)


@pytest.mark.parametrize(
    ("cells", "asked", "told"),
    [
        (["1", "abc", "2", "nan"], "y:number", "2 of 4 rows have no number in 'y'"),
        (["1", "abc", "2", "nan"], "y:number", "'abc' in line 3, 'nan' in line 5"),
        (["1", "1e40", "2", "3"], "y:number", "'1e40' in line 3"),
        (["1", "1_0", "2", "٣"], "y:number", "'1_0' in line 3, '٣' in line 5"),
        (["1.5", "abc", "2", "3"], "y", "numbers and texts in column 'y'"),
        (["1,5", "2,5", "2", "3"], "y", "decimal commas in column 'y'"),
        (["", "", "", ""], "y", "no 'y'"),
        (["", "", "", ""], "y[]", "no labels in column 'y'"),
    ],
)
def test_cells_that_are_no_numbers_are_listed(folder, cells, asked, told):
    rows = [{"path": f"{name}.png", "y": cell} for name, cell in zip("abcd", cells, strict=True)]
    assert told in refused(folder, rows, target=(asked,))


def test_many_classes_of_integers_are_told(folder):
    rows = [{"path": "abcd"[n % 4] + ".png", "y": n // 4, "split": "train"} for n in range(0, 200, 4)]
    for n, row in enumerate(rows):
        PIL.Image.fromarray(np.full((4, 5), n, np.uint8)).save(folder / f"{n}.png")
        row |= {"path": f"{n}.png", "split": "test" if n < 5 else "train"}
    notes = made(folder, rows, target=("y",)).notes
    assert any("50 classes in 50 rows; for numbers write y:number" in note for note in notes)
    assert not made(folder, rows, target=("y:number",)).notes


def test_rows_of_one_file_have_to_agree(folder):
    rows = [{"path": f"{name}.png", "label": "xy"[place % 2]} for place, name in enumerate("abcd")]
    rows.append({"path": "./a.png", "label": "x "})
    dataset = made(folder, rows)
    assert sorted(dataset.train.names + dataset.test.names) == ["a.png", "b.png", "c.png", "d.png"]
    assert any("1 rows repeat an earlier one" in note for note in dataset.notes)
    rows[-1]["label"] = "y"
    assert "a.png in lines 2, 6" in refused(folder, rows)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": ("specis",)}, "Did you mean 'species'?"),
        ({"target": ("area", "Area")}, "a column named twice"),
        ({"target": ("area", "wing[]")}, "no column 'wing'"),
        ({"target": ("area",), "group": "plants"}, "Did you mean 'plant'?"),
        ({"class_level": 2}, "not an option of this source"),
    ],
)
def test_columns_that_are_not_there_are_refused(folder, options, told):
    assert told in refused(folder, error=ConfigError, **options)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no names of columns"),
        (b"path,label\n", "no rows"),
        (b"path,kind\na.png,x\n", "no column to learn"),
        (b"name,label\na.png,x\n", "no column of image files"),
        (b"path,label,label\na.png,x,y\n", "two columns of one name"),
        (b"path,label\na.png,x,y\n", "line 2: a row of another length; expected 2 cells"),
        (b"path,label\na.png,x\nb.png\n", "line 3: a row of another length"),
        (b"path,label\na.png,x\nb.png,\"y\n", "line 3: damaged"),
        (b"path,label\na.png,\"x\"y\n", "line 2: damaged"),
        (b"path,label\na.png,x\0\n", "line 2: a null byte"),
        (b"path,label\na.png,\xe9\n", "line 2: not text in UTF-8; found byte 0xe9"),
        ("path,label\n".encode("utf-16"), "line 1: not text in UTF-8"),
        (b"path,label\na.png,x\n,y\n", "1 of 2 rows have no 'path'"),
        (b"path,label,split\na.png,x,train\nb.png,y,dev\n", "found 'dev' in line 3"),
        (b"path,label,split\na.png,x,train\nb.png,y,\n", "1 of 2 rows have no 'split'"),
        (b"path,label\na.png,x\nb.png," + b"y" * (1 << 20) + b"z\n", "line 3: damaged: field larger"),
    ],
)  # fmt: skip
def test_csv_that_is_none_is_one_line(folder, content, told):
    assert told in refused(folder, content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{}", "no names of columns"),
        (b'{"path": "a.png", "label": "x"}\n[1]', "line 2: damaged"),
        (b'{"path": "a.png", "label": "x"}\n{"path": ', "line 2: damaged"),
        (b'{"path": "a.png", "label": {"x": 1}}', "line 1, 'label': a cell of the wrong kind"),
        (b'{"path": "a\\u0000.png", "label": "x"}', "a null byte"),
        (b'{"path": ["a.png"], "label": "x"}', "1 of 1 rows have no 'path'"),
        (b'{"path": "a.png", "label": NaN}', "damaged"),
    ],
)
def test_lines_that_are_no_json_are_one_line(folder, content, told):
    assert told in refused(folder, content, "jsonl")


def test_parquet_that_is_none_is_one_line(folder):
    assert "damaged; expected a Parquet file" in refused(folder, b"PAR1 and no more", "parquet")
    rows = [{"path": "a.png", "label": {"bytes": b"x", "path": "y"}}]
    assert "a column of the wrong kind; expected texts" in refused(folder, rows, "parquet")
    rows = [{"path": "a.png", "label": b"\xff"}]
    assert "found binary" in refused(folder, rows, "parquet")
    with pytest.raises(DataError, match="no such file"):
        load(f"parquet:{folder / 'none.parquet'}")


def test_a_text_that_a_parquet_file_repeats_is_held_once(folder):
    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(200_000, np.int32)), ["x" * 500_000]
    )  # 100 GB, were each a text of its own
    path = folder / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"label": texts}), path)
    cells = read_table(path, "parquet", lambda names: names).columns["label"]
    assert (len(cells), len(cells[-1])) == (200_000, 500_000)


def test_files_that_were_scanned_are_not_read_again(folder, monkeypatch):
    monkeypatch.setattr(scanning, "_TICK", -(10**12))  # files of just now count as old
    first = made(folder, target=("count",))
    read = []
    before = Files.read
    monkeypatch.setattr(Files, "read", lambda self, path: read.append(path) or before(self, path))
    assert made(folder, target=("count",)).digests == first.digests
    assert read == []
    PIL.Image.fromarray(np.full((4, 5), 99, np.uint8)).save(folder / "b.png")
    assert grays(made(folder, target=("count",)).train) == [0, 99]
    # b.png is scanned; then all are decoded into a new entry of the cache.
    assert sorted(read) == ["a.png", "b.png", "b.png", "c.png", "d.png"]


def test_tables_beyond_the_limits_are_refused(folder, monkeypatch):
    for kind in KINDS:
        monkeypatch.setattr(reading, "MAX_ROWS", 3)
        assert "at most 3 rows" in refused(folder, kind=kind, target=("count",))
        monkeypatch.setattr(reading, "MAX_ROWS", 4)
        made(folder, kind=kind, target=("count",))
        monkeypatch.setattr(reading, "MAX_BYTES", 10)
        assert "too large" in refused(folder, kind=kind, target=("count",))
        monkeypatch.undo()
        monkeypatch.setenv("FLAXCNN_CACHE", str(folder / "cache"))


def test_logarithms_of_a_column_are_learned(folder):
    sizes = dict(zip("abcdef", (1, 10, 100, 2.5, 7, 1e9), strict=True))
    rows = [{"path": f"{name}.png", "size": size} for name, size in sizes.items()]
    dataset = made(folder, rows, target=("log(size)",))
    assert dataset.target_names == ("log(size)",)
    learned = {
        name: number
        for split in dataset.splits.values()
        for name, number in zip(split.names, split.targets.tolist(), strict=True)
    }
    assert learned == {row["path"]: pytest.approx(math.log(row["size"])) for row in rows}


@pytest.mark.parametrize("size", [0, -1.5])
def test_what_has_no_logarithm_is_refused(folder, size):
    rows = [{"path": f"{name}.png", "size": 2} for name in "abcd"] + [{"path": "e.png", "size": size}]
    said = refused(folder, rows, target=("log(size)",))
    assert f"1 of 5 rows have no logarithm of 'size'; expected numbers above 0, found '{size}' in line 6" in said


def test_a_column_may_be_called_like_a_logarithm(folder):
    rows = [{"path": f"{name}.png", "log(size)": number + 0.5} for number, name in enumerate("abcdef")]
    targets = made(folder, rows, target=("log(size)",)).train.targets.tolist()
    assert set(targets) <= {number + 0.5 for number in range(6)}
