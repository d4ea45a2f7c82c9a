"""Each kind of fault that is put into a folder of photographs is found, by name, and nothing else is."""

import io

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, from_arrays, load
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.findings import find_all, in_one_line, summary
from tests.data.photographs import photographs, square


@pytest.fixture(scope="module")
def pictures():
    return photographs()


@pytest.fixture
def folder(tmp_path, pictures):
    """Ten photographs, in two classes of two splits."""
    root = tmp_path / "photos"
    places = ["train/cat", "train/cat", "train/dog", "train/dog", "train/dog", "test/cat", "test/cat", "test/dog"]
    for number, (place, picture) in enumerate(zip(places, pictures, strict=False)):
        save(root, f"{place}/{number}.jpg", square(picture, 96))
    return root


def save(root, name, picture, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def found_in(root, **options):
    """Return what is found: kind -> (count, the texts of its items)."""
    dataset = load(f"folder:{root}", Options(on_bad="skip", **options))
    findings = find_all(Examples(dataset))
    return {finding.what: (finding.count, [item.text for item in finding.items]) for finding in findings}


def test_sound_photographs_have_no_findings(folder):
    assert found_in(folder) == {}


def test_unreadable_files_are_findings_and_not_errors(folder):
    (folder / "train/cat/broken.jpg").write_bytes((folder / "train/cat/0.jpg").read_bytes()[:900])
    (folder / "train/dog/note.png").write_text("no image")
    ((kind, (count, texts)),) = found_in(folder).items()
    assert (kind, count) == ("unreadable or unusable files", 2)
    assert [text.partition(":")[0] for text in texts] == ["train/cat/broken.jpg", "train/dog/note.png"]


def test_files_of_16_bits_among_8_are_left_out_and_found(folder):
    deep = np.arange(96 * 96, dtype=np.uint16).reshape(96, 96) * 7
    save(folder, "train/cat/deep.png", PIL.Image.fromarray(deep))
    assert found_in(folder) == {
        "unreadable or unusable files": (1, ["train/cat/deep.png: 16 bits a channel, where most files have 8"])
    }


def test_odd_files_are_found_by_kind(folder, pictures):
    spare = square(pictures[8], 96)
    save(folder, "train/cat/a.png", spare, format="JPEG")
    save(folder, "train/dog/flat.jpg", PIL.Image.new("RGB", (96, 96), (10, 90, 200)))
    save(folder, "train/dog/small.png", square(pictures[9], 96).resize((20, 20)))
    save(folder, "train/dog/wide.png", pictures[8].resize((400, 60)))
    file = io.BytesIO()
    square(pictures[9], 96, (0.15, 0.15)).save(file, "PNG")
    (folder / "train/dog/cut.png").write_bytes(file.getvalue()[:-12])  # the chunk IEND, without which Pillow decodes it
    assert found_in(folder) == {
        "truncated files": (1, ["train/dog/cut.png: no end of a PNG file"]),
        "files of another format than their extension says": (1, ["train/cat/a.png: a JPEG file"]),
        "very small images": (1, ["train/dog/small.png: 20×20"]),
        "images of extreme shapes": (1, ["train/dog/wide.png: 400×60"]),
        "images of one colour": (1, ["train/dog/flat.jpg"]),
    }


def test_exact_copies_are_found_across_splits_and_classes(folder):
    (folder / "test/cat/copy.jpg").write_bytes((folder / "train/cat/0.jpg").read_bytes())
    (folder / "train/dog/other.jpg").write_bytes((folder / "train/cat/1.jpg").read_bytes())
    (folder / "train/dog/again.jpg").write_bytes((folder / "train/dog/2.jpg").read_bytes())
    assert found_in(folder) == {
        "exact duplicates across splits": (1, ["train/cat/0.jpg – test/cat/copy.jpg: equal pixels"]),
        "exact duplicates with different targets": (1, ["train/cat/1.jpg – train/dog/other.jpg: equal pixels"]),
        "exact duplicates within a split": (1, ["train/dog/2.jpg – train/dog/again.jpg: equal pixels"]),
    }


def test_near_copies_are_found_across_splits_and_classes(folder, pictures):
    mirrored = square(pictures[0], 96).transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    save(folder, "test/dog/mirrored.jpg", mirrored, quality=60)
    found = found_in(folder)
    assert list(found) == ["near duplicates across splits", "near duplicates with different targets"]
    for count, (text,) in found.values():
        assert count == 1
        assert text.startswith("train/cat/0.jpg – test/dog/mirrored.jpg: similarity 0.9")
        assert text.endswith(", mirrored")


def test_pairs_of_images_that_were_not_shown_come_first(folder, pictures):
    for place in range(5):
        save(folder, f"train/cat/again {place}.png", square(pictures[0], 96))
    save(folder, "test/dog/a.png", square(pictures[9], 96))
    save(folder, "train/dog/z.png", square(pictures[9], 96))
    count, texts = found_in(folder)["exact duplicates within a split"]
    assert count == 4
    assert all(text.startswith("train/cat/again 0.png") for text in texts)
    save(folder, "train/dog/y.png", square(pictures[8], 96))
    save(folder, "train/dog/zz.png", square(pictures[8], 96))
    _, texts = found_in(folder)["exact duplicates within a split"]
    assert [text.partition(": ")[0] for text in texts[:2]] == [
        "train/cat/again 0.png – train/cat/again 1.png",
        "train/dog/y.png – train/dog/zz.png",
    ]


def test_classes_without_test_images_and_with_one_image_are_found(folder, pictures):
    save(folder, "train/owl/1.jpg", square(pictures[8], 96))
    assert found_in(folder) == {
        "classes missing in a split": (1, ["owl: no image in test"]),
        "classes with a single image": (1, ["owl"]),
    }


def frames(pictures, count):
    """Return `count` nearly equal frames of each of some pictures: (picture, frame, pixels)."""
    rng = np.random.default_rng(0)
    for number, picture in enumerate(pictures):
        pixels = np.asarray(square(picture, 64), np.float32)
        for frame in range(count):
            noise = rng.normal(0, 3, pixels.shape)
            yield number, frame, np.clip(pixels + noise, 0, 255).astype(np.uint8)


def test_series_of_neighbours_are_found_in_the_order_of_their_numbers(tmp_path, pictures):
    # By their texts, 10 to 12 of each picture would lie between those of others.
    for number, frame, pixels in frames(pictures[:6], 4):
        place = "ab"[number % 2]
        save(tmp_path / "photos", f"{place}/frame{4 * number + frame}.png", PIL.Image.fromarray(pixels))
    count, texts = found_in(tmp_path / "photos", test=0.3)["images in series of nearly equal neighbours"]
    assert (count, len(texts)) == (24, 6)
    assert sorted(texts) == [
        f"4 images: {place}/frame{first}.png to {place}/frame{first + 3}.png"
        for place, first in (("a", 0), ("a", 16), ("a", 8), ("b", 12), ("b", 20), ("b", 4))
    ]


def test_series_are_no_finding_where_groups_are_given(pictures):
    numbers, _, images = zip(*frames(pictures[:6], 4), strict=True)
    labels, groups = np.asarray(numbers) % 2, np.asarray(numbers)
    test = np.asarray(numbers) >= 4
    kind = "images in series of nearly equal neighbours"
    for given in (None, groups):
        dataset = from_arrays(np.stack(images), labels, groups=given, test=test)
        found = {finding.what: finding for finding in find_all(Examples(dataset))}
        assert (kind in found) == (given is None)
    dataset = from_arrays(np.stack(images), labels, test=test)
    found = {finding.what: finding for finding in find_all(Examples(dataset))}
    assert found[kind].count == 24
    assert "24 images form 6 series" in found[kind].advice
    assert "--data.group" in found[kind].advice


def test_the_search_for_duplicates_can_be_left_out(folder):
    (folder / "test/cat/copy.jpg").write_bytes((folder / "train/cat/0.jpg").read_bytes())
    dataset = load(f"folder:{folder}", Options(on_bad="skip"))
    assert find_all(Examples(dataset), duplicates=False) == []


def test_the_summary_has_a_line_for_each_finding_and_nothing_unprintable(folder):
    (folder / "train/cat/\x1b[2J.jpg").write_text("no image")
    dataset = load(f"folder:{folder}", Options(on_bad="skip"))
    findings = find_all(Examples(dataset))
    (line,) = summary(findings)
    assert line.startswith("1  unreadable or unusable files, such as train/cat/\\x1b[2J.jpg: no image")
    assert in_one_line(findings) == "1 unreadable or unusable files"
