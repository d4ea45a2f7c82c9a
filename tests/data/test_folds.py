"""Folds divide examples by content: each example once, stratified, whole groups, the same in every order."""

import itertools

import numpy as np
import PIL.Image
import pytest
import sklearn.model_selection
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.config import Data
from flaxcnn.data import Options, load
from flaxcnn.data.photographs.folds import fold_numbers
from flaxcnn.errors import ConfigError, DataError


def digests_of(count, seed=0):
    return [np.random.default_rng((seed, n)).bytes(32).hex() for n in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_single_examples_are_dealt_evenly_in_every_class_and_order(data):
    folds = data.draw(st.integers(2, 7))
    classes = data.draw(st.lists(st.integers(0, 4), min_size=folds, max_size=60))
    digests = digests_of(len(classes))
    repeat = data.draw(st.integers(0, 3))
    numbers = fold_numbers(digests, folds, classes, repeat=repeat)
    assert sorted(set(numbers.tolist())) == list(range(folds))
    assert np.ptp(np.bincount(numbers, minlength=folds)) <= 1
    for each in set(classes):
        counts = np.bincount(numbers[np.asarray(classes) == each], minlength=folds)
        assert counts.max() - counts.min() <= 1
    order = data.draw(st.permutations(range(len(classes))))
    shuffled = fold_numbers([digests[n] for n in order], folds, [classes[n] for n in order], repeat=repeat)
    assert shuffled.tolist() == numbers[list(order)].tolist()
    renamed = fold_numbers(digests, folds, [f"class {9 - each}" for each in classes], repeat=repeat)
    assert renamed.tolist() == numbers.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_stay_whole_and_no_fold_is_empty(data):
    folds = data.draw(st.integers(2, 5))
    count = data.draw(st.integers(folds, 50))
    groups = [*range(folds), *data.draw(st.lists(st.integers(0, 9), min_size=count - folds, max_size=count - folds))]
    classes = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    digests = [f"{n % 13:064x}" for n in range(count)]  # with copies, also in two groups
    numbers = fold_numbers(digests, folds, classes, groups)
    assert set(numbers.tolist()) == set(range(folds))
    for group in set(groups):
        assert len({number for number, each in zip(numbers.tolist(), groups, strict=True) if each == group}) == 1
    order = data.draw(st.permutations(range(count)))
    in_order = ([each[n] for n in order] for each in (digests, classes, groups))
    shuffled = fold_numbers(next(in_order), folds, *in_order)
    assert shuffled.tolist() == numbers[list(order)].tolist()


def test_groups_are_as_even_as_those_of_scikit_learn():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), random.integers(1, 12, 60))
    classes = np.where(random.random(len(groups)) < 0.8, groups % 3, random.integers(0, 3, len(groups)))
    digests = digests_of(len(groups))
    ours = fold_numbers(digests, 5, classes.tolist(), groups.tolist())
    theirs = np.zeros(len(groups), int)
    splitter = sklearn.model_selection.StratifiedGroupKFold(5)
    for fold, (_, test) in enumerate(splitter.split(groups, classes, groups)):
        theirs[test] = fold

    def uneven(numbers):
        return max(np.ptp(np.bincount(numbers[classes == each], minlength=5)) for each in range(3))

    assert uneven(ours) <= max(3, uneven(theirs))


