"""Every error that midspec raises on purpose.

Each is also the standard-library type that it stands for, so that `except ValueError` keeps working, and each
says three things in one line: where, what was wrong, and a hint. The command line turns a `MidspecError` into
exit code 2; anything else is a bug and exits with 1.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


class MidspecError(Exception):
    """What the user can act on: `where: what. hint`, on one line.

    Args:
        what: what was seen, without a full stop.
        where: the file, field or folder it was seen in.
        hint: what to do about it, without a full stop.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        stop = "" if head.endswith("?") else "."  # a name that was nearly right is asked about
        return " ".join((f"{head}{stop} {self.hint}" if self.hint else head).split())

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders on their way from a worker to the command line.
        return type(self), (self.what,), {"where": self.where, "hint": self.hint}


class SpecError(MidspecError, ValueError):
    """A Model Spec that can't be read: empty, binary, not UTF-8, or with a placeholder that nothing fills."""


class ConfigError(MidspecError, ValueError):
    """A study, training or command-line setting that is unknown, missing or contradicts another."""


class DataError(MidspecError, ValueError):
    """Rows (documents, chats, items, scores) that do not have the form they must have."""


class CheckpointError(MidspecError, ValueError):
    """A model folder or name that does not open as the checkpoint it was taken for."""


class PromptError(MidspecError, ValueError):
    """A prompt that a model, its server or the server's filter does not take, so that there is no answer to score."""


class PreflightError(MidspecError, ValueError):
    """Training that would teach nothing or lose data, refused before it starts."""


class StaleError(MidspecError, ValueError):
    """A finished result whose inputs have changed under its name."""


class MissingError(MidspecError, FileNotFoundError):
    """A file or folder that is not there."""


class FolderError(MidspecError, OSError):
    """A folder that can't be written: full, read-only, or already holding something else."""


class InUseError(MidspecError, BlockingIOError):
    """A folder that another process is writing."""


class UnreachableError(MidspecError, ConnectionError):
    """A store, a cluster or a model's server that does not answer, or not now: the same command may do later."""


def first_fault(error: ValidationError, whole: str = "") -> tuple[str, str]:
    """Return the first of the faults that pydantic found: the field, by a dotted path, and what is wrong with it.

    Args:
        error: of a model.
        whole: what stands for the field where the fault is of no single one.
    """
    first = error.errors(include_url=False)[0]
    return ".".join(map(str, first["loc"])) or whole, fault_words(first)


def fault_words(fault: ErrorDetails) -> str:
    """Return what pydantic says of one fault, in the words of a file: pydantic's name the classes of a program."""
    if fault["type"] in {"dict_type", "model_type", "model_attributes_type"}:
        return "must be a mapping (keys with values)"
    if fault["type"] in {"tuple_type", "list_type"}:
        return "must be a list"
    if fault["type"] == "too_short" and fault["ctx"]["actual_length"] == 0:
        return "is empty, and needs one entry at least"
    return fault["msg"].removeprefix("Value error, ").rstrip(".")


def plural(n: int, noun: str) -> str:
    """Format a count of things: `1 seed`, `5 seeds`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def one_line(error: BaseException, most: int = 200) -> str:
    """Return what an error says, on one line of at most so many characters, without a full stop."""
    return " ".join(str(error).split())[:most].rstrip(". ") or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the hint for a wrong name: the nearest right one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]}?"
    return f"There is {', '.join(known)}" if known else "There is none"


_LOG = logging.getLogger("midspec")


@cache
def note(what: str, where: str) -> None:
    """Say in one line, once in a process, what was taken otherwise than it stands, and where.

    Python prints a logger's warnings on standard error where nobody has set up logging.
    """
    _LOG.warning("%s: %s", where, what)


@cache
def note_renamed(old: str, new: str, where: str) -> None:
    """Say in one line that `old` is called `new` now."""
    note(f"{old} is called {new} now; the old name still works", where)
