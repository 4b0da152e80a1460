"""Our errors travel between processes: pickled they keep class, code and words."""

import pickle

import pytest

from rerank import errors
from rerank.errors import OverloadedError, RerankError, TooLongError

PLAIN = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RerankError)]


@pytest.mark.parametrize(
    "error",
    [
        *(kind("what is wrong") for kind in PLAIN if kind is not TooLongError),
        OverloadedError("busy", retry_after_s=7),
        TooLongError(3, 512, "texts"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_pickled_error_is_the_same(error: RerankError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, str(copy)) == (type(error), error.code, str(error))
    assert vars(copy) == vars(error)


def test_what_ray_adds_to_the_arguments_does_not_break_an_error() -> None:
    error = TooLongError(3, 512)
    error.args = (*error.args, "Failed to apply UDF transform")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.index, copy.most, copy.field) == (3, 512, "documents")
