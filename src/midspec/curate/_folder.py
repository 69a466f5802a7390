"""A folder of rows in, a folder of kept rows out, with rejects, coverage and health beside them."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from pydantic import JsonValue

from midspec.core.artifact import Built, ProgressCallback, read_rows, write_json, write_rows
from midspec.core.errors import ConfigError
from midspec.core.records import Document, Health, Reject, Size, ValueClaims
from midspec.core.text import estimate_tokens
from midspec.curate._calibration import Planter, calibrate
from midspec.curate._claims import STAGE as CLAIMS_STAGE
from midspec.curate._claims import ContentStats, judge_claims
from midspec.curate._config import CurateConfig
from midspec.curate._filter import Embed, Evaluation, Filter, FilterContext, curate, make_filters
from midspec.curate._judge import CALIBRATION_STAGE, STAGE, DocumentVerdict, Judge, check_judged, judge_documents
from midspec.curate._rows import COVERAGE, PLAN, STRIPPED, Row, RowSource, open_source, row_id, target_text
from midspec.curate._stats import CorpusStats, Coverage, Findings, health_of
from midspec.curate.filters._contamination import ContaminationFilter

_HEALTH, _REJECTS = "health.json", "rejects.jsonl"
_PASSED = ".passed.jsonl"
_EMBEDDING_BATCH = 256

# By the digest of a row's text: the judge's verdict, or `None` where it keeps the row.
Verdicts = Mapping[bytes, DocumentVerdict | None]


def curate_folder(
    documents: Path,
    config: CurateConfig,
    folder: Path,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
    embed: Embed | None = None,
    spec_text: str = "",
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Filter the rows at `documents` and measure them, without a judge.

    Args:
        documents: a folder of a corpus or of chats (twins are filtered together), or a JSONL file of rows.
        config: which rows are kept.
        folder: gets the kept rows, rejects.jsonl, coverage.json, health.json, and plan.jsonl where there is one.
        evaluations: name -> what the rows must not share with it.
        embed: gives vectors of texts, for contamination by meaning and for `meaning_threshold`.
        spec_text: the spec, its names filled in: what stands in it word for word is neither a leak nor a foreign name.
            Without it, what the plan beside the rows says of the clauses is taken for it.
        on_progress: called after each row.

    Raises:
        MissingError, DataError: no rows there, or malformed ones.
        ConfigError: a setting contradicts another.
    """
    run = _Run.open(documents, config, folder, evaluations or {}, embed, spec_text)
    run.filter_rows(on_progress)
    return run.finish(None)


