"""Write what every number was made of: a page for each arm and set, with answers, scores and judges' words.

The pages stand in `transcripts/` beside `report.html` and open from a file, without a server. Of many items each page
shows some, spread evenly over seeds and items; the Inspect logs hold all, and each page says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import write_text
from midspec.core.records import Estimate, Strict
from midspec.report._data import ReportData, TranscriptLink
from midspec.report._html import looks, render
from midspec.report._task_data import JudgeReply, MeasureValue

FOLDER = "transcripts"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_MAX_LETTERS = 60


class Turn(Strict):
    """A question, the answer to it word for word, and what judges said of that."""

    question: str
    text: str
    reasoning: str = ""
    stop_reason: str = ""
    judges: tuple[JudgeReply, ...] = ()


class TranscriptEntry(Strict):
    """One item or question as one seed of an arm answered it."""

    seed: int
    item: str
    domain: str = ""
    turns: tuple[Turn, ...]
    scores: tuple[MeasureValue, ...] = ()


class TranscriptPage(Strict):
    """What one arm said on one set.

    Attributes:
        arm: or a point on its way, `ARM@STAGE`.
        set: as estimates name it; a task's name where the page is of all its sets.
        entries: those shown.
        n_entries: all there are.
        logs: folders of the Inspect logs, relative to the run's folder.
    """

    arm: str
    set: str
    entries: tuple[TranscriptEntry, ...]
    n_entries: int
    logs: tuple[str, ...] = ()


def write_transcripts(pages: Iterable[TranscriptPage], data: ReportData, folder: Path) -> tuple[TranscriptLink, ...]:
    """Write the pages into `folder/transcripts`; return where each is, relative to `folder`.

    Args:
        pages: read one after the other twice at most; keep them in a list where they fit.
        data: arms, titles and estimates.
        folder: of the report.
    """
    listed = list(pages)
    found = []
    for number, page in enumerate(listed, start=1):
        words = _NOT_IN_NAMES.sub("-", f"{page.arm} {page.set}".replace("+", " and ")).strip("-").lower()
        name = f"{number:03d}-{words[:_MAX_LETTERS].rstrip('-') or 'answers'}.html"
        found.append(TranscriptLink(arm=page.arm, set=page.set, file=f"{FOLDER}/{name}"))
    links = tuple(found)
    if listed:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    titles = {one.name: one.title for one in data.sets} | {task.name: task.title for task in data.eval_tasks}
    # Those of the main measures, each once.
    wanted = {one.measure for one in data.panels} | {one.measure for task in data.eval_tasks for one in task.columns}
    rates: dict[tuple[str, str], dict[tuple[str, str], Estimate]] = {}
    for one in (*data.estimates, *(score for task in data.eval_tasks for score in task.scores)):
        if one.measure in wanted:
            place = one.set if one.set in titles else one.set.partition("/")[0]
            rates.setdefault((one.arm, place), {}).setdefault((one.set, one.measure), one)
    look = looks(data.arms)
    for page, link in zip(listed, links, strict=True):
        beside = [each for each in links if each.set == page.set]
        content: dict[str, Any] = {
            "data": data,
            "page": page,
            "title": titles.get(page.set, page.set),
            "rates": list(rates.get((page.arm, page.set), {}).values()),
            "beside": [(each, each.file.partition("/")[2]) for each in beside],
            "look": look.get(page.arm.partition("@")[0]),
        }
        write_text(folder / link.file, render("transcripts.html.j2", content, None))
    return links


class Links(NamedTuple):
    """Where the transcripts of a number are."""

    files: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, data: ReportData) -> Links:
        """Return the links of a report."""
        return cls({(link.arm, link.set): link.file for link in data.transcripts})

    def to(self, arm: str | None, name: str) -> str:
        """Return the page of an arm on a set, or on all sets of its task; empty where there is none."""
        if arm is None:
            return ""
        return self.files.get((arm, name)) or self.files.get((arm, name.partition("/")[0]), "")
