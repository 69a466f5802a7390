"""The health of a corpus as one self-contained HTML page.

Enters: what `curate` found out (`Health`), as pure data. Leaves: a page that needs no other file, no script and no
network. Nothing here reads a row or counts a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from midspec.core.artifact import Built, writable, write_text
from midspec.core.records import Comparison, Health
from midspec.report._data import Shown
from midspec.report._health_comparison import compared
from midspec.report._health_page import NOTHING, cells_of, charts, count, flow, length_bars, percent, render, sentence

_OFTEN = 0.2  # of the rows: a name that a reader should know of
_SAME_OPENING = 0.05
_TAKEN_OUT = 0.3
_N_THIN = 10


def write_health(
    health: Health,
    folder: Path,
    *,
    title: str = "Corpus",
    about: Sequence[Shown] = (),
    costs: Sequence[Shown] = (),
    comparison: Comparison | None = None,
) -> Built:
    """Write `health.html` into `folder`; the same data give the same bytes.

    Args:
        health: what curation found.
        folder: where to write; made if it is not there.
        title: of the page: the corpus's name.
        about: where the rows come from: spec, author, digests.
        costs: what writing and judging cost, line by line. `health.cost_usd` is shown in any case.
        comparison: with another corpus, as a further section.

    Raises:
        FolderError: the folder can't be written.
    """
    content: dict[str, Any] = {
        "health": health,
        "facts": _facts(health),
        "findings": _findings(health),
        "flow": flow(health),
        "charts": charts(health),
        "lengths": length_bars(health.lengths),
        "cells": (cells := cells_of(health)),
        "thin": sorted(cells, key=lambda cell: (cell.after.tokens, cell.after.documents))[:_N_THIN],
        "costs": costs,
        "about": about,
        "comparison": compared(comparison) if comparison else None,
    }
    html = render("health.html.j2", title, content, health)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "health.html", html)
    n_uncovered = sum(not cell.after.documents for cell in cells)
    summary: dict[str, JsonValue] = {"n_findings": len(content["findings"]), "n_uncovered": n_uncovered}
    return Built(outputs=("health.html",), summary=summary)


def _facts(health: Health) -> tuple[str, ...]:
    """What the corpus is made of, in a line under its title."""
    covered = sum(size.documents > 0 for size in health.coverage.values())
    kept = f"{count(health.after.documents)} of {count(health.before.documents)} {health.kind} kept"
    tokens = f"{count(health.after.tokens)} of {count(health.before.tokens)} tokens (estimated)"
    clauses = len(health.coverage.keys() | health.coverage_before.keys())
    return (kept, tokens, f"{covered:,} of {clauses:,} clauses covered") if clauses else (kept, tokens)


def _findings(health: Health) -> tuple[str, ...]:
    """What a reader must know first, a sentence each: holes, sameness, leaks, and what was not measured."""
    return tuple(
        sentence(found)
        for found in (*_holes(health), *_sameness(health), *_leaks(health), *_unmeasured(health), *health.notes)
    )


def _holes(health: Health) -> list[str]:
    found = []
    everything = health.coverage.keys() | health.coverage_before.keys()
    empty = [clause for clause in everything if not health.coverage.get(clause, NOTHING).documents]
    if empty:
        lost = sum(health.coverage_before.get(clause, NOTHING).documents > 0 for clause in empty)
        by_filter = f", {lost:,} of them since filtering" if lost else ""
        found.append(f"{len(empty):,} of {len(everything):,} clauses have no row at all{by_filter}")
    out = health.before.documents - health.after.documents
    if health.before.documents and out / health.before.documents > _TAKEN_OUT:
        most = next(iter(health.rejects), "")
        found.append(f"{percent(out / health.before.documents)} of the rows were taken out, most by: {most}")
    return found


def _sameness(health: Health) -> list[str]:
    rows = health.after.documents
    if not rows:
        return ["no row was kept"]
    found = []
    often = [
        f"{name} ({percent(seen.rows / rows)})" for name, seen in health.names.items() if seen.rows / rows >= _OFTEN
    ]
    if often:
        found.append(f"names in at least one row of five: {', '.join(often)}")
    openings = [f"“{words}” ({percent(n / rows)})" for words, n in health.openings.items() if n / rows >= _SAME_OPENING]
    if openings and rows >= 20:
        found.append(f"openings that at least one row of twenty has: {', '.join(openings)}")
    if health.share_distinct < 1:
        found.append(f"{percent(1 - health.share_distinct)} of the rows repeat another word for word")
    return found


def _leaks(health: Health) -> list[str]:
    return [
        f"{one.n_rows_hit:,} of {one.n_rows:,} rows hold something of {one.evaluation}"
        + (", and were taken out" if one.rejected else ", and are still there")
        for one in health.contamination
        if one.n_rows_hit
    ]


def _unmeasured(health: Health) -> list[str]:
    """What the notes of curation do not say themselves."""
    said = " ".join(health.notes)
    found = []
    if health.calibration is None and "not measured" not in said:
        found.append("the error rates of a judge are not measured")
    if not health.contamination and "contamination" not in said:
        found.append("contamination by evaluations is not measured")
    return found
