"""Statistics of rows, gathered as they pass, in bounded memory: what recurs, lengths, types, coverage; and health."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from midspec.core.records import (
    Calibration,
    Contamination,
    Denials,
    Document,
    Health,
    LengthBin,
    Lengths,
    Occurrences,
    Reject,
    Sample,
    Size,
    ValueClaims,
)
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.curate._config import CurateConfig
from midspec.curate._rows import Row, row_id, target_text
from midspec.curate.filters._basic import UNCLEAR, identify_language
from midspec.curate.filters._contamination import by_count

# Histograms of different corpora can be laid over each other: the bins never depend on the rows.
BIN_EDGES_WORDS = (0, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 2500, 3000, 4000, 6000, 10_000)
_MAX_THINGS = 200_000
SAMPLE_ROWS = 2000
_OPENING_WORDS = _PHRASE_WORDS = 4
_SHINGLE_WORDS = 5
_N_OVERLAP_PAIRS = 200

# A capitalised word after one that ends no sentence, and the capitalised words that follow it.
_NAME = re.compile(
    r"(?<=[a-z,] )(?:(?:Dr|Mr|Mrs|Ms|Prof)\.? )?[A-Z][\w'\N{RIGHT SINGLE QUOTATION MARK}-]*"
    r"(?: (?:of |the |de |van )?[A-Z][\w-]*)*"
)
_WORD = re.compile(r"[\w'\N{RIGHT SINGLE QUOTATION MARK}-]+")
_NOT_NAMES = frozenset({"I", "I'm", "I've", "I'd", "I'll", "OK", "A", "The", "It", "AI"})


class OccurrenceCounter:
    """Counts things and the rows that they are in; of more than 200,000 things the rarer half is dropped."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.is_pruned = False

    def add(self, things: Iterable[str]) -> None:
        """Count what one row holds, each time it stands there."""
        here = Counter(things)
        self.times.update(here)
        self.rows.update(here.keys())
        if len(self.times) > _MAX_THINGS:
            self.times = Counter(dict(self.times.most_common(_MAX_THINGS // 2)))
            self.rows = Counter({thing: self.rows[thing] for thing in self.times})
            self.is_pruned = True

    def top(self, n: int, *, min_rows: int = 2) -> dict[str, Occurrences]:
        """Return the `n` things that are in the most rows, if in more than one."""
        ranked = sorted(self.rows.items(), key=lambda entry: (-entry[1], -self.times[entry[0]], entry[0]))
        return {
            thing: Occurrences(times=self.times[thing], rows=rows) for thing, rows in ranked[:n] if rows >= min_rows
        }


class Coverage:
    """Rows and tokens by clause; the tokens of a row are shared among the clauses that it claims."""

    def __init__(self, clause_ids: Iterable[str]) -> None:
        self._documents = dict.fromkeys(clause_ids, 0)
        self._tokens: dict[str, float] = {}

    def add(self, row: Row, n_tokens: int) -> None:
        """Count one row and its tokens."""
        claimed = dict.fromkeys(row.metadata.clause_ids if row.metadata is not None else ())
        for clause_id in claimed:
            self._documents[clause_id] = self._documents.get(clause_id, 0) + 1
            self._tokens[clause_id] = self._tokens.get(clause_id, 0.0) + n_tokens / len(claimed)

    def sizes(self) -> dict[str, Size]:
        """Return rows and tokens by clause, in the order given and then of appearance."""
        return {
            clause_id: Size(documents=n, tokens=round(self._tokens.get(clause_id, 0.0)))
            for clause_id, n in self._documents.items()
        }


class CorpusStats:
    """Statistics of the rows added so far.

    Phrases and overlaps are of up to 2,000 rows that a seed draws, and samples are drawn from those; everything else is
    of all rows.

    Args:
        clause_ids: clauses that count even when no row claims them, in this order.
        tokens_per_word: for estimates of tokens.
        seed: decides which rows are sampled.
    """

    def __init__(
        self, clause_ids: Iterable[str] = (), *, tokens_per_word: float = TOKENS_PER_WORD, seed: int = 0
    ) -> None:
        self._tokens_per_word, self._seed = tokens_per_word, seed
        # The streams of random numbers bear the names that decided earlier samples.
        self._draw = random.Random(f"{seed}:gauge")
        self._coverage = Coverage(clause_ids)
        self.n_tokens = 0
        self._n_words = array("q")
        self._names, self._openings = OccurrenceCounter(), OccurrenceCounter()
        self.types: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self._distinct: set[int] = set()
        self.sampled: list[Row] = []

    @property
    def n_rows(self) -> int:
        """Return how many rows were added so far."""
        return len(self._n_words)

    @property
    def size(self) -> Size:
        """Return how many rows and estimated tokens were added so far."""
        return Size(documents=self.n_rows, tokens=self.n_tokens)

    def add(self, row: Row) -> None:
        """Measure one row."""
        text = target_text(row)
        tokens = estimate_tokens(text, self._tokens_per_word)
        self._n_words.append(n_words(text))
        self.n_tokens += tokens
        self._coverage.add(row, tokens)
        self._names.add(names_in(text))
        self._openings.add([" ".join(_WORD.findall(text[:200])[:_OPENING_WORDS]).casefold()])
        self.languages[identify_language(text)] += 1
        self._distinct.add(hash(row.text))
        if (kind := _type_of(row)) != "":
            self.types[kind] += 1
        if isinstance(row, Document) and row.domain:
            self.domains[row.domain] += 1
        # A reservoir: every row so far is in it with the same probability.
        if len(self.sampled) < SAMPLE_ROWS:
            self.sampled.append(row)
        elif (place := self._draw.randrange(self.n_rows)) < SAMPLE_ROWS:
            self.sampled[place] = row

    def lengths(self) -> Lengths | None:
        """Return quantiles and histogram of the words of rows; `None` without rows."""
        return lengths_of(self._n_words)

    def coverage(self) -> dict[str, Size]:
        """Return rows and tokens by clause, in the order given and then of appearance."""
        return self._coverage.sizes()

    def names(self, n: int) -> dict[str, Occurrences]:
        """Return the capitalised words inside sentences, and runs of them, that are in the most rows."""
        return self._names.top(n)

    def openings(self, n: int) -> dict[str, int]:
        """Return the first four words that the most rows begin with."""
        return {opening: found.rows for opening, found in self._openings.top(n).items()}

    def phrases(self, n: int) -> dict[str, Occurrences]:
        """Return the runs of four words that are in the most sampled rows."""
        counter = OccurrenceCounter()
        for row in self.sampled:
            words = target_text(row).casefold().split()
            counter.add(map(" ".join, zip(*(words[at:] for at in range(_PHRASE_WORDS)), strict=False)))
        return counter.top(n, min_rows=max(2, len(self.sampled) // 200))

    def share_distinct(self) -> float:
        """Return distinct texts / rows; 1 without rows."""
        return len(self._distinct) / self.n_rows if self.n_rows else 1.0

    def mean_overlap(self) -> tuple[float, int]:
        """Return the mean Jaccard similarity of 5-word shingles of random pairs of sampled rows, and how many pairs."""
        if len(self.sampled) < 2:
            return 0.0, 0
        draw = random.Random(f"{self._seed}:pairs")
        pairs = [[_shingles(target_text(row)) for row in draw.sample(self.sampled, 2)] for _ in range(_N_OVERLAP_PAIRS)]
        total = sum(len(one & other) / len(one | other) for one, other in pairs)
        return round(total / _N_OVERLAP_PAIRS, 4), _N_OVERLAP_PAIRS

    def samples(self, n: int) -> tuple[Sample, ...]:
        """Draw rows to read, taking turns among the types."""
        rows = random.Random(f"{self._seed}:samples").sample(self.sampled, len(self.sampled))
        seen: Counter[str] = Counter()
        ranked: list[tuple[int, Row]] = []
        for row in rows:
            ranked.append((seen[_type_of(row)], row))
            seen[_type_of(row)] += 1
        chosen = [row for _, row in sorted(ranked, key=lambda entry: entry[0])[:n]]
        return tuple(Sample(id=row_id(row), doc_type=_type_of(row), text=row.text) for row in chosen)


def _type_of(row: Row) -> str:
    if row.metadata is None:
        return ""
    return row.metadata.doc_type if isinstance(row, Document) else row.metadata.question_kind or row.metadata.style


def names_in(text: str) -> list[str]:
    """Find what looks like a name: capitalised words that do not begin a sentence, and runs of them."""
    return [name for name in _NAME.findall(text) if name not in _NOT_NAMES]


def _shingles(text: str) -> frozenset[int]:
    """Return the hashes of the text's 5-word shingles."""
    words = text.casefold().split()
    if len(words) < _SHINGLE_WORDS:
        return frozenset({hash(tuple(words))})
    return frozenset(map(hash, zip(*(words[at:] for at in range(_SHINGLE_WORDS)), strict=False)))


def lengths_of(n_words_by_row: Sequence[int] | array[int]) -> Lengths | None:
    """Return quantiles and histogram of lengths in words; `None` of none."""
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


_N_DUPLICATES_SHOWN = 20
NOT_JUDGED = "not judged"
# Of these the words after the colon are one row's own (an id, a number, a judge's sentence).
_REASONS_WITH_DETAILS = (
    "exact duplicate",
    "near duplicate",
    "near duplicate in meaning",
    "length",
    "faithfulness",
    "denials",
)


@dataclass
class Findings:
    """What filtering and judging found, gathered as they go."""

    n_passed: int = 0
    before: Size = field(default_factory=lambda: Size(documents=0, tokens=0))
    coverage_before: dict[str, Size] = field(default_factory=dict)
    clause_texts: dict[str, str] = field(default_factory=dict)
    rejects: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    kept_ids: set[str] = field(default_factory=set)
    contamination: tuple[Contamination, ...] = ()
    judged: str = NOT_JUDGED
    calibration: Calibration | None = None
    cost_usd: float | None = None
    denials: Denials | None = None
    claims: tuple[ValueClaims, ...] = ()

    def add_reject(self, reject: Reject) -> None:
        """Count one reject."""
        self.rejects[reject.by] += 1
        head, _, details = reject.reason.partition(": ")
        self.reasons[f"{reject.by}: {head if reject.by in _REASONS_WITH_DETAILS else reject.reason}"] += 1
        if reject.by.startswith("near duplicate") and len(self.duplicates) < _N_DUPLICATES_SHOWN:
            self.duplicates.append((reject.id, details))


def health_of(
    kind: Literal["documents", "chats"], findings: Findings, stats: CorpusStats, config: CurateConfig
) -> Health:
    """Summarize the health of the kept rows: their statistics, and what was taken out.

    Args:
        kind: what the rows are.
        findings: of filtering and judging.
        stats: of the rows that are kept.
        config: how much to show.
    """
    mean_overlap, n_pairs = stats.mean_overlap()
    unclear = {"language": stats.languages[UNCLEAR]} if config.languages and stats.languages[UNCLEAR] else {}
    return Health(
        kind=kind,
        before=findings.before,
        after=stats.size,
        rejects=by_count(findings.rejects),
        reasons=dict(list(by_count(findings.reasons).items())[: config.n_top]),
        unclear=unclear,
        held=findings.reasons["faithfulness: hold"] + findings.reasons["denials: hold"],
        n_exact=findings.rejects["exact duplicate"],
        n_near=findings.rejects["near duplicate"] + findings.rejects["near duplicate in meaning"],
        duplicates=tuple(findings.duplicates),
        names=stats.names(config.n_top),
        phrases=stats.phrases(config.n_top),
        openings=stats.openings(config.n_top),
        lengths=stats.lengths(),
        types=by_count(stats.types),
        domains=by_count(stats.domains),
        languages=by_count(stats.languages),
        clause_texts=findings.clause_texts,
        coverage_before=findings.coverage_before,
        coverage=stats.coverage(),
        share_distinct=stats.share_distinct(),
        mean_overlap=mean_overlap,
        n_pairs=n_pairs,
        samples=stats.samples(config.n_samples),
        judged=findings.judged,
        calibration=findings.calibration,
        contamination=findings.contamination,
        cost_usd=findings.cost_usd,
        notes=tuple(_notes(findings, stats, config)),
        denials=findings.denials,
        claims=findings.claims,
    )


def _notes(findings: Findings, stats: CorpusStats, config: CurateConfig) -> Iterator[str]:
    """Say what was not measured, or not of all rows."""
    if stats.n_rows > (n := len(stats.sampled)):
        yield f"phrases, overlaps and samples are of {n:,} of {stats.n_rows:,} rows, drawn by seed"
    lost = [
        clause_id
        for clause_id, size in stats.coverage().items()
        if not size.documents and findings.coverage_before.get(clause_id, size).documents
    ]
    if lost:
        yield f"{len(lost)} clauses had rows before filtering and have none now: {', '.join(lost[:5])}"
    if not config.model_name:
        yield "no model name was given, so identity was not looked at"
    if findings.judged == NOT_JUDGED:
        yield "faithfulness was not judged; the error rates of a judge are not measured"
    elif findings.calibration is None:
        yield "the error rates of the judge are not measured"
    else:
        yield "the judge's clean documents are this corpus's own: its false rejections are an upper bound"
    if not findings.contamination:
        yield "no evaluation was given, so contamination was not looked for"
