"""One pass over rows: what passes the filters, what was there before, what is kept in the end."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, write_json, write_rows
from midspec.core.errors import ConfigError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Calibration, Document, Health, Reject, Size
from midspec.curate._config import CurateConfig
from midspec.curate._decontamination import ContaminationFilter, Embed, Evaluation
from midspec.curate._judge import Judgement
from midspec.curate._rows import Row, estimate_tokens, row_id, said, text_of
from midspec.curate._source import COVERAGE, PLAN, STRIPPED, Source, open_source
from midspec.curate._stats import CorpusStats, Coverage, Findings, health_of
from midspec.curate.filters._duplicates import ExactDuplicates
from midspec.curate.filters._filter import Filter, curate, near, rules
from midspec.curate.filters._form import TwinFilter

HEALTH, REJECTS = "health.json", "rejects.jsonl"
_PASSED = ".passed.jsonl"
_JUDGED_BY = "faithfulness"

_BY_MEANING = "near duplicate in meaning"
_EMBEDDED_AT_ONCE = 256

# What a judge said of each text, by its mark; `None` is keep, whose reason nobody reads.
Verdicts = Mapping[bytes, Judgement | None]


@dataclass
class Run:
    """One pass over a source: its filters, what they found, and the files that they write."""

    source: Source
    config: CurateConfig
    folder: Path
    filters: list[Filter]
    contamination: list[ContaminationFilter]
    embed: Embed | None
    findings: Findings = field(default_factory=Findings)
    repeats: dict[bytes, str] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        path: Path,
        config: CurateConfig,
        folder: Path,
        evaluations: Mapping[str, Evaluation],
        embed: Embed | None,
        spec_text: str,
    ) -> Run:
        source = open_source(path)
        if config.meaning_threshold is not None and embed is None:
            raise ConfigError("needs an embedding model", where="meaning_threshold", hint="Name one, or leave it out")
        quoted = spec_text or "\n".join(source.clause_texts().values())
        leaks = [ContaminationFilter(name, each, config, embed=embed) for name, each in evaluations.items()]
        threshold = config.near_threshold if source.kind == "documents" else config.chat_near_threshold
        twins = [TwinFilter(source.twin_faults())] if source.twin is not None else []
        filters = [*twins, *rules(config, quoted, spec_text), *leaks, ExactDuplicates(), *near(threshold, config)]
        return cls(source, config, folder, filters, leaks, embed)

    def filter_rows(self, on_progress: ProgressCallback | None) -> None:
        """Write what passes to a file of its own and the rest to the rejects; measure what there was before."""
        n_rows = self.source.n_rows()
        coverage = Coverage(self.source.clause_ids())
        with ExitStack() as files:
            passed = files.enter_context(_opened(self.folder / _PASSED))
            rejects = files.enter_context(_opened(self.folder / REJECTS))
            before = _Counted()
            for end in curate(_watched(self.source.rows(), before, coverage, self.config), self.filters):
                if isinstance(end, Reject):
                    self.findings.reject(end)
                    rejects.write(end.model_dump_json() + "\n")
                else:
                    self.findings.n_passed += 1
                    passed.write(end.row.model_dump_json() + "\n")
                if on_progress is not None:
                    on_progress(before.n_rows, n_rows, "filtered")
        self.findings.before = Size(documents=before.n_rows, tokens=before.n_tokens)
        self.findings.coverage_before = coverage.sizes()

    def find_repeats(self) -> None:
        """Where the config asks for it: rows that repeat an earlier one in meaning. Holds one vector a row."""
        if self.config.meaning_threshold is None or self.embed is None:
            return
        import numpy as np

        from midspec.core.near_duplicates import cosine_duplicates

        rows, parts, names = self.source.read(self.folder / _PASSED), [np.empty((0, 0), dtype=np.float32)], []
        while batch := list(islice(rows, _EMBEDDED_AT_ONCE)):
            parts.append(np.asarray(self.embed([said(row) for row in batch]), dtype=np.float32))
            names += [(mark_of(row), row_id(row)) for row in batch]
        if names:
            found = cosine_duplicates(np.concatenate(parts[1:]), self.config.meaning_threshold)
            self.repeats = {names[one][0]: names[other][1] for one, other in found.items()}

    def passed_documents(self) -> Iterator[Document]:
        """The documents that every filter let pass and that repeat no other in meaning."""
        for row in read_rows(self.folder / _PASSED, Document):
            if mark_of(row) not in self.repeats:
                yield row

    @property
    def n_passed(self) -> int:
        """How many rows these are."""
        return self.findings.n_passed - len(self.repeats)

    def finish(
        self,
        verdicts: Verdicts | None,
        *,
        judged: str,
        calibration: Calibration | None,
        cost_usd: float | None,
    ) -> Built:
        """Write the rows that are kept in the end, measure them, and say how healthy they are."""
        gauge = CorpusStats(
            self.findings.coverage_before, tokens_per_word=self.config.tokens_per_word, seed=self.config.seed
        )
        with _opened(self.folder / REJECTS, more=True) as rejects:
            write_rows(self.folder / self.source.name, self._kept(verdicts, gauge, rejects))
        (self.folder / _PASSED).unlink()
        outputs = [self.source.name, REJECTS, COVERAGE, HEALTH, *self._twins(gauge), *self._plan()]
        self.findings.contamination = tuple(each.found() for each in self.contamination)
        self.findings.calibration, self.findings.judged = calibration, judged
        self.findings.cost_usd, self.findings.clause_texts = cost_usd, self.source.clause_texts()
        health = health_of(self.source.kind, self.findings, gauge, self.config)
        coverage: dict[str, JsonValue] = {key: size.model_dump() for key, size in health.coverage.items()}
        write_json(self.folder / COVERAGE, coverage)
        write_json(self.folder / HEALTH, health)
        return Built(outputs=tuple(outputs), summary=_summary(health))

    def _kept(self, verdicts: Verdicts | None, gauge: CorpusStats, rejects: TextIO) -> Iterator[Row]:
        for row in self.source.read(self.folder / _PASSED):
            if (reject := self._late_reject(row, verdicts)) is not None:
                self.findings.reject(reject)
                rejects.write(reject.model_dump_json() + "\n")
            else:
                gauge.add(row)
                if self.source.twin is not None:
                    self.findings.kept_ids.add(row_id(row))
                yield row

    def _late_reject(self, row: Row, verdicts: Verdicts | None) -> Reject | None:
        """The reject that other rows or the judge make of a row that every filter let pass."""
        mark = mark_of(row)
        if mark in self.repeats:
            reason = f"means nearly the same as: {self.repeats[mark]}"
            return Reject(id=row_id(row), by=_BY_MEANING, reason=reason, text=text_of(row))
        judgement = verdicts[mark] if verdicts is not None else None
        if judgement is None:
            return None
        reason = f"{judgement.verdict}: {judgement.reason}"
        return Reject(id=row_id(row), by=_JUDGED_BY, reason=reason, text=text_of(row))

    def _twins(self, gauge: CorpusStats) -> Iterator[str]:
        """Write the twins of the kept chats, in the order of their own file."""
        if self.source.twin is not None:
            kept = (chat for chat in self.source.twins() if row_id(chat) in self.findings.kept_ids)
            n_written = write_rows(self.folder / STRIPPED, kept)
            assert n_written == gauge.n_rows, "every kept chat has one twin"
            yield STRIPPED

    def _plan(self) -> Iterator[str]:
        plan = self.source.plan()
        if plan is not None:
            shutil.copyfile(plan, self.folder / PLAN)
            yield PLAN


@dataclass
class _Counted:
    n_rows: int = 0
    n_tokens: int = 0


def _watched(rows: Iterator[Row], before: _Counted, coverage: Coverage, config: CurateConfig) -> Iterator[Row]:
    """The rows, counted as they pass."""
    for row in rows:
        n_tokens = estimate_tokens(said(row), config.tokens_per_word)
        before.n_rows += 1
        before.n_tokens += n_tokens
        coverage.add(row, n_tokens)
        yield row


def _opened(path: Path, *, more: bool = False) -> TextIO:
    return path.open("a" if more else "w", encoding="utf-8", newline="\n")


def mark_of(row: Row) -> bytes:
    """What a row's verdict is found by: 16 bytes of the hash of its text."""
    return hashlib.blake2b(text_of(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _summary(health: Health) -> dict[str, JsonValue]:
    rejects: dict[str, JsonValue] = dict(health.rejects)
    leaks: dict[str, JsonValue] = {
        found.evaluation: f"{found.n_rows_hit:,} of {found.n_rows:,} rows share something with it"
        for found in health.contamination
    }
    return {
        f"n_{health.kind}": health.after.documents,
        "n_tokens_estimated": health.after.tokens,
        f"n_{health.kind}_before": health.before.documents,
        "n_rejects": sum(health.rejects.values()),
        "rejects": rejects,
        "unclear": dict(health.unclear),
        "n_clauses": len(health.coverage),
        "n_covered": sum(size.documents > 0 for size in health.coverage.values()),
        "judged": _judged(health),
        "contamination": leaks or "not looked for: no evaluation was given",
        "share_distinct": round(health.share_distinct, 4),
        "mean_overlap": health.mean_overlap,
        "notes": list(health.notes),
    }


def _judged(health: Health) -> str:
    found = health.calibration
    if found is None:
        return f"{health.judged}; error rates not measured"
    kept, rejected = found.false_keep, found.false_reject
    return (
        f"{health.judged}; keeps {kept.n} of {kept.of} planted violations, "
        f"rejects {rejected.n} of {rejected.of} others, holds {found.held.n} of {found.held.of}"
    )
