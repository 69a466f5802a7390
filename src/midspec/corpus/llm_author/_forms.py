"""What the author replies in the steps that make lists (steps 1 to 5 of the paper's pipeline), read and checked.

The names of these classes and of their fields stand in the JSON schemas that are sent with a request: a renamed one
asks for every list again.
"""

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
    """One domain, and the clauses that belong to it."""

    name: str = Field(min_length=1)
    description: str
    passages: tuple[Passage, ...] = Field(min_length=1)


class Domains(Strict):
    """The reply of step 1."""

    domains: tuple[DomainEntry, ...]


class RuleDomainEntry(Strict):
    """One domain of numbered rules."""

    name: str = Field(min_length=1)
    description: str
    rules: tuple[int, ...]


class RuleDomains(Strict):
    """The reply of step 1 in rules mode."""

    domains: tuple[RuleDomainEntry, ...]


class SubdomainEntry(Strict):
    """One subdomain of a domain, and its clauses."""

    name: str = Field(min_length=1)
    context: str
    passages: tuple[Passage, ...] = Field(min_length=1)


class Subdomains(Strict):
    """The reply of step 2."""

    subdomains: tuple[SubdomainEntry, ...]


class AssertionEntry(Strict):
    """What one clause asserts."""

    clause: int = Field(ge=1)
    name: str = Field(min_length=1)
    assertion: str = Field(min_length=1)
    explanation: str
    label: Label


class Assertions(Strict):
    """The reply of step 3."""

    assertions: tuple[AssertionEntry, ...]


class DocTypeEntry(Strict):
    """One document type."""

    name: str = Field(min_length=1)
    description: str


class DocTypes(Strict):
    """The reply of step 4."""

    doc_types: tuple[DocTypeEntry, ...]


class IdeaEntry(Strict):
    """One idea for a document."""

    name: str = Field(min_length=1)
    idea: str = Field(min_length=1)


class Ideas(Strict):
    """The reply of step 5."""

    ideas: tuple[IdeaEntry, ...]


def bounded_schema(form: type[Strict], most: int) -> dict[str, JsonValue]:
    """Return the JSON schema of a form whose whole numbers run from 1 to `most`."""
    schema = copy.deepcopy(response_schema(form))
    _bound(schema, most)
    return schema


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
        UnreadableReplyError: a number lies outside 1 to `most`.
    """
    for number in numbers:
        if not 1 <= number <= most:
            raise UnreadableReplyError(f"there is no {what} {number}: they run from 1 to {most}")


def positions_of(passages: Iterable[Passage], n_clauses: int) -> set[int]:
    """Return the positions, counted from 0, of the clauses in these runs; a run given backwards is read forwards.

    Raises:
        UnreadableReplyError: a number lies outside the spec.
    """
    positions: set[int] = set()
    for passage in passages:
        check_numbers((passage.first, passage.last), n_clauses, "clause")
        low, high = sorted((passage.first, passage.last))
        positions.update(range(low - 1, high))
    return positions


def reader(
    form: type[FormType],
    entries: Callable[[FormType], Sequence[NamedType]],
    check: Callable[[NamedType], object] = lambda _: None,
) -> Callable[[str], Sequence[NamedType]]:
    """Return what reads the entries out of a reply of this form.

    Args:
        form: the form of the whole reply.
        entries: the list in it; a reply with an empty one is refused.
        check: raises `UnreadableReplyError` for an entry that makes the whole reply unreadable.
    """

    def read(text: str) -> Sequence[NamedType]:
        found = entries(parse_json_reply(text, form))
        if not found:
            raise UnreadableReplyError("the list is empty")
        for entry in found:
            check(entry)
        return found

    return read
