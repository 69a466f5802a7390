"""What was found out about rows, put together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from midspec.curate._config import CurateConfig
from midspec.curate._gauge import Gauge, by_count
from midspec.curate._simple import UNCLEAR
from midspec.records import Calibration, Contamination, Health, Reject, Size

__all__ = ["Findings", "health_of"]

_N_PAIRS = 20
# Of these the words after the colon are one row's own (an id, a number, a judge's sentence).
_OWN_WORDS = ("exact duplicate", "near duplicate", "near duplicate in meaning", "length", "faithfulness")


@dataclass
class Findings:
    """What filtering and judging found, gathered as they go."""

    n_passed: int = 0
    before: Size = field(default_factory=lambda: Size(documents=0, tokens=0))
    coverage_before: dict[str, Size] = field(default_factory=dict)
    clause_texts: dict[str, str] = field(default_factory=dict)
    rejects: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    kept_ids: set[str] = field(default_factory=set)
    contamination: tuple[Contamination, ...] = ()
    judged: str = "not judged"
    calibration: Calibration | None = None
    cost_usd: float | None = None

    def reject(self, reject: Reject) -> None:
        """Count one reject."""
        self.rejects[reject.by] += 1
        head, _, rest = reject.reason.partition(": ")
        self.reasons[f"{reject.by}: {head if reject.by in _OWN_WORDS else reject.reason}"] += 1
        if reject.by.startswith("near duplicate") and len(self.pairs) < _N_PAIRS:
            self.pairs.append((reject.id, rest))


def health_of(kind: Literal["documents", "chats"], findings: Findings, gauge: Gauge, config: CurateConfig) -> Health:
    """The health of the rows that the gauge has measured, after what the findings say was taken out."""
    mean_overlap, n_pairs = gauge.mean_overlap()
    unclear = {"language": gauge.languages[UNCLEAR]} if config.languages and gauge.languages[UNCLEAR] else {}
    return Health(
        kind=kind,
        before=findings.before,
        after=gauge.size,
        rejects=by_count(findings.rejects),
        reasons=dict(list(by_count(findings.reasons).items())[: config.n_top]),
        unclear=unclear,
        held=findings.reasons["faithfulness: hold"],
        n_exact=findings.rejects["exact duplicate"],
        n_near=findings.rejects["near duplicate"] + findings.rejects["near duplicate in meaning"],
        duplicates=tuple(findings.pairs),
        names=gauge.names(config.n_top),
        phrases=gauge.phrases(config.n_top),
        openings=gauge.openings(config.n_top),
        lengths=gauge.lengths(),
        types=by_count(gauge.types),
        domains=by_count(gauge.domains),
        languages=by_count(gauge.languages),
        clause_texts=findings.clause_texts,
        coverage_before=findings.coverage_before,
        coverage=gauge.coverage(),
        share_distinct=gauge.share_distinct(),
        mean_overlap=mean_overlap,
        n_pairs=n_pairs,
        samples=gauge.samples(config.n_samples),
        judged=findings.judged,
        calibration=findings.calibration,
        contamination=findings.contamination,
        cost_usd=findings.cost_usd,
        notes=_notes(findings, gauge, config),
    )


def _notes(findings: Findings, gauge: Gauge, config: CurateConfig) -> tuple[str, ...]:
    notes = list(gauge.notes())
    lost = [
        clause_id
        for clause_id, size in gauge.coverage().items()
        if not size.documents and findings.coverage_before.get(clause_id, size).documents
    ]
    if lost:
        notes.append(f"{len(lost)} clauses had rows before filtering and have none now: {', '.join(lost[:5])}")
    if not config.model_name:
        notes.append("no model name was given, so identity was not looked at")
    if findings.judged == "not judged":
        notes.append("faithfulness was not judged; the error rates of a judge are not measured")
    elif findings.calibration is None:
        notes.append("the error rates of the judge are not measured")
    else:
        notes.append("the judge's clean documents are this corpus's own: its false rejections are an upper bound")
    if not findings.contamination:
        notes.append("no evaluation was given, so contamination was not looked for")
    return tuple(notes)
