"""Set the answers of several studies on one page: what each asked, found and could have found, and what it took."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import Built, writable, write_text
from midspec.core.errors import ConfigError
from midspec.core.records import Estimate
from midspec.report._data import ContrastResult, ReportData
from midspec.report._format import (
    answer_sentences,
    corrected_p,
    holds,
    is_share,
    leaves_out_0,
    main_contrasts,
    saving_sentence,
    unit,
)
from midspec.report._html import render


class IndexedReport(NamedTuple):
    """A study's report and what its run took.

    Attributes:
        name: of the run's folder.
        page: its report; of a run in a store its URL, which no browser may open.
        data: what that shows.
        cpu_s: seconds of CPU of all its steps, where they were made; `None` where some did not record them.
        shared_cpu_s: of those, the steps that were taken over from other runs.
    """

    name: str
    page: Path | str
    data: ReportData
    cpu_s: float | None
    shared_cpu_s: float

    @property
    def answers(self) -> tuple[str, ...]:
        """Return what the study found: a sentence for each of its main contrasts, savings first."""
        found = [saving_sentence(each) for each in self.data.savings]
        found += [found_sentence(each) for each in main_contrasts(self.data)]
        return tuple(found) or answer_sentences(self.data)

    @property
    def n_seeds(self) -> int:
        """Return of how many seeds the estimates are."""
        return max((one.n_seeds for one in self.data.estimates), default=0)


def found_sentence(contrast: ContrastResult) -> str:
    """Say what a contrast found, and whether that is left of it after the correction."""
    one = contrast.estimate
    lost = leaves_out_0(one) and not holds(one)
    return contrast.verdict + (f" Not significant: {corrected_p(one)}." if lost else "")


def write_index(reports: Sequence[IndexedReport], page: Path) -> Built:
    """Write a page of several studies' answers, and beside it a CSV file of all that they compared.

    Args:
        reports: in the order of the page.
        page: its place; the CSV file has the same name with `.csv`.

    Raises:
        ConfigError: the page has the name of the CSV file.
        FolderError: the folder can't be written.
    """
    rows = page.with_suffix(".csv")
    if rows == page:
        raise ConfigError("is the file of all comparisons", where=str(page), hint="Give the page another name: .html")
    shown = [
        {
            "report": each,
            "href": os.path.relpath(each.page, page.parent) if isinstance(each.page, Path) else None,
            "asked": " ".join(each.data.question),
            "main": [(one, found_sentence(one), not holds(one.estimate)) for one in main_contrasts(each.data)],
            "savings": [saving_sentence(saving) for saving in each.data.savings],
            "failed": sum(not gate.passed for gate in each.data.gates),
        }
        for each in reports
    ]
    own_cpu_s = [each.cpu_s - each.shared_cpu_s for each in reports if each.cpu_s is not None]
    content: dict[str, Any] = {
        "title": "The answer of one study" if len(reports) == 1 else f"The answers of {len(reports)} studies",
        "shown": shown,
        "rows": rows.name,
        "minutes": sum(own_cpu_s) / 60 if len(own_cpu_s) == len(reports) else None,
    }
    with writable(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, render("index.html.j2", content, None))
        write_text(rows, _csv(reports))
    return Built(outputs=(page.name, rows.name), summary={"n_studies": len(reports)})


def index_lines(reports: Sequence[IndexedReport]) -> list[str]:
    """Return the answers for the terminal, a title and its sentences for each study."""
    lines = []
    for each in reports:
        lines += [each.data.title, *(f"  - {answer}" for answer in each.answers)]
    return lines


def _csv(reports: Sequence[IndexedReport]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("value", "low", "high", "mde")
    about = ("study", "comparison", "main", "plus", "minus", "set", "measure", "unit")
    writer.writerow([*about, *ends, "n_seeds", "holds", "verdict"])
    for each in reports:
        main = [one.estimate.name for one in main_contrasts(each.data)]
        for contrast in each.data.contrasts:
            one: Estimate = contrast.estimate
            units = "share" if is_share(one.measure) else unit(one.measure)
            named = [each.name, one.name, one.name in main, one.arm, one.minus, one.set, one.measure, units]
            numbers = [getattr(one, end) for end in ends]
            writer.writerow([*named, *numbers, one.n_seeds, holds(one), contrast.verdict])
    return out.getvalue()
