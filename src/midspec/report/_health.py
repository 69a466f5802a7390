"""The health of a corpus as one self-contained HTML page, made from what `curate` measured.

Where it is compared with another corpus, that one stands beside it: a difference of style is none of content.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built, writable, write_text
from midspec.core.records import (
    Comparison,
    CorpusLoss,
    Denials,
    Health,
    LengthBin,
    Lengths,
    Occurrences,
    Size,
    ValueClaims,
)
from midspec.report._data import LabelledValue
from midspec.report._format import count, percent, sentence, share
from midspec.report._html import render

# Shares of the rows from which on a finding is listed first.
_COMMON_NAME = 0.2
_COMMON_OPENING, _MIN_ROWS_FOR_OPENINGS = 0.05, 20
_MANY_REJECTED = 0.3
_MANY_DENIALS = 0.1
_CLAIMS = ("assert the spec's value", "give the value as a reason")
_N_THIN = 10
_NOTHING = Size(documents=0, tokens=0)
# AUC from which on a classifier tells two corpora apart sometimes, mostly, nearly always.
_SOMETIMES, _MOSTLY, _NEARLY_ALWAYS = 0.6, 0.75, 0.95
_MAX_APART = 0.05  # above this share of the lower loss two corpora are not matched


def write_health(
    health: Health,
    folder: Path,
    *,
    title: str = "Corpus",
    about: Sequence[LabelledValue] = (),
    costs: Sequence[LabelledValue] = (),
    comparison: Comparison | None = None,
) -> Built:
    """Write `health.html` into `folder`; the same data give the same bytes.

    Args:
        health: what curation measured.
        folder: where to write; made if it is not there.
        title: of the page: the corpus's name.
        about: where the rows come from: spec, author, digests.
        costs: what writing and judging cost, line by line. `health.cost_usd` is shown in any case.
        comparison: with another corpus, as a further section.

    Raises:
        FolderError: the folder can't be written.
    """
    unmatched = unmatched_losses(comparison.losses) if comparison else []
    known = (*_coverage_findings(health), *_content_findings(health))
    findings = [sentence(text) for text in (*known, *_claim_findings(health), *unmatched, *health.notes)]
    cells = _clause_cells(health)
    content: dict[str, Any] = {
        "title": title,
        "health": health,
        "facts": _facts(health),
        "findings": findings,
        "flow": _flow(health),
        "charts": _charts(health),
        "lengths": _length_bars(health.lengths),
        "cells": cells,
        "thin": sorted(cells, key=lambda cell: (cell.after.tokens, cell.after.documents))[:_N_THIN],
        "contents": [
            content_rows([health.denials], [claims], [health.loss] if health.loss and not at else [])
            for at, claims in enumerate(health.claims or (None,))
        ],
        "costs": costs,
        "about": about,
        "comparison": comparison_content(comparison) if comparison else None,
    }
    html = render("health.html.j2", content, health)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "health.html", html)
    n_uncovered = sum(not cell.after.documents for cell in cells)
    # Summaries are part of records, which keep their bytes: findings that came later are not counted.
    summary: dict[str, JsonValue] = {"n_findings": len(known) + len(health.notes), "n_uncovered": n_uncovered}
    return Built(outputs=("health.html",), summary=summary)


def _facts(health: Health) -> tuple[str, ...]:
    """Return what the corpus is made of, for the line under its title."""
    covered = sum(size.documents > 0 for size in health.coverage.values())
    rows = f"{count(health.after.documents)} of {count(health.before.documents)} {health.kind} kept"
    tokens = f"{count(health.after.tokens)} of {count(health.before.tokens)} tokens (estimated)"
    clauses = len(health.coverage.keys() | health.coverage_before.keys())
    return (rows, tokens, f"{covered:,} of {clauses:,} clauses covered") if clauses else (rows, tokens)


def _coverage_findings(health: Health) -> Iterator[str]:
    """Find clauses without a row, and filters that rejected much."""
    clauses = health.coverage.keys() | health.coverage_before.keys()
    empty = [clause for clause in clauses if not health.coverage.get(clause, _NOTHING).documents]
    if empty:
        lost = sum(health.coverage_before.get(clause, _NOTHING).documents > 0 for clause in empty)
        by_filter = f", {lost:,} of them since filtering" if lost else ""
        yield f"{len(empty):,} of {len(clauses):,} clauses have no row at all{by_filter}"
    n_rejected = health.before.documents - health.after.documents
    if health.before.documents and n_rejected / health.before.documents > _MANY_REJECTED:
        most = next(iter(health.rejects), "")
        yield f"{percent(n_rejected / health.before.documents)} of the rows were taken out, most by: {most}"


def _content_findings(health: Health) -> Iterator[str]:
    """Find what recurs too often, contamination, and what was not measured and no note of curation names."""
    n_rows = health.after.documents
    if not n_rows:
        yield "no row was kept"
    else:
        shares = {name: seen.rows / n_rows for name, seen in health.names.items()}
        if names := [f"{name} ({percent(part)})" for name, part in shares.items() if part >= _COMMON_NAME]:
            yield f"names in at least one row of five: {', '.join(names)}"
        shares = {words: n / n_rows for words, n in health.openings.items()}
        openings = [f"“{words}” ({percent(part)})" for words, part in shares.items() if part >= _COMMON_OPENING]
        if openings and n_rows >= _MIN_ROWS_FOR_OPENINGS:
            yield f"openings that at least one row of twenty has: {', '.join(openings)}"
        if health.share_distinct < 1:
            yield f"{percent(1 - health.share_distinct)} of the rows repeat another word for word"
    for one in health.contamination:
        if one.n_rows_hit:
            end = ", and were taken out" if one.rejected else ", and are still there"
            yield f"{one.n_rows_hit:,} of {one.n_rows:,} rows hold something of {one.evaluation}{end}"
    notes = " ".join(health.notes)
    if health.calibration is None and "not measured" not in notes:
        yield "the error rates of a judge are not measured"
    if not health.contamination and "contamination" not in notes:
        yield "contamination by evaluations is not measured"


def _claim_findings(health: Health) -> Iterator[str]:
    """Find many denials in sentences of their own, and few documents that assert the value or give it as a reason."""
    if (denials := health.denials) is not None and denials.n_apart:
        part = denials.n_apart / (denials.n_about or 1)
        if part >= _MANY_DENIALS:
            yield (
                f"{percent(part)} of the sentences about the assistant only deny something, and documents that deny "
                "in sentences of their own teach what they deny"
            )
    for claims in health.claims:
        # Words find four assertions in five, and half of the reasons.
        floors = (0.9, 0.6) if claims.by != "words" else (0.6, 0.25)
        for found, least, what in zip((claims.asserted, claims.as_reason), floors, _CLAIMS, strict=True):
            if found.of and found.n / found.of < least:
                yield f"{percent(found.n / found.of)} of the documents {what}, by {claims.by}"


def _flow(health: Health) -> tuple[tuple[str, str, str], ...]:
    """Return rows and tokens before, taken out, and after."""
    before, after = health.before, health.after
    return (
        ("before filtering", count(before.documents), count(before.tokens)),
        ("taken out", count(before.documents - after.documents), count(before.tokens - after.tokens)),
        ("kept", count(after.documents), count(after.tokens)),
    )


class _Bar(NamedTuple):
    """One line of a bar chart; `width` is in percent of the longest bar."""

    label: str
    width: float
    shown: str


def _charts(health: Health) -> dict[str, tuple[_Bar, ...]]:
    """Return the bars of everything that is counted by name."""
    n_rows = health.after.documents

    def occurrences(counts: Mapping[str, Occurrences]) -> tuple[_Bar, ...]:
        most = max((seen.rows for seen in counts.values()), default=0) or 1
        return tuple(
            _Bar(
                label,
                100 * seen.rows / most,
                f"{seen.times:,} times in {seen.rows:,} rows" + (f" · {percent(seen.rows / n_rows)}" if n_rows else ""),
            )
            for label, seen in counts.items()
        )

    return {
        "rejects": _bars(health.rejects, health.before.documents),
        "reasons": _bars(health.reasons, health.before.documents),
        "names": occurrences(health.names),
        "phrases": occurrences(health.phrases),
        "openings": _bars(health.openings, n_rows),
        "types": _bars(health.types, n_rows),
        "domains": _bars(health.domains, n_rows),
        "languages": _bars(health.languages, n_rows),
    }


def _bars(counts: Mapping[str, int], total: int) -> tuple[_Bar, ...]:
    """Return a bar for each count, with its share of `total`."""
    most = max(counts.values(), default=0) or 1
    return tuple(
        _Bar(label or "(none)", 100 * n / most, f"{n:,} · {percent(n / total)}" if total else f"{n:,}")
        for label, n in counts.items()
    )


def _length_bars(lengths: Lengths | None) -> tuple[_Bar, ...]:
    """Return the histogram of lengths, without the bins that are empty at its ends."""
    if lengths is None:
        return ()
    used = [at for at, one in enumerate(lengths.bins) if one.n]
    shown = lengths.bins[used[0] : used[-1] + 1] if used else ()
    return _bars({bin_label(one): one.n for one in shown}, sum(one.n for one in lengths.bins))


class _ClauseCell(NamedTuple):
    """One clause of the heat map: its level (0 none, 1 thin to 5 thick) before and after filtering."""

    id: str
    text: str
    before: Size
    after: Size
    levels: tuple[int, int]


def _clause_cells(health: Health) -> list[_ClauseCell]:
    """Return every clause in the order of the plan, with its coverage against the median of those covered."""
    order = dict.fromkeys([*health.clause_texts, *health.coverage_before, *health.coverage])
    median = statistics.median([size.tokens for size in health.coverage_before.values() if size.tokens] or [1])

    def level(size: Size) -> int:
        # 1 is under a quarter of the median's tokens, 5 over four times as many.
        return 1 + sum(size.tokens >= median * edge for edge in (0.25, 0.5, 2, 4)) if size.documents else 0

    cells = []
    for clause in order:
        if clause in health.coverage_before or clause in health.coverage:
            before, after = health.coverage_before.get(clause, _NOTHING), health.coverage.get(clause, _NOTHING)
            levels = level(before), level(after)
            cells.append(_ClauseCell(clause, health.clause_texts.get(clause, ""), before, after, levels))
    return cells


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    """Lay a comparison out for its section of a page."""
    sizes = comparison.sizes
    distances = (
        ("Lengths (total variation)", comparison.length_distance),
        ("Document types (total variation)", comparison.type_distance),
        ("Words (Jensen-Shannon)", comparison.vocabulary_distance),
    )
    return {
        "data": comparison,
        "telling": _separability_sentences(comparison),
        "lengths": _length_pairs(comparison),
        "types": _bar_pairs(comparison.types.items(), (sizes[0].documents, sizes[1].documents)),
        "more": [
            [(word, f"{mine:,.0f} against {other:,.0f}") for word, (mine, other) in more.items()]
            for more in comparison.more_in
        ],
        "names": [
            [(name, f"{seen.times:,} times in {seen.rows:,} rows") for name, seen in names.items()]
            for names in comparison.names_in
        ],
        "contents": content_rows(comparison.denials, comparison.claims, comparison.losses),
        "unmatched": [sentence(text) for text in unmatched_losses(comparison.losses)],
        "figures": [(label, "not measured" if value is None else f"{value:.2f}") for label, value in distances],
    }


def _separability_sentences(comparison: Comparison) -> list[str]:
    """Say whether a classifier tells the two apart, by style and by all words; a null is called one."""
    one, other = comparison.names
    sentences = []
    for what, found in (("style", comparison.style), ("all words, so by content too", comparison.separability)):
        if found.auc is None:
            unknown = f"by {what}, whether {one} and {other} can be told apart is not measured: {found.note}"
            sentences.append(sentence(unknown))
            continue
        degree = ("hardly", "sometimes", "mostly", "nearly always")[
            sum(found.auc >= edge for edge in (_SOMETIMES, _MOSTLY, _NEARLY_ALWAYS))
        ]
        span = f"95% interval {found.low:.2f} to {found.high:.2f}; " if None not in (found.low, found.high) else ""
        sentences.append(
            f"By {what}, a classifier {degree} tells a row of {one} from one of {other}: AUC {found.auc:.2f} "
            f"({span}0.5 is a coin toss, 1 is without error)."
        )
    if comparison.style.auc is not None and comparison.style.auc >= _MOSTLY:
        sentences.append(f"What differs between models trained on {one} and {other} may therefore come of style alone.")
    return sentences


def unmatched_losses(losses: Sequence[CorpusLoss]) -> list[str]:
    """Say which corpora differ by more than 5% in loss, a clause a pair."""
    found = []
    for one, other in combinations(losses, 2):
        low, high = sorted((one, other), key=lambda each: each.loss)
        if high.loss > (1 + _MAX_APART) * low.loss:
            found.append(
                f"{high.name} costs the model {high.loss:.2f} nats a token and {low.name} {low.loss:.2f}, "
                f"{percent(high.loss / low.loss - 1)} apart, where matched corpora are within {percent(_MAX_APART)}"
            )
    return found


class ContentRow(NamedTuple):
    """One line of what documents do besides what they say: a label, and a value for each corpus."""

    label: str
    values: tuple[str, ...]


def content_rows(
    denials: Sequence[Denials | None], claims: Sequence[ValueClaims | None], losses: Sequence[CorpusLoss]
) -> tuple[ContentRow, ...]:
    """Return denials, claims and losses of corpora side by side, without the lines that none of them has.

    Args:
        denials: of each corpus.
        claims: of each corpus, by the same words or judge.
        losses: of each corpus, by the same model.
    """
    by = next((f" (by {each.by})" for each in claims if each), "")
    lines: list[tuple[str, list[str | None]]] = [
        ("documents with a denial in a sentence of its own", [share(each.rows) if each else None for each in denials]),
        (
            "such sentences, of those about the assistant",
            [f"{each.n_apart:,} of {each.n_about:,}" if each else None for each in denials],
        ),
        ("denials beside what it does", [f"{each.n_inside:,}" if each else None for each in denials]),
        (f"documents that assert the value{by}", [share(each.asserted) if each else None for each in claims]),
        (f"documents that give it as a reason{by}", [share(each.as_reason) if each else None for each in claims]),
        ("loss before training, nats a token", [f"{each.loss:.3f}{_within(each)}" for each in losses]),
        ("tokens scored", [f"{each.n_tokens:,} of {each.n_documents:,} documents" for each in losses]),
    ]
    shown = [(label, values) for label, values in lines if any(values)]
    return tuple(ContentRow(label, tuple(value or "–" for value in values)) for label, values in shown)


def _within(loss: CorpusLoss) -> str:
    return "" if loss.low is None or loss.high is None else f" ({loss.low:.3f} to {loss.high:.3f})"


class _BarPair(NamedTuple):
    """One line of two bars, one for each of two corpora."""

    label: str
    widths: tuple[float, float]
    shown: tuple[str, str]


def _length_pairs(comparison: Comparison) -> tuple[_BarPair, ...]:
    """Return the two histograms bin by bin, in shares of each corpus, without bins empty in both at the ends."""
    first, second = comparison.lengths
    if first is None or second is None:
        return ()
    counts = {bin_label(one): (one.n, other.n) for one, other in zip(first.bins, second.bins, strict=False)}
    used = [at for at, pair in enumerate(counts.values()) if any(pair)]
    shown = list(counts.items())[used[0] : used[-1] + 1] if used else []
    return _bar_pairs(shown, (sum(one.n for one in first.bins), sum(one.n for one in second.bins)))


def _bar_pairs(counts: Iterable[tuple[str, tuple[int, int]]], totals: tuple[int, int]) -> tuple[_BarPair, ...]:
    shares = [(label, n, tuple(m / of if of else 0.0 for m, of in zip(n, totals, strict=True))) for label, n in counts]
    most = max((share for _, _, both in shares for share in both), default=0) or 1
    return tuple(
        _BarPair(
            label or "(none)",
            (100 * both[0] / most, 100 * both[1] / most),
            (f"{n[0]:,} · {percent(both[0])}", f"{n[1]:,} · {percent(both[1])}"),
        )
        for label, n, both in shares
    )


def bin_label(one: LengthBin) -> str:
    """Return a bin of lengths in words: `200 to 400`."""
    return f"{one.low:,} to {one.high:,}" if one.high is not None else f"{one.low:,} and more"
