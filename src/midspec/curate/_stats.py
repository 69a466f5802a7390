"""What rows are made of, measured as they pass, in bounded memory: who and what recurs, lengths, types, coverage."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from midspec.core.records import (
    Calibration,
    Contamination,
    Document,
    Health,
    LengthBin,
    Lengths,
    Occurrences,
    Reject,
    Sample,
    Size,
)
from midspec.curate._config import CurateConfig
from midspec.curate._rows import Row, n_words, row_id, said, text_of
from midspec.curate.filters._form import UNCLEAR, language_of

# Histograms of different corpora can be laid over each other: the bins never depend on the rows.
BIN_EDGES_WORDS = (0, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 2500, 3000, 4000, 6000, 10_000)
_MOST_KEPT = 200_000
_READ_CLOSELY = 2000
_OPENING_WORDS = _PHRASE_WORDS = 4
_SHINGLE_WORDS = 5
_PAIRS = 200

# A capitalised word after one that ends no sentence, and the capitalised words that follow it.
_NAME = re.compile(
    r"(?<=[a-z,] )(?:(?:Dr|Mr|Mrs|Ms|Prof)\.? )?[A-Z][\w'\N{RIGHT SINGLE QUOTATION MARK}-]*"
    r"(?: (?:of |the |de |van )?[A-Z][\w-]*)*"
)
_WORD = re.compile(r"[\w'\N{RIGHT SINGLE QUOTATION MARK}-]+")
_NOT_NAMES = frozenset({"I", "I'm", "I've", "I'd", "I'll", "OK", "A", "The", "It", "AI"})


class Tally:
    """Counts of things and of the rows that they are in; when there are too many things, the rare ones are let go."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.is_pruned = False

    def add(self, things: Iterable[str]) -> None:
        """Count what one row holds, each time it stands there."""
        here = Counter(things)
        self.times.update(here)
        self.rows.update(here.keys())
        if len(self.times) > _MOST_KEPT:
            self._prune()

    def _prune(self) -> None:
        most = self.times.most_common(_MOST_KEPT // 2)
        self.times = Counter(dict(most))
        self.rows = Counter({thing: self.rows[thing] for thing, _ in most})
        self.is_pruned = True

    def top(self, n: int, *, least_rows: int = 2) -> dict[str, Occurrences]:
        """The `n` things that are in the most rows, if in more than one."""
        ranked = sorted(self.rows.items(), key=lambda entry: (-entry[1], -self.times[entry[0]], entry[0]))
        return {
            thing: Occurrences(times=self.times[thing], rows=rows) for thing, rows in ranked[:n] if rows >= least_rows
        }


class Coverage:
    """Rows and tokens by clause; the tokens of a row are shared among the clauses that it claims."""

    def __init__(self, clause_ids: Iterable[str]) -> None:
        self._documents = dict.fromkeys(clause_ids, 0)
        self._tokens: dict[str, float] = {}

    def add(self, row: Row, n_tokens: int) -> None:
        claimed = dict.fromkeys(row.metadata.clause_ids if row.metadata is not None else ())
        for clause_id in claimed:
            self._documents[clause_id] = self._documents.get(clause_id, 0) + 1
            self._tokens[clause_id] = self._tokens.get(clause_id, 0.0) + n_tokens / len(claimed)

    def sizes(self) -> dict[str, Size]:
        return {
            clause_id: Size(documents=n, tokens=round(self._tokens.get(clause_id, 0.0)))
            for clause_id, n in self._documents.items()
        }


class CorpusStats:
    """Measures rows as they pass. Everything is of all rows but phrases and overlaps, for which up to 2,000 rows that a
    seed draws are read closely, and the samples, which are drawn from those.

    Args:
        clause_ids: clauses that count even when no row claims them, in this order.
        tokens_per_word: for estimates of tokens.
        seed: decides which rows are read closely.
    """

    def __init__(self, clause_ids: Iterable[str] = (), *, tokens_per_word: float = 4 / 3, seed: int = 0) -> None:
        self._tokens_per_word, self._seed = tokens_per_word, seed
        self._draw = random.Random(f"{seed}:gauge")
        self._coverage = Coverage(clause_ids)
        self.n_tokens = 0
        self._n_words = array("q")
        self._names, self._openings = Tally(), Tally()
        self.types: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self._distinct: set[int] = set()
        self.close: list[Row] = []

    @property
    def n_rows(self) -> int:
        """Rows measured so far."""
        return len(self._n_words)

    @property
    def size(self) -> Size:
        """Rows and estimated tokens so far."""
        return Size(documents=self.n_rows, tokens=self.n_tokens)

    def add(self, row: Row) -> None:
        """Measure one row."""
        text = said(row)
        words = n_words(text)
        tokens = round(words * self._tokens_per_word)
        self._n_words.append(words)
        self.n_tokens += tokens
        self._coverage.add(row, tokens)
        self._names.add(names_in(text))
        self._openings.add([" ".join(_WORD.findall(text[:200])[:_OPENING_WORDS]).casefold()])
        self.languages[language_of(text)] += 1
        self._distinct.add(hash(text_of(row)))
        if (kind := _type_of(row)) != "":
            self.types[kind] += 1
        if isinstance(row, Document) and row.domain:
            self.domains[row.domain] += 1
        self._keep_close(row)

    def _keep_close(self, row: Row) -> None:
        """A reservoir: every row so far is in it with the same probability."""
        if len(self.close) < _READ_CLOSELY:
            self.close.append(row)
        elif (place := self._draw.randrange(self.n_rows)) < _READ_CLOSELY:
            self.close[place] = row

    def lengths(self) -> Lengths | None:
        """Quantiles and histogram of the words of rows; `None` without rows."""
        return lengths_of(self._n_words)

    def coverage(self) -> dict[str, Size]:
        """By clause id, in the order given and then of appearance."""
        return self._coverage.sizes()

    def names(self, n: int) -> dict[str, Occurrences]:
        """Capitalised words inside sentences, and runs of them, that are in the most rows."""
        return self._names.top(n)

    def openings(self, n: int) -> dict[str, int]:
        """The first four words that the most rows begin with."""
        return {opening: found.rows for opening, found in self._openings.top(n).items()}

    def phrases(self, n: int) -> dict[str, Occurrences]:
        """Runs of four words that are in the most of the rows read closely."""
        tally = Tally()
        for row in self.close:
            words = said(row).casefold().split()
            tally.add(map(" ".join, zip(*(words[at:] for at in range(_PHRASE_WORDS)), strict=False)))
        return tally.top(n, least_rows=max(2, len(self.close) // 200))

    def share_distinct(self) -> float:
        """Distinct texts / rows; 1 without rows."""
        return len(self._distinct) / self.n_rows if self.n_rows else 1.0

    def mean_overlap(self) -> tuple[float, int]:
        """The mean Jaccard similarity of 5-word shingles over random pairs of the rows read closely, and how many."""
        if len(self.close) < 2:
            return 0.0, 0
        draw = random.Random(f"{self._seed}:pairs")
        pairs = [draw.sample(self.close, 2) for _ in range(_PAIRS)]
        overlaps = [_jaccard(shingles_of(said(one)), shingles_of(said(other))) for one, other in pairs]
        return round(sum(overlaps) / _PAIRS, 4), _PAIRS

    def samples(self, n: int) -> tuple[Sample, ...]:
        """Rows to read, as different in type as there are types."""
        rows = random.Random(f"{self._seed}:samples").sample(self.close, len(self.close))
        seen: Counter[str] = Counter()
        turns: list[tuple[int, int, Row]] = []
        for place, row in enumerate(rows):
            turns.append((seen[_type_of(row)], place, row))
            seen[_type_of(row)] += 1
        chosen = [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])[:n]]
        return tuple(Sample(id=row_id(row), doc_type=_type_of(row), text=text_of(row)) for row in chosen)

    def notes(self) -> tuple[str, ...]:
        """What is not of all rows."""
        if self.n_rows > len(self.close):
            return (f"phrases, overlaps and samples are of {len(self.close):,} of {self.n_rows:,} rows, drawn by seed",)
        return ()


def _type_of(row: Row) -> str:
    if row.metadata is None:
        return ""
    return row.metadata.doc_type if isinstance(row, Document) else row.metadata.question_kind or row.metadata.style


def names_in(text: str) -> list[str]:
    """What looks like a name: capitalised words that do not begin a sentence, and runs of them."""
    return [name for name in _NAME.findall(text) if name not in _NOT_NAMES]


def shingles_of(text: str) -> frozenset[int]:
    """The text's 5-word shingles, hashed."""
    words = text.casefold().split()
    if len(words) < _SHINGLE_WORDS:
        return frozenset({hash(tuple(words))})
    return frozenset(map(hash, zip(*(words[at:] for at in range(_SHINGLE_WORDS)), strict=False)))


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def lengths_of(n_words_by_row: Sequence[int] | array[int]) -> Lengths | None:
    """Quantiles and histogram of lengths in words; `None` of none."""
    if not len(n_words_by_row):
        return None
    import numpy as np

    values = np.asarray(n_words_by_row, dtype=np.int64)
    counts = np.histogram(values, bins=[*BIN_EDGES_WORDS, np.iinfo(np.int64).max])[0]
    highs = (*BIN_EDGES_WORDS[1:], None)
    quarter, median, three = (float(np.quantile(values, share)) for share in (0.25, 0.5, 0.75))
    return Lengths(
        least=int(values.min()),
        quarter=quarter,
        median=median,
        three_quarters=three,
        most=int(values.max()),
        bins=tuple(
            LengthBin(low=low, high=high, n=int(n)) for low, high, n in zip(BIN_EDGES_WORDS, highs, counts, strict=True)
        ),
    )


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first, equals by name."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


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


def health_of(
    kind: Literal["documents", "chats"], findings: Findings, gauge: CorpusStats, config: CurateConfig
) -> Health:
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


def _notes(findings: Findings, gauge: CorpusStats, config: CurateConfig) -> tuple[str, ...]:
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
