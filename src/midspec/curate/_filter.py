"""The one form of a filter: it keeps a row, or says why not; and what is not kept is kept apart, never lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from midspec.curate._rows import Row, row_id, text_of
from midspec.records import Reject

__all__ = ["Filter", "Kept", "curate", "rejected"]


class Filter(Protocol):
    """Whatever judges rows one at a time. Filters for duplicates remember the rows that they let pass."""

    @property
    def name(self) -> str:
        """What rejects are signed with."""
        ...

    def reason(self, row: Row) -> str | None:
        """Why the row is not kept; `None` keeps it."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that every filter let pass."""

    row: Row


def curate(rows: Iterable[Row], filters: Sequence[Filter]) -> Iterator[Kept | Reject]:
    """Every row once and in order, as kept or as a reject signed by the first filter that did not let it pass.

    Rows are taken one at a time. Filters that remember rows belong last, so that they remember only what the others
    let pass: a copy of a row that was rejected for another reason is then no duplicate.
    """
    for row in rows:
        yield rejected(row, filters) or Kept(row)


def rejected(row: Row, filters: Sequence[Filter]) -> Reject | None:
    """The reject that the first filter against the row makes of it, or `None` when all let it pass."""
    for each in filters:
        reason = each.reason(row)
        if reason is not None:
            return Reject(id=row_id(row), by=each.name, reason=reason, text=text_of(row))
    return None
