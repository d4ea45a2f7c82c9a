"""What is deleted lies in the folder itself, whatever links a stranger put there."""

import pytest

from flaxcnn.errors import RunFolderError
from flaxcnn.files import refuse_links, remove


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("years of work")
    return tmp_path / "elsewhere"


def test_files_and_folders_are_deleted_and_what_is_not_there_is_none(tmp_path, elsewhere):
    remove(elsewhere / "precious")
    remove(elsewhere)
    remove(elsewhere)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inside", [False, True])
def test_of_a_link_only_the_link_is_deleted(tmp_path, elsewhere, inside):
    folder = tmp_path / "folder"
    if inside:
        folder.mkdir()
        (folder / "link").symlink_to(elsewhere)
    else:
        folder.symlink_to(elsewhere)
    remove(folder)
    assert not folder.exists()
    assert (elsewhere / "precious").read_text() == "years of work"


def test_a_path_through_a_link_is_refused_and_the_link_named(tmp_path, elsewhere):
    (tmp_path / "trials").symlink_to(elsewhere)
    with pytest.raises(RunFolderError) as caught:
        refuse_links(tmp_path / "trials" / "00001" / "checkpoints", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/trials: a link to elsewhere, where another run's files may be")
    assert f"found {elsewhere}" in str(caught.value)


def test_a_root_that_is_a_link_is_the_users_own(tmp_path, elsewhere):
    (tmp_path / "run").symlink_to(elsewhere)
    refuse_links(tmp_path / "run" / "checkpoints", tmp_path / "run")
    refuse_links(tmp_path / "run", tmp_path / "run")