async def judge_folder(
    documents: Path,
    config: CurateConfig,
    folder: Path,
    judge: Judge,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
    embed: Embed | None = None,
    spec_text: str = "",
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Do the same as `curate_folder`, and then have a judge read each document that the filters let pass.

    What the judge does not clearly keep is rejected: by `faithfulness`, as `reject: ...` or `hold: ...`. Verdicts are
    in the judge's store before anything is done with them, so a run that was stopped goes on from there.

    Args:
        documents: as in `curate_folder`; documents only.
        config: with `calibrate_each` the judge is measured on some of these documents; since they are not known to be
            faithful, `false_reject` is an upper bound (`calibrate` takes ones you know).
        folder: as in `curate_folder`.
        judge: judges documents.
        evaluations: as in `curate_folder`.
        embed: as in `curate_folder`.
        spec_text: as in `curate_folder`.
        on_progress: as in `curate_folder`.

    Raises:
        ConfigError: chats; or calibration without a model's name.
        MidspecError: what ends the run.
    """
    run = _Run.open(documents, config, folder, evaluations or {}, embed, spec_text)
    check_judged(run.source, config)
    run.filter_rows(on_progress)
    verdicts: dict[bytes, DocumentVerdict | None] = {}

    def on_verdict(document: Document, verdict: DocumentVerdict) -> None:
        verdicts[_text_digest(document)] = None if verdict.verdict == "keep" else verdict

    n_documents = run.findings.n_passed - len(run.repeats)
    await judge_documents(run.passed_documents(), judge, on_verdict, on_progress=on_progress, n_documents=n_documents)
    run.findings.judged = judge.model.model
    if config.calibrate_each:
        # Error rates on some of the documents that were just judged; their clean verdicts are in the store.
        stats = CorpusStats(seed=config.seed)
        for document in run.passed_documents():
            stats.add(document)
        known = [row for row in stats.sampled if isinstance(row, Document)]
        planter = Planter(config.model_name or "", config.provider_name or "", judge.clauses, seed=config.seed)
        if known:
            run.findings.calibration = await calibrate(
                known, judge, planter, n_each=config.calibrate_each, on_progress=on_progress
            )
    if config.judge_claims:
        run.findings.claims = await run.judged_claims(judge, verdicts)
    stages = (STAGE, CALIBRATION_STAGE, CLAIMS_STAGE)
    costs = [row.cost_usd for row in judge.store.ledger() if row.stage in stages]
    run.findings.cost_usd = None if None in costs else sum(cost for cost in costs if cost is not None)
    return run.finish(verdicts)


@dataclass
class _Run:
    """One pass over a source: its filters, what they found, and the files that they write.

    Attributes:
        repeats: digest of a row's text -> id of the earlier row that it repeats in meaning.
    """

    source: RowSource
    config: CurateConfig
    folder: Path
    filters: list[Filter]
    embed: Embed | None
    contents: ContentStats
    findings: Findings = field(default_factory=Findings)
    repeats: dict[bytes, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        path: Path,
        config: CurateConfig,
        folder: Path,
        evaluations: Mapping[str, Evaluation],
        embed: Embed | None,
        spec_text: str,
    ) -> _Run:
        source = open_source(path)
        if config.meaning_threshold is not None and embed is None:
            raise ConfigError("needs an embedding model", where="meaning_threshold", hint="Name one, or leave it out")
        quotable = spec_text or "\n".join(source.clause_texts().values())
        context = FilterContext(
            config=config,
            kind=source.kind,
            spec_text=spec_text,
            quotable=quotable,
            twin_faults=source.twin_faults(),
            evaluations=evaluations,
            embed=embed,
        )
        return cls(source, config, folder, make_filters(context), embed, ContentStats(config, quotable))

    def filter_rows(self, on_progress: ProgressCallback | None) -> None:
        """Write rows that pass to a file of their own and the others to the rejects; count what there was before."""
        n_rows = self.source.n_rows()
        n_read = n_tokens = 0
        coverage = Coverage(self.source.clause_ids())

        def counted(rows: Iterator[Row]) -> Iterator[Row]:
            nonlocal n_read, n_tokens
            for row in rows:
                n = estimate_tokens(target_text(row), self.config.tokens_per_word)
                n_read, n_tokens = n_read + 1, n_tokens + n
                coverage.add(row, n)
                yield row

        with ExitStack() as files:
            passed = files.enter_context(_open_lines(self.folder / _PASSED, "w"))
            rejects = files.enter_context(_open_lines(self.folder / _REJECTS, "w"))
            for end in curate(counted(self.source.rows()), self.filters):
                if isinstance(end, Reject):
                    self.findings.add_reject(end)
                    rejects.write(end.model_dump_json() + "\n")
                else:
                    self.findings.n_passed += 1
                    passed.write(end.model_dump_json() + "\n")
                if on_progress is not None:
                    on_progress(n_read, n_rows, "filtered")
        self.findings.before = Size(documents=n_read, tokens=n_tokens)
        self.findings.coverage_before = coverage.sizes()
        if self.config.meaning_threshold is not None and self.embed is not None:
            self.repeats = self._repeats_in_meaning(self.config.meaning_threshold, self.embed)

    def _repeats_in_meaning(self, threshold: float, embed: Embed) -> dict[bytes, str]:
        """Find rows that repeat an earlier one in meaning. Holds one vector a row in memory."""
        import numpy as np

        from midspec.core.near_duplicates import cosine_duplicates

        rows, vectors, names = self.source.read(self.folder / _PASSED), [], []
        while batch := list(islice(rows, _EMBEDDING_BATCH)):
            vectors.append(np.asarray(embed([target_text(row) for row in batch]), dtype=np.float32))
            names += [(_text_digest(row), row_id(row)) for row in batch]
        if not names:
            return {}
        duplicates = cosine_duplicates(np.concatenate(vectors), threshold)
        return {names[row][0]: names[earlier][1] for row, earlier in duplicates.items()}

    def passed_documents(self) -> Iterator[Document]:
        """Read the documents that every filter let pass and that repeat no other in meaning."""
        for row in read_rows(self.folder / _PASSED, Document):
            if _text_digest(row) not in self.repeats:
                yield row

    async def judged_claims(self, judge: Judge, verdicts: Verdicts) -> tuple[ValueClaims, ...]:
        """Ask a judge what some of the documents that it kept assert; drawn by seed."""
        stats = CorpusStats(seed=self.config.seed)
        for document in self.passed_documents():
            if verdicts[_text_digest(document)] is None:
                stats.add(document)
        n_asked = min(self.config.judge_claims, len(stats.sampled))
        drawn = random.Random(f"{self.config.seed}:claims").sample(stats.sampled, n_asked)
        documents = [row for row in drawn if isinstance(row, Document)]
        return (await judge_claims(documents, judge, self.contents),)

    def finish(self, verdicts: Verdicts | None) -> Built:
        """Write the rows that are kept in the end, measure them, and summarize their health."""
        findings = self.findings
        stats = CorpusStats(
            findings.coverage_before, tokens_per_word=self.config.tokens_per_word, seed=self.config.seed
        )
        with _open_lines(self.folder / _REJECTS, "a") as rejects:
            write_rows(self.folder / self.source.name, self._kept_rows(verdicts, stats, rejects))
        (self.folder / _PASSED).unlink()
        outputs = [self.source.name, _REJECTS, COVERAGE, _HEALTH]
        if self.source.twin is not None:
            kept_twins = (chat for chat in self.source.twins() if row_id(chat) in findings.kept_ids)
            n_written = write_rows(self.folder / STRIPPED, kept_twins)
            assert n_written == stats.n_rows, "every kept chat has one twin"
            outputs.append(STRIPPED)
        if (plan := self.source.plan()) is not None:
            shutil.copyfile(plan, self.folder / PLAN)
            outputs.append(PLAN)
        findings.contamination = tuple(each.report() for each in self.filters if isinstance(each, ContaminationFilter))
        findings.clause_texts = self.source.clause_texts()
        findings.denials = self.contents.denials
        findings.claims = (*filter(None, [self.contents.claims]), *findings.claims)
        health = health_of(self.source.kind, findings, stats, self.config)
        coverage: dict[str, JsonValue] = {key: size.model_dump() for key, size in health.coverage.items()}
        write_json(self.folder / COVERAGE, coverage)
        plain = health if self.config.keeps_contents else health.model_copy(update={"denials": None, "claims": ()})
        write_json(self.folder / _HEALTH, plain)
        contents = health.model_dump(mode="json", include={"denials", "claims"})
        return Built(outputs=tuple(outputs), summary=_summary(health), execution={"contents": contents})

    def _kept_rows(self, verdicts: Verdicts | None, stats: CorpusStats, rejects: IO[str]) -> Iterator[Row]:
        for row in self.source.read(self.folder / _PASSED):
            if (reject := self._late_reject(row, verdicts)) is not None:
                self.findings.add_reject(reject)
                rejects.write(reject.model_dump_json() + "\n")
            else:
                stats.add(row)
                self.contents.add(row)
                if self.source.twin is not None:
                    self.findings.kept_ids.add(row_id(row))
                yield row

    def _late_reject(self, row: Row, verdicts: Verdicts | None) -> Reject | None:
        """Reject a row that every filter let pass for repeating another in meaning, or by the judge's verdict."""
        digest = _text_digest(row)
        if digest in self.repeats:
            reason = f"means nearly the same as: {self.repeats[digest]}"
            return Reject(id=row_id(row), by="near duplicate in meaning", reason=reason, text=row.text)
        verdict = verdicts[digest] if verdicts is not None else None
        if verdict is None:
            return None
        reason = f"{verdict.verdict}: {verdict.reason}"
        return Reject(id=row_id(row), by="faithfulness", reason=reason, text=row.text)


def _open_lines(path: Path, mode: str) -> IO[str]:
    return path.open(mode, encoding="utf-8", newline="\n")


def _text_digest(row: Row) -> bytes:
    """Return 16 bytes of the hash of a row's text: a million rows are told apart by them in little memory."""
    return hashlib.blake2b(row.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _summary(health: Health) -> dict[str, JsonValue]:
    rejects: dict[str, JsonValue] = dict(health.rejects)
    leaks: dict[str, JsonValue] = {
        found.evaluation: f"{found.n_rows_hit:,} of {found.n_rows:,} rows share something with it"
        for found in health.contamination
    }
    if (rates := health.calibration) is None:
        judged = f"{health.judged}; error rates not measured"
    else:
        judged = (
            f"{health.judged}; keeps {rates.false_keep.n} of {rates.false_keep.of} planted violations, "
            f"rejects {rates.false_reject.n} of {rates.false_reject.of} others, "
            f"holds {rates.held.n} of {rates.held.of}"
        )
    return {
        f"n_{health.kind}": health.after.documents,
        "n_tokens_estimated": health.after.tokens,
        f"n_{health.kind}_before": health.before.documents,
        "n_rejects": sum(health.rejects.values()),
        "rejects": rejects,
        "unclear": dict(health.unclear),
        "n_clauses": len(health.coverage),
        "n_covered": sum(size.documents > 0 for size in health.coverage.values()),
        "judged": judged,
        "contamination": leaks or "not looked for: no evaluation was given",
        "share_distinct": round(health.share_distinct, 4),
        "mean_overlap": health.mean_overlap,
        "notes": list(health.notes),
    }
