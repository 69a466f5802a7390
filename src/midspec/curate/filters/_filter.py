"""The one form of a filter: it keeps a row, or says why not; and what is not kept is kept apart, never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from midspec.core.records import Document, Reject
from midspec.curate._config import CurateConfig
from midspec.curate._rows import Row, row_id, text_of
from midspec.curate.filters._duplicates import ExactDuplicates, NearDuplicates
from midspec.curate.filters._form import CitationFilter, LanguageFilter, LengthFilter
from midspec.curate.filters._identity import IdentityFilter
from midspec.curate.filters._leaks import FrameLeaks


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
class KeptRow:
    """A row that every filter let pass."""

    row: Row


def curate(rows: Iterable[Row], filters: Sequence[Filter]) -> Iterator[KeptRow | Reject]:
    """Every row once and in order, as kept or as a reject signed by the first filter that did not let it pass.

    Rows are taken one at a time. Filters that remember rows belong last, so that they remember only what the others
    let pass: a copy of a row that was rejected for another reason is then no duplicate.
    """
    for row in rows:
        yield rejected(row, filters) or KeptRow(row)


def rejected(row: Row, filters: Sequence[Filter]) -> Reject | None:
    """The reject that the first filter against the row makes of it, or `None` when all let it pass."""
    for each in filters:
        reason = each.reason(row)
        if reason is not None:
            return Reject(id=row_id(row), by=each.name, reason=reason, text=text_of(row))
    return None


def document_filters(config: CurateConfig, *, spec_text: str = "") -> list[Filter]:
    """The filters of documents that a config asks for, those that remember rows last; new ones at each call.

    Args:
        config: which rows are kept.
        spec_text: the spec, its names filled in; what stands in it word for word is neither a leak nor a foreign name,
            and rules are cited by its numbers.

    Raises:
        ConfigError, MissingError: a setting contradicts another, or lists or a language are unknown.
    """
    return [*rules(config, spec_text, spec_text), ExactDuplicates(), *near(config.near_threshold, config)]


def rules(config: CurateConfig, quoted: str, spec_text: str) -> Iterator[Filter]:
    """Filters that look at one row alone; `quoted` is what rows may say word for word, the spec if known."""
    if config.frame_leaks:
        yield FrameLeaks(config.lists, spec_text=quoted)
    if config.model_name or config.provider_name:
        yield IdentityFilter(
            config.model_name,
            config.provider_name,
            other_names=config.other_names,
            require_name=config.require_name,
            spec_text=quoted,
        )
    if spec_text:
        yield CitationFilter(spec_text)
    yield LengthFilter(config.min_words, config.max_words)
    if config.languages:
        yield LanguageFilter(config.languages)


def near(threshold: float | None, config: CurateConfig) -> Iterator[Filter]:
    """The filter of near duplicates, unless it is not wanted."""
    if threshold is not None:
        yield NearDuplicates(threshold, seed=config.seed)


def accept_by(filters: Sequence[Filter]) -> Callable[[Document], str | None]:
    """The filters as one question: why a document is not accepted, signed by the filter; `None` accepts it."""

    def reason(document: Document) -> str | None:
        found = rejected(document, filters)
        return None if found is None else f"{found.by}: {found.reason}"

    return reason
