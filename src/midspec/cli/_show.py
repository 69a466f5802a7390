"""Small things that several commands print or check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.errors import ConfigError

if TYPE_CHECKING:
    from midspec.records import Record

__all__ = ["checked", "count", "print_pairs", "print_record", "require_author"]

_AUTHORS = ("quoting",)

ConfigType = TypeVar("ConfigType", bound=BaseModel)


def require_author(author: str) -> None:
    """Refuse an author that there is not.

    Raises:
        ConfigError: names the authors that there are.
    """
    if author not in _AUTHORS:
        raise ConfigError(f"there is no author {author!r}", where="--author", mend=f"There is {', '.join(_AUTHORS)}")


def checked(kind: type[ConfigType], **values: object) -> ConfigType:
    """A room's config from command-line options.

    Raises:
        ConfigError: an option, or what two of them say together, is wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"--{'.'.join(map(str, first['loc'])).replace('_', '-')}" if first["loc"] else "options"
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(message, where=where, mend="Change that option") from error


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Labels and values, one pair a line, values in one column; a pair without a value is left out."""
    shown = [(label, _shown(value)) for label, value in pairs]
    shown = [(label, value) for label, value in shown if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        print(f"{label:<{width}}  {value}")


def print_record(record: Record, made: bool, folder: Path) -> None:
    """What a step's record says of its health, and where the result is."""
    print_pairs((label, value) for label, value in _flat(record.summary))
    took = f"made in {record.execution.seconds:.1f} s" if made else "it was there, made from the same inputs"
    print(f"{folder}: {took}")


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def _flat(summary: Mapping[str, JsonValue], prefix: str = "") -> Iterable[tuple[str, JsonValue]]:
    for key, value in summary.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{label}: ")
        else:
            yield label, value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())
