"""Which filters a config asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from midspec.curate._citations import CitationFilter
from midspec.curate._config import CurateConfig
from midspec.curate._duplicates import ExactDuplicates, NearDuplicates
from midspec.curate._filter import Filter, rejected
from midspec.curate._identity import IdentityFilter
from midspec.curate._leaks import FrameLeaks
from midspec.curate._simple import LanguageFilter, LengthFilter
from midspec.records import Document

__all__ = ["accept_by", "document_filters", "near", "rules"]


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
