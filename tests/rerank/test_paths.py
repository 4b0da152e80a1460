"""Places: paths and URIs, with their options kept and their secrets not shown."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from rerank.errors import InputError
from rerank.paths import Location, join_uri, locate


@pytest.mark.parametrize(
    ("uri", "joined"),
    [
        ("out", "out/_scores/a"),
        ("/data/out/", "/data/out/_scores/a"),
        ("what?/out", "what?/out/_scores/a"),
        ("s3://bucket/out", "s3://bucket/out/_scores/a"),
        ("s3://bucket/out/?scheme=http&region=x", "s3://bucket/out/_scores/a?scheme=http&region=x"),
    ],
)
def test_a_place_below_has_its_options_at_the_end(uri, joined):
    assert join_uri(uri, "_scores", "a") == joined


def test_the_path_and_the_uri_go_down_together(tmp_path: Path):
    place = locate(tmp_path.as_uri()).join("a", "b")
    assert (place.uri, place.path) == (f"{tmp_path.as_uri()}/a/b", f"{tmp_path}/a/b")


def test_a_secret_in_a_uri_is_not_shown():
    place = locate("s3://key:geheim@bucket/out?region=eu-west-1").join("part")
    assert place.uri == "s3://key:***@bucket/out/part?region=eu-west-1"
    with pytest.raises(InputError) as refused:
        locate("s3://key:geheim@bucket/out?bogus=1")
    assert "geheim" not in str(refused.value).partition("cannot be opened")[0]


@pytest.mark.parametrize("uri", ["nonsense://bucket/path", "s3:///path", "s3://bucket/x?bogus=1"])
def test_what_pyarrow_cannot_open_is_a_sentence(uri):
    with pytest.raises(InputError, match="cannot be opened"):
        locate(uri)


class AzureWithoutRename(fs.SubTreeFileSystem):
    """Refuses a rename, as PyArrow does in an account without a hierarchical namespace."""

    def move(self, *_: str) -> None:
        raise pa.ArrowNotImplementedError("FileSystem::Move() is not implemented")


def test_a_file_moves_where_there_is_no_rename(tmp_path: Path):
    filesystem = AzureWithoutRename(str(tmp_path), fs.LocalFileSystem())
    (tmp_path / "a").write_text("content")
    Location("abfs://bucket/a", filesystem, "a").move(Location("abfs://bucket/b", filesystem, "b"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b", "content")]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("abfs://:geheim@account.blob.core.windows.net/data", "abfs://:***@account.blob.core.windows.net/data"),
        (
            "abfs://account@data/out?sv=2022-11-02&sig=gehe%2Fim&sp=r",
            "abfs://account@data/out?sv=2022-11-02&sig=***&sp=r",
        ),
        (
            "abfs://account@data/out?tenant_id=t&client_id=c&client_secret=geheim",
            "abfs://account@data/out?tenant_id=t&client_id=c&client_secret=***",
        ),
    ],
)
def test_a_secret_of_azure_is_not_shown(uri: str, shown: str):
    assert locate(uri).uri == shown


def test_a_login_that_azure_refuses_is_a_sentence():
    place = locate("abfs://account@127.0.0.1:9/data/out?enable_tls=false")  # tokens need TLS: nothing is sent
    with pytest.raises(
        InputError, match=r"abfs://account@127\.0\.0\.1:9/data/out\?enable_tls=false: cannot be reached"
    ):
        place.info()