def test_copies_are_in_one_fold():
    digests = [f"{n // 3:064x}" for n in range(60)]
    numbers = fold_numbers(digests, 4, [n // 30 for n in range(60)])
    assert all(len(set(numbers[3 * n : 3 * n + 3].tolist())) == 1 for n in range(20))
    assert np.bincount(numbers).tolist() == [15] * 4


def test_each_repetition_divides_in_another_way():
    digests = digests_of(40)
    dealt = [fold_numbers(digests, 4, repeat=repeat).tolist() for repeat in range(3)]
    assert all(one != other for one, other in itertools.combinations(dealt, 2))
    assert fold_numbers(digests, 4, repeat=1).tolist() == dealt[1]


def test_the_folds_of_these_contents_stay_what_they_are():
    numbers = fold_numbers([f"{n:064x}" for n in range(12)], 3, [n % 2 for n in range(12)])
    assert numbers.tolist() == [2, 0, 2, 1, 1, 2, 1, 1, 0, 0, 0, 2]


@pytest.mark.parametrize(
    ("folds", "repeat", "groups", "said"),
    [
        (1, 0, None, "data.folds: out of range; expected 2 to 1,000, found 1"),
        (2, -1, None, "data.repeat: out of range; expected 0 to 2,147,483,647, found -1"),
        (5, 0, None, "data.folds: fewer different images than folds; expected at most 4"),
        (3, 0, [0, 0, 1, 1], "data.folds: fewer groups than folds; expected at most 2"),
    ],
)
def test_folds_that_cannot_be_are_refused(folds, repeat, groups, said):
    with pytest.raises((ConfigError, DataError), match=said.replace(".", r"\.")):
        fold_numbers(digests_of(4), folds, None, groups, repeat)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"folds": 1}, "data.folds: out of range; expected 2 to 1,000, found 1"),
        ({"folds": 1001}, "data.folds: out of range"),
        ({"folds": 5, "fold": 5}, "data.fold: out of range; expected 0 to 4, found 5"),
        ({"folds": 5, "fold": -1}, "data.fold: out of range"),
        ({"fold": 1}, "data.fold: not without data.folds"),
        ({"repeat": 1}, "data.repeat: not without data.folds"),
        ({"folds": 5, "repeat": -1}, "data.repeat: out of range"),
        ({"folds": 5, "test": 0.3}, "data.test: not with data.folds"),
        ({"group_size": 2}, "data.group_size: not without data.group"),
        ({"group": "n", "group_size": 0}, "data.group_size: out of range"),
        ({"folds": 2.5}, "data.folds"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        Data(**fields)


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for n in range(20):
        picture(tmp_path / "photos" / "ab"[n % 2] / f"{n}.png", n)
    return tmp_path / "photos"


def test_the_test_splits_of_all_folds_are_every_image_once(photos):
    sets = [load(f"folder:{photos}", Options(folds=4, fold=fold)) for fold in range(4)]
    tested = [name for each in sets for name in each.test.names]
    assert len(tested) == len(set(tested)) == 20
    for fold, each in enumerate(sets):
        assert not {*each.train.names} & {*each.test.names}
        assert len(each.train) == 15
        assert each.notes[-1] == f"5 of 20 images are the test split, fold {fold} of 4, divided by their content"
    other = load(f"folder:{photos}", Options(folds=4, repeat=1))
    assert other.test.names != sets[0].test.names
    assert "fold 0 of 4 in repetition 1" in other.notes[-1]


def test_a_source_with_a_split_of_its_own_has_no_folds(tmp_path):
    for n in range(8):
        picture(tmp_path / ("train", "val")[n // 4] / "ab"[n % 2] / f"{n}.png", n)
    with pytest.raises(ConfigError, match=r"data.folds: folder:.* has a validation split of its own.*Leave out"):
        load(f"folder:{tmp_path}", Options(folds=2))
    with pytest.raises(ConfigError, match=r"data.folds: not an option of this source"):
        load("mnist", Options(folds=2))


def test_too_large_a_fold_is_refused_in_python_too(photos):
    with pytest.raises(ConfigError, match=r"data.fold: out of range; expected 0 to 3, found 4"):
        load(f"folder:{photos}", Options(folds=4, fold=4))


def table(folder, rows):
    lines = []
    for n, (number, kind, size) in enumerate(rows):
        picture(folder / f"{n}.png", n)
        lines.append(f"{n}.png,{number},{kind},{size}")
    (folder / "t.csv").write_text("\n".join(["file,number,class,size", *lines]) + "\n")
    return f"csv:{folder / 't.csv'}"


def groups_by_name(dataset):
    splits = dataset.splits.values()
    return {name: group for split in splits for name, group in zip(split.names, split.groups.tolist(), strict=True)}


def test_a_group_is_a_block_of_successive_numbers_of_a_class(tmp_path):
    # Of a: 3, 7, 10, 20 (not as text, in which 10 comes first), 1000; of b: 4, 5, 6.
    numbers = (10, 3, 1000, 20, 7, 6, 4, 5)
    rows = [(number, "aaaaabbb"[n], n + 0.5) for n, number in enumerate(numbers)]
    source = table(tmp_path, rows)
    groups = groups_by_name(load(source, Options(target=("class",), group="number", group_size=2, folds=2)))
    members = {}
    for name, group in groups.items():
        members.setdefault(group, set()).add(rows[int(name[:-4])][0])
    assert sorted(map(sorted, members.values())) == [[3, 7], [4, 5], [6], [10, 20], [1000]]
    # Of numbers to learn there are no classes: blocks of all.
    groups = groups_by_name(load(source, Options(target=("size",), group="number", group_size=4, folds=2)))
    members = {}
    for name, group in groups.items():
        members.setdefault(group, set()).add(rows[int(name[:-4])][0])
    assert sorted(map(sorted, members.values())) == [[3, 4, 5, 6], [7, 10, 20, 1000]]


def test_blocks_of_a_column_without_numbers_are_refused(tmp_path):
    source = table(tmp_path, [("x1", "a", 1), ("x2", "b", 1), ("x3", "b", 1)])
    with pytest.raises(DataError, match=r"3 of 3 rows have no number in 'number'.*'x1' in line 2"):
        load(source, Options(target=("class",), group="number", group_size=2))
