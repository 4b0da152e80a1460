"""Places: paths and URIs, with their options kept and their secrets not shown."""

from pathlib import Path

import pytest

from rerank.errors import InputError
from rerank.paths import join_uri, locate


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
