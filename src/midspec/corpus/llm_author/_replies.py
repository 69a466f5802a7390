"""What a model gives back in each step that makes a list: strict forms, and the numbers in them checked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from pydantic import Field, JsonValue

from midspec.core.records import Label, Strict
from midspec.llm import UnreadableReplyError, parse_json_reply, response_schema

FormType = TypeVar("FormType", bound=Strict)
NamedType = TypeVar("NamedType", bound="Named")


class Named(Protocol):
    """An entry of a list."""

    @property
    def name(self) -> str:
        """What tells it from the others."""
        ...


class Passage(Strict):
    """A run of clauses, first and last included, counted from 1."""

    first: int = Field(ge=1)
    last: int = Field(ge=1)


class DomainEntry(Strict):
    """METHOD 2, step 1."""

    name: str = Field(min_length=1)
    description: str
    passages: tuple[Passage, ...] = Field(min_length=1)


class Domains(Strict):
    """The reply of step 1."""

    domains: tuple[DomainEntry, ...]


class RuleDomainEntry(Strict):
    """METHOD 2, step 1, for numbered rules."""

    name: str = Field(min_length=1)
    description: str
    rules: tuple[int, ...]


class RuleDomains(Strict):
    """The reply of step 1 in rules mode."""

    domains: tuple[RuleDomainEntry, ...]


class SubdomainEntry(Strict):
    """METHOD 2, step 2."""

    name: str = Field(min_length=1)
    context: str
    passages: tuple[Passage, ...] = Field(min_length=1)


class Subdomains(Strict):
    """The reply of step 2."""

    subdomains: tuple[SubdomainEntry, ...]


class AssertionEntry(Strict):
    """METHOD 2, step 3."""

    clause: int = Field(ge=1)
    name: str = Field(min_length=1)
    assertion: str = Field(min_length=1)
    explanation: str
    label: Label


class Assertions(Strict):
    """The reply of step 3."""

    assertions: tuple[AssertionEntry, ...]


class DocTypeEntry(Strict):
    """METHOD 2, step 4."""

    name: str = Field(min_length=1)
    description: str


class DocTypes(Strict):
    """The reply of step 4."""

    doc_types: tuple[DocTypeEntry, ...]


class IdeaEntry(Strict):
    """METHOD 2, step 5."""

    name: str = Field(min_length=1)
    idea: str = Field(min_length=1)


class Ideas(Strict):
    """The reply of step 5."""

    ideas: tuple[IdeaEntry, ...]


def bounded_form(kind: type[Strict], most: int) -> dict[str, JsonValue]:
    """The JSON schema of a form whose whole numbers run from 1 to `most`."""
    form = copy.deepcopy(response_schema(kind))
    _bound(form, most)
    return form


def _bound(value: JsonValue, most: int) -> None:
    if isinstance(value, dict):
        if value.get("type") == "integer":
            value["minimum"], value["maximum"] = 1, most
        for entry in value.values():
            _bound(entry, most)
    elif isinstance(value, list):
        for entry in value:
            _bound(entry, most)


def check_numbers(numbers: Iterable[int], most: int, what: str) -> None:
    """Refuse a number that names nothing.

    Raises:
        Unreadable: a number lies outside 1 to `most`.
    """
    for number in numbers:
        if not 1 <= number <= most:
            raise UnreadableReplyError(f"there is no {what} {number}: they run from 1 to {most}")


def positions_of(passages: Iterable[Passage], n_clauses: int) -> set[int]:
    """The positions, counted from 0, of the clauses in these runs; a run given backwards is read forwards.

    Raises:
        Unreadable: a number lies outside the spec.
    """
    found: set[int] = set()
    for passage in passages:
        check_numbers((passage.first, passage.last), n_clauses, "clause")
        low, high = sorted((passage.first, passage.last))
        found.update(range(low - 1, high))
    return found


def reader(
    kind: type[FormType],
    entries: Callable[[FormType], Sequence[NamedType]],
    check: Callable[[NamedType], object] | None = None,
) -> Callable[[str], Sequence[NamedType]]:
    """What reads the entries out of a reply of this form, and refuses a reply with an entry that `check` refuses."""

    def read(text: str) -> Sequence[NamedType]:
        found = entries(parse_json_reply(text, kind))
        if not found:
            raise UnreadableReplyError("the list is empty")
        for entry in found:
            if check is not None:
                check(entry)
        return found

    return read
