"""What is read of files that anybody may have made."""

import os

import pytest

from flaxcnn.errors import DataError, RunFolderError
from flaxcnn.files import parse_json, read_bytes, read_json, read_text


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunFolderError, match="pipe: not a regular file; found a pipe"):
        read_bytes(tmp_path / "pipe", 10)


def test_a_device_that_never_ends_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(RunFolderError, match="link: not a regular file; found a device"):
        read_bytes(tmp_path / "link", 10)


def test_a_folder_is_refused_in_the_words_of_the_reader(tmp_path):
    with pytest.raises(DataError, match="not a regular file; found a folder"):
        read_bytes(tmp_path, 10, error=DataError)


@pytest.mark.parametrize("name", ["../outside", "link", "folder/outside"])
def test_a_file_that_lies_outside_is_refused(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside").write_text("secret")
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "folder").symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match="lies outside"):
        read_bytes(inside / name, 10, within=inside)


def test_a_file_inside_is_read_through_a_link_to_the_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert read_text(tmp_path / "link" / "file", 4, within=tmp_path / "link") == "text"


def test_a_file_of_more_bytes_than_it_may_have_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(RunFolderError, match="too large; expected at most 4 bytes, found more"):
        read_bytes(tmp_path / "file", 4)


def test_a_file_that_is_missing_is_for_the_caller_to_speak_of(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "file", 4)


def test_a_path_with_a_null_byte_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="null byte"):
        read_bytes(tmp_path / "a\0b", 4)


def test_text_that_is_not_utf_8_is_refused_with_the_byte(tmp_path):
    (tmp_path / "file").write_bytes(b"ab\xff")
    with pytest.raises(RunFolderError, match="not text in UTF-8; found byte 0xff at 2"):
        read_text(tmp_path / "file", 4)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 30 + "]" * 30, '{"a":' * 500 + "1" + "}" * 500, "NaN", "1e999", "9" * 22, "9" * 5000]
)
def test_what_no_reader_could_handle_is_refused_as_damaged(text):
    with pytest.raises(RunFolderError, match="damaged"):
        parse_json(text, object, where="file")


def test_what_a_file_has_to_hold_is_named_where_it_differs(tmp_path):
    (tmp_path / "file").write_text('{"steps": [1, 2.5]}')
    with pytest.raises(RunFolderError, match=r"damaged at steps\[1\]; expected a whole number, found 2.5"):
        read_json(tmp_path / "file", dict[str, list[int]])


def test_an_escape_sequence_in_a_file_does_not_reach_the_terminal():
    with pytest.raises(RunFolderError) as raised:
        parse_json('{"\\u001b[2J": "x"}', dict[str, int], where="file")
    assert "\x1b" not in str(raised.value)
    assert r"\x1b[2J" in str(raised.value)


def test_text_that_no_encoding_can_write_is_refused_and_the_bytes_of_a_file_name_are_not(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"a": "half \\ud800"}')
    with pytest.raises(RunFolderError, match="text with half of a character"):
        read_json(path)
    path.write_text('{"\\udfff": 1}')
    with pytest.raises(RunFolderError, match="text with half of a character"):
        read_json(path)
    path.write_text('{"a": "name \\udcff", "b": "\\ud83d\\ude00"}')
    assert read_json(path) == {"a": "name \udcff", "b": "😀"}
