"""Errors that the user can mend: one line, the standard-library type beside ours, and they survive a process border."""

from __future__ import annotations

import inspect
import pickle

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from midspec.core import errors
from midspec.core.errors import FolderError, InUseError, MidspecError, MissingError, SpecError, first_fault

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


def test_a_question_has_no_full_stop_behind_it() -> None:
    assert str(MidspecError("no style 'valu'. Did you mean value?", hint="Change it")).endswith("mean value? Change it")


def test_the_first_fault_of_a_model_is_told_by_its_field_without_pydantics_own_words() -> None:
    class Inner(BaseModel):
        size: int

        @field_validator("size")
        @classmethod
        def _is_small(cls, size: int) -> int:
            if size > 3:
                raise ValueError("is too large.")
            return size

    class Outer(BaseModel):
        parts: list[Inner]

    with pytest.raises(ValidationError) as seen:
        Outer.model_validate({"parts": [{"size": 1}, {"size": 9}]})
    assert first_fault(seen.value) == ("parts.1.size", "is too large")
    with pytest.raises(ValidationError) as whole:
        Outer.model_validate(3)
    assert first_fault(whole.value, "the file")[0] == "the file"
