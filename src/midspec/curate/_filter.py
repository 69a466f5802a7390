"""What a filter is, which filters a config asks for, and rows going through them.

A filter is one file in `midspec.curate.filters`, or an entry point of another package; nothing else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from pydantic import JsonValue, ValidationError

from midspec.core.errors import ConfigError, MissingError, first_fault
from midspec.core.records import Document, Item, Reject, Strict
from midspec.core.registry import Registry
from midspec.core.yaml_files import parse_yaml
from midspec.curate._config import CurateConfig
from midspec.curate._rows import Row, row_id

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]


class Filter(Protocol):
    """Judges rows one at a time."""

    @property
    def name(self) -> str:
        """Return what its rejects are signed with."""
        ...

    def reason(self, row: Row) -> str | None:
        """Return why the row is not kept; `None` keeps it."""
        ...


class Evaluation(NamedTuple):
    """What an evaluation must not share with the rows: its items, and texts that are none (questions, scenarios)."""

    items: Sequence[Item] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class FilterContext:
    """What filters are made from.

    Attributes:
        config: which rows are kept.
        kind: what the rows are.
        spec_text: the spec, its names filled in; empty where it is not known.
        quotable: what rows may say word for word: the spec, or what is known of its clauses.
        twin_faults: for each id of the chats without reasoning what is wrong with it; `None` where there are none.
        evaluations: name -> what the rows must not share with it.
        embed: gives vectors of texts.
        settings: what `extra_filters` says of the filter that is being made.
    """

    config: CurateConfig
    kind: Literal["documents", "chats"] = "documents"
    spec_text: str = ""
    quotable: str = ""
    twin_faults: Mapping[str, str | None] | None = None
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    embed: Embed | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


class FilterType(Protocol):
    """A kind of filter (usually its class), as modules of `midspec.curate.filters` and other packages offer it.

    Two further attributes are optional. `order` (50) is the number by which filters run, then by name: a row is
    rejected by the first one against it. Shipped filters of one row alone have numbers below 50, those that remember
    rows 90 and 91: they then remember only what all others let pass. `is_shipped` marks those that fields of
    `CurateConfig` ask for; others are made only where `extra_filters` names them.
    """

    name: str

    @classmethod
    def make(cls, context: FilterContext) -> Iterable[Filter]:
        """Make the filters of this kind that a context asks for: none, one or several."""
        ...


FILTERS: Registry[FilterType] = Registry(
    "filter", package="midspec.curate.filters", attribute="FILTERS", group="curate_filters"
)


def make_filters(context: FilterContext) -> list[Filter]:
    """Make the filters that a config asks for, in the order in which rows go through them.

    Raises:
        ConfigError, MissingError: a setting contradicts another, or a filter, lists or a language are unknown.
    """
    extra = context.config.extra_filters
    for name in extra:
        if _is_shipped(FILTERS.get(name, where="extra_filters")):
            raise ConfigError("is set by fields of its own", where=f"extra_filters.{name}", hint="Remove it there")
    chosen = [each for each in map(FILTERS.get, FILTERS.names()) if _is_shipped(each) or each.name in extra]
    return [
        made
        for each in sorted(chosen, key=lambda kind: (getattr(kind, "order", 50), kind.name))
        for made in each.make(replace(context, settings=extra.get(each.name, {})))
    ]


def _is_shipped(kind: FilterType) -> bool:
    return bool(getattr(kind, "is_shipped", False))


def document_filters(config: CurateConfig, *, spec_text: str = "", single_row_only: bool = False) -> list[Filter]:
    """Make the filters of documents that a config asks for; new ones at each call.

    Args:
        config: which rows are kept.
        spec_text: the spec, its names filled in; what stands in it word for word is neither a leak nor a foreign name,
            and rules are cited by its numbers.
        single_row_only: leave out those that compare rows with others.

    Raises:
        ConfigError, MissingError: as `make_filters`.
    """
    filters = make_filters(FilterContext(config, spec_text=spec_text, quotable=spec_text))
    return [each for each in filters if not (single_row_only and getattr(each, "compares_rows", False))]


def curate(rows: Iterable[Row], filters: Sequence[Filter]) -> Iterator[Row | Reject]:
    """Give every row once and in order, as it is or as a reject signed by the first filter that did not let it pass."""
    for row in rows:
        yield _reject(row, filters) or row


def _reject(row: Row, filters: Sequence[Filter]) -> Reject | None:
    for each in filters:
        reason = each.reason(row)
        if reason is not None:
            return Reject(id=row_id(row), by=each.name, reason=reason, text=row.text)
    return None


def accept_by(filters: Sequence[Filter]) -> Callable[[Document], str | None]:
    """Return a function that says why a document is not accepted, signed by the filter; `None` accepts it."""

    def reason(document: Document) -> str | None:
        reject = _reject(document, filters)
        return None if reject is None else f"{reject.by}: {reject.reason}"

    return reason


# Lists that filters look words up in -------------------------------------------------------------------------------
ListT = TypeVar("ListT", bound=Strict)


def load_list(name: str, kind: type[ListT]) -> ListT:
    """Load the lists shipped under `name`, or those of the YAML file at that path.

    Raises:
        MissingError: neither shipped nor a file.
        ConfigError: not YAML, or not of this form.
    """
    shipped = resources.files("midspec.curate") / "_lists" / f"{name}.yaml"
    if name.isidentifier() and shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise MissingError("there are no such lists", where=name, hint="Give `english` or a YAML file's path")
    try:
        return kind.model_validate(parse_yaml(text, name))
    except ValidationError as error:
        what = ": ".join(first_fault(error, "the file"))
        raise ConfigError(what, where=name, hint="Fix that field of the lists") from error
