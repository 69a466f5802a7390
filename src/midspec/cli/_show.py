"""Small things that several commands print or check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.errors import ConfigError

if TYPE_CHECKING:
    from midspec.llm import Against, Forecast, ForecastRow
    from midspec.records import Record

__all__ = ["checked", "count", "print_forecast", "print_pairs", "print_record", "print_spent"]

_MOST_SHOWN = 24
_WAYS = ("USD", "cached", "batch", "both")

ConfigType = TypeVar("ConfigType", bound=BaseModel)


def checked(kind: type[ConfigType], **values: object) -> ConfigType:
    """A room's config from command-line options.

    Raises:
        ConfigError: an option, or what two of them say together, is wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"--{'.'.join(map(str, first['loc'])).replace('_', '-')}" if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        mend = "Change that option" if where else "See --help"
        raise ConfigError(message, where=where, mend=mend) from error


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


def print_forecast(forecasts: Iterable[Forecast]) -> None:
    """What each model would be asked and what that costs, a line a stage."""
    for forecast in forecasts:
        print(f"\n{forecast.model}")
        print(f"{'stage':<20}{'requests':>10}{'tokens in':>16}{'tokens out':>16}", *(f"{way:>9}" for way in _WAYS))
        for row in (*forecast.rows, forecast.total):
            print(_forecast_line(row))
        if forecast.total.usd is None:
            print(f"The price of {forecast.model} is not known: give it with --prices")


def _forecast_line(row: ForecastRow) -> str:
    counts = f"{row.stage:<20}{row.n_requests:>10,}{row.n_input:>16,}{row.n_output:>16,}"
    ways = (row.usd, row.cached_usd, row.batch_usd, row.batch_cached_usd)
    return " ".join([counts, *(f"{_usd(usd):>9}" for usd in ways)])


def print_spent(rows: Iterable[Against]) -> None:
    """What was asked and spent beside what was forecast, a line a stage."""
    print(
        f"\n{'stage':<20}",
        *(f"{label:>12}" for label in ("asked", "forecast", "tokens out", "forecast", "USD", "forecast")),
    )
    for row in rows:
        counts = (row.n_asked, row.n_forecast, row.n_output, row.n_output_forecast)
        costs = (row.spent_usd, row.forecast_usd)
        print(f"{row.stage:<20}", *(f"{number:>12,}" for number in counts), *(f"{_usd(cost):>12}" for cost in costs))


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else format(cost, ",.2f")


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def _flat(summary: Mapping[str, JsonValue], prefix: str = "") -> Iterable[tuple[str, JsonValue]]:
    for key, value in summary.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict) and len(value) > _MOST_SHOWN:
            yield label, f"{len(value)} different"
        elif isinstance(value, dict):
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
