"""The tree of errors: one class per error code, caught as what it is."""

from __future__ import annotations

import pickle

import pytest

from pound import errors
from pound.errors import PoundError, RequestError, TaskFailed, error_for
from tests import probe

Code = probe.load("wire").Code


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_an_error_of_its_own(code: Code) -> None:
    error = error_for(code, "words", 1.5)
    assert type(error).code == error.code == code
    assert (str(error), error.message, error.retry_after) == ("words", "words", 1.5)


@pytest.mark.parametrize("code", [0, 6, 9, 11, 17, 65535])
def test_an_unknown_code_is_a_failed_task_that_carries_it(code: int) -> None:
    error = error_for(code, "words")
    assert type(error) is TaskFailed
    assert error.code == code
    assert TaskFailed.code == Code.UNKNOWN


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "error_for"])
def test_every_error_is_pounds(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, PoundError)
    assert kind.__doc__
    assert str(kind("words")) == "words"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.ProtocolError, ValueError),
        (errors.ForkError, RuntimeError),
        (errors.PatchedError, RuntimeError),
        (errors.DeadlineExceeded, TimeoutError),
    ],
)
def test_what_python_has_a_word_for_is_caught_by_it(
    kind: type[PoundError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin):
        raise kind("words")


def test_errors_cross_processes() -> None:
    for code in (*Code, 99):
        error = pickle.loads(pickle.dumps(error_for(code, "words", 2.0)))
        assert isinstance(error, RequestError)
        assert (error.code, error.message, error.retry_after) == (code, "words", 2.0)


@pytest.mark.parametrize("after", [None, 0, 0.5, float("inf")])
def test_release_says_when(after: float | None) -> None:
    release = pickle.loads(pickle.dumps(errors.Release("the database is away", after=after)))
    assert (str(release), release.after) == ("the database is away", after)


@pytest.mark.parametrize("after", [-1, float("nan"), "soon"])
def test_release_refuses_what_is_no_time(after: float) -> None:
    with pytest.raises((ValueError, TypeError)):
        errors.Release("not now", after=after)
