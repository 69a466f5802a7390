"""Errors that the user can mend: one line, the standard-library type beside ours, and they survive a process border."""

from __future__ import annotations

import inspect
import pickle

import pytest

from midspec.core import errors
from midspec.core.errors import FolderError, InUseError, MidspecError, MissingError, SpecError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MidspecError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_where_what_and_the_mend_on_one_line(kind: type[MidspecError]) -> None:
    error = kind("is\nempty", where="spec.md", hint="Write\n something")
    assert str(error) == "spec.md: is empty. Write something"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_with_all_its_parts(kind: type[MidspecError]) -> None:
    error = kind("what {braces}", where="here", hint="do this")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.hint, str(copy)) == (error.what, error.where, error.hint, str(error))


def test_every_error_is_a_standard_library_type_too() -> None:
    for kind in set(KINDS) - {MidspecError}:
        assert issubclass(kind, ValueError | OSError), kind


def test_except_clauses_of_the_standard_library_catch_them() -> None:
    assert issubclass(MissingError, FileNotFoundError)
    assert issubclass(InUseError, BlockingIOError)
    assert issubclass(FolderError, OSError)
    assert issubclass(SpecError, ValueError)


def test_where_and_mend_may_be_left_out() -> None:
    assert str(MidspecError("plain")) == "plain"
    assert str(MidspecError("plain", hint="Mend")) == "plain. Mend"
