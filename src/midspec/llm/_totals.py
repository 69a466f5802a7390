"""What the store's file says of tokens and money."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from midspec.llm._ledger import LedgerRow, Lost
from midspec.llm._types import Usage

__all__ = ["price_rows", "read_ledger", "read_lost", "unfinished"]

Run = Callable[..., Any]
Cost = Callable[[str, Usage, bool], float | None]
_CHARS_PER_TOKEN = 4

_LEDGER = (
    "SELECT stage, duty, model, sum(n), sum(n_input), sum(n_cache_read), sum(n_cache_write), sum(n_output),"
    " sum(cost_usd), sum(n_unpriced + n_blind), sum(seconds), sum(n * (kind NOT IN ('again', 'failed')))"
    " FROM totals WHERE kind != 'over_budget' AND n > 0 GROUP BY stage, duty, model"
)
_KINDS = "SELECT kind, n FROM totals WHERE stage = ? AND duty = ? AND model = ? AND kind != 'over_budget' AND n > 0"
_IN_FLIGHT = "SELECT stage, duty, model, count(*) FROM attempts WHERE kind IS NULL GROUP BY stage, duty, model"
_BLIND = "SELECT stage, duty, model, n_blind, blind_chars, blind_cap FROM totals WHERE n_blind > 0"
_MEANS = "SELECT stage, sum(n_output) / sum(n - n_blind) FROM totals WHERE kind = 'ok' AND n > n_blind GROUP BY stage"
_UNFINISHED = (
    "SELECT stage, duty, model, count(*), sum(n_chars), sum(max_tokens) FROM attempts"
    " WHERE kind IS NULL AND opening != ? AND (batch_id IS NULL OR batch_id NOT IN"
    " (SELECT batch_id FROM batches WHERE closed_at IS NULL)) GROUP BY stage, duty, model"
)
_UNPRICED = (
    "SELECT id, model, n_input, n_cache_read, n_cache_write, n_output, batch_id IS NOT NULL FROM attempts"
    " WHERE n_input IS NOT NULL AND cost_usd IS NULL AND kind NOT IN ('failed', 'again', 'over_budget')"
)


def read_ledger(run: Run) -> list[LedgerRow]:
    """What was asked and spent so far, in the order of stage, duty and model."""
    in_flight = {tuple(key): n for *key, n in run(_IN_FLIGHT)}
    rows = {row[:3]: row[3:] for row in run(_LEDGER).fetchall()}
    return [
        _ledger_row(key, rows.get(key, (0,) * 9), dict(run(_KINDS, key)), in_flight.get(key, 0))
        for key in sorted(rows.keys() | in_flight.keys())
    ]


def _ledger_row(key: tuple[str, ...], sums: tuple[Any, ...], kinds: dict[str, int], n_in_flight: int) -> LedgerRow:
    n, n_input, n_cache_read, n_cache_write, n_output, cost_usd, n_unpriced, seconds, n_billed = sums
    return LedgerRow(
        stage=key[0],
        duty=key[1],
        model=key[2],
        n_asked=n,
        kinds=kinds,
        usage=Usage(n_input=n_input, n_cache_read=n_cache_read, n_cache_write=n_cache_write, n_output=n_output),
        cost_usd=None if n_billed and n_unpriced == n_billed else cost_usd,
        n_unpriced=n_unpriced,
        seconds=seconds,
        n_in_flight=n_in_flight,
    )


def unfinished(run: Run, opening: int) -> list[tuple[Any, ...]]:
    """What other openings of the file have in flight (or had, when they were killed), summed."""
    return list(run(_UNFINISHED, (opening,)))


def read_lost(run: Run, elsewhere: Iterable[tuple[Any, ...]]) -> list[Lost]:
    """`elsewhere` and the attempts whose usage is unknown, as estimates."""
    blind = run(_BLIND).fetchall()
    means = dict(run(_MEANS)) if blind or elsewhere else {}
    sums: dict[tuple[str, ...], list[int]] = {}
    for *key, n, n_chars, cap in (*elsewhere, *blind):
        into = sums.setdefault(tuple(key), [0, 0, 0])
        n_output = min(cap, n * max(1, means[key[0]])) if key[0] in means else cap
        for index, value in enumerate((n, n_chars // _CHARS_PER_TOKEN, n_output)):
            into[index] += value
    return [
        Lost(stage=key[0], duty=key[1], model=key[2], n=n, n_input=n_input, n_output=n_output)
        for key, (n, n_input, n_output) in sorted(sums.items())
    ]


def price_rows(run: Run, cost: Cost) -> None:
    """Give a price to each row whose tokens are known, where `cost` now has one."""
    for attempt, model, n_input, n_cache_read, n_cache_write, n_output, batch in run(_UNPRICED).fetchall():
        usage = Usage(n_input=n_input, n_cache_read=n_cache_read, n_cache_write=n_cache_write, n_output=n_output)
        cost_usd = cost(model, usage, bool(batch))
        if cost_usd is not None:
            run("UPDATE attempts SET cost_usd = ? WHERE id = ?", (cost_usd, attempt))
