"""A health page as HTML: the template, the look of all reports, and the data inside the page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from midspec.core.records import Health, Lengths, Occurrences, Share, Size, Strict
from midspec.report._palette import css_variables


def count(n: float) -> str:
    """A count with its thousands set apart; of a million and more in millions."""
    return f"{n / 1e6:,.1f}M" if n >= 1e6 else f"{n:,.0f}"


def percent(part: float) -> str:
    """A share in percent; what is not nothing is never shown as 0, nor what is not all as 100."""
    if 0 < part < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 < part < 1 else f"{part:.0%}"


def share(share: Share) -> str:
    """A share as counts, percent and interval."""
    if not share.of or share.low is None or share.high is None:
        return "none asked"
    return f"{share.n} of {share.of} ({share.n / share.of:.0%}; 95% interval {share.low:.0%} to {share.high:.0%})"


def sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop at its end."""
    whole = text.strip()
    return whole[:1].upper() + whole[1:] + ("" if whole.endswith((".", "!", "?")) else ".")


def usd(value: float | None) -> str:
    """Dollars; what is not known is never 0."""
    return "not known, or nothing was asked" if value is None else f"${value:,.2f}"


def render(template: str, title: str, content: Mapping[str, Any], data: Strict) -> str:
    """One page; every text in it is escaped by the engine, and `data` is in its data block.

    Args:
        template: the file in `_templates`.
        title: of the page.
        content: what the template shows.
        data: the record that the page is of.
    """
    # Jinja2 takes a while to import, and this room is imported for its sentences too.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("midspec.report", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counted": count, "percent": percent, "share": share, "sentence": sentence, "usd": usd}
    return environment.get_template(template).render(
        title=title, light=css_variables(dark=False), dark=css_variables(dark=True), block=_block(data), **content
    )


def _block(data: Strict) -> str:
    """The data as JSON that nothing inside it can break out of: no `<`, `>` or `&`, no line separators."""
    text = json.dumps(data.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


NOTHING = Size(documents=0, tokens=0)


class Bar(NamedTuple):
    """One line of a bar chart: how long its bar is, in percent of the longest, and what stands behind it."""

    label: str
    width: float
    shown: str


class Cell(NamedTuple):
    """One clause of the heat map: its level (0 none, 1 thin to 5 thick) before and after filtering."""

    id: str
    text: str
    before: Size
    after: Size
    levels: tuple[int, int]


def flow(health: Health) -> tuple[tuple[str, str, str], ...]:
    """Rows and tokens before, out, and after."""
    before, after = health.before, health.after
    return (
        ("before filtering", count(before.documents), count(before.tokens)),
        ("taken out", count(before.documents - after.documents), count(before.tokens - after.tokens)),
        ("kept", count(after.documents), count(after.tokens)),
    )


def charts(health: Health) -> dict[str, tuple[Bar, ...]]:
    """The bars of everything that is counted by name."""
    rows = health.after.documents
    return {
        "rejects": bars(health.rejects, health.before.documents),
        "reasons": bars(health.reasons, health.before.documents),
        "names": _occurrences(health.names, rows),
        "phrases": _occurrences(health.phrases, rows),
        "openings": bars(health.openings, rows),
        "types": bars(health.types, rows),
        "domains": bars(health.domains, rows),
        "languages": bars(health.languages, rows),
    }


def bars(counts: Mapping[str, int], of: int) -> tuple[Bar, ...]:
    """A bar for each count, with its share of all rows."""
    most = max(counts.values(), default=0)
    return tuple(
        Bar(label or "(none)", 100 * n / most if most else 0, f"{n:,} · {percent(n / of)}" if of else f"{n:,}")
        for label, n in counts.items()
    )


def _occurrences(counts: Mapping[str, Occurrences], of: int) -> tuple[Bar, ...]:
    most = max((seen.rows for seen in counts.values()), default=0)
    return tuple(
        Bar(
            label,
            100 * seen.rows / most if most else 0,
            f"{seen.times:,} times in {seen.rows:,} rows" + (f" · {percent(seen.rows / of)}" if of else ""),
        )
        for label, seen in counts.items()
    )


def length_bars(lengths: Lengths | None) -> tuple[Bar, ...]:
    """The histogram of lengths, without the bins that are empty at its ends."""
    if lengths is None:
        return ()
    used = [at for at, one in enumerate(lengths.bins) if one.n]
    shown = lengths.bins[used[0] : used[-1] + 1] if used else ()
    return bars({span_of(one.low, one.high): one.n for one in shown}, sum(one.n for one in lengths.bins))


def span_of(low: int, high: int | None) -> str:
    """A bin of lengths in words."""
    return f"{low:,} to {high:,}" if high is not None else f"{low:,} and more"


def cells_of(health: Health) -> tuple[Cell, ...]:
    """Every clause in the order of the plan, with how thick it is covered against the median of those covered."""
    order = dict.fromkeys([*health.clause_texts, *health.coverage_before, *health.coverage])
    ids = [clause for clause in order if clause in health.coverage_before or clause in health.coverage]
    typical = statistics.median([size.tokens for size in health.coverage_before.values() if size.tokens] or [1])
    cells = []
    for clause in ids:
        before, after = health.coverage_before.get(clause, NOTHING), health.coverage.get(clause, NOTHING)
        levels = _level(before, typical), _level(after, typical)
        cells.append(Cell(clause, health.clause_texts.get(clause, ""), before, after, levels))
    return tuple(cells)


def _level(size: Size, typical: float) -> int:
    """0 without a row; else 1 (under a quarter of the median's tokens) to 5 (over four times)."""
    if not size.documents:
        return 0
    return 1 + sum(size.tokens >= typical * edge for edge in (0.25, 0.5, 2, 4))
