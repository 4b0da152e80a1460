"""One folder of many processes: what another process made or deleted meanwhile is no error."""

import pytest

from rerank.store.folder import open_folder


@pytest.fixture
def folder(tmp_path):
    return open_folder(str(tmp_path / "folder"))


def test_a_folder_that_does_not_exist_is_empty(folder):
    assert folder.listing() == []
    folder.delete("file")
    folder.delete_all()
    with pytest.raises(FileNotFoundError):
        folder.read("file")


def test_files_are_written_read_listed_and_deleted(folder):
    folder.write("a", b"1")
    folder.join("inner").write("b", b"2")
    assert folder.read("a").to_pybytes() == b"1"
    assert {entry.base_name for entry in folder.listing()} == {"a", "inner"}
    folder.delete("a")
    assert [entry.base_name for entry in folder.listing()] == ["inner"]
    folder.delete_all()
    assert folder.listing() == []


def test_a_file_that_is_deleted_while_it_is_read_is_not_found(folder):
    folder.write("a", b"1")
    with pytest.raises(OSError, match="connection reset") as still_there, folder.open("a"):
        raise OSError("connection reset")
    assert not isinstance(still_there.value, FileNotFoundError)
    with pytest.raises(FileNotFoundError), folder.open("a"):
        folder.delete("a")
        raise OSError("no such key")


def test_other_failures_are_told(folder, tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="folder"):
        folder.write("a", b"1")
    with pytest.raises(NotADirectoryError):
        folder.listing()
