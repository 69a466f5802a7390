"""A written corpus: documents and rejects, how they cover the spec, how distinct they are, and the files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_lines, write_rows
from midspec.core.fingerprint import hash_text
from midspec.core.records import Clause, Document, DocumentMetadata, PlanRow, Reject, Strict
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline
from midspec.generation import DiskBuffer

_OUTPUTS = ("documents.jsonl", "rejects.jsonl", "plan.jsonl", "coverage.json")
_SHINGLE_WORDS = 5
_N_PAIRS = 200
_N_CACHED_SETS = 64
# Of a model's corpus, whose texts are on disk: the documents read again, and the pairs among them.
_N_SAMPLED, _N_SAMPLED_PAIRS = 40, 40
_KEY_LENGTH = 16
_N_TYPES_SHOWN = 50
_TARGET_TOLERANCE = 0.1


class ClauseCoverage(Strict):
    """How often one clause is quoted: in how many documents, and with how many (estimated) tokens in all."""

    documents: int
    tokens: int


class Distinctness(Strict):
    """How different the documents are from each other.

    Attributes:
        share_distinct: distinct texts / documents written; 1 by construction for the template author.
        mean_overlap: mean Jaccard similarity of the sets of 5-word shingles, over sampled pairs; 0 is nothing shared.
        n_pairs: how many pairs were sampled.
    """

    share_distinct: float
    mean_overlap: float
    n_pairs: int


class CorpusResult(Strict):
    """What writing a plan gave.

    Attributes:
        coverage: for each clause id, in the order of the spec.
        exhausted: why fewer documents exist than were asked for, or `None`.
        notes: what else the user should know, clauses that no document quotes among it.
    """

    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    coverage: dict[str, ClauseCoverage]
    distinctness: Distinctness
    exhausted: str | None
    notes: tuple[str, ...] = ()

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Ids of the clauses that no document quotes."""
        return tuple(clause_id for clause_id, covered in self.coverage.items() if not covered.documents)


class Corpus(CorpusResult):
    """A whole corpus: what was written, and the plan that it was written from."""

    plan: tuple[PlanRow, ...]
    tokens_per_word: float
    seed: int


def make_document(
    row: PlanRow, text: str, positions: Iterable[int], found: Outline, config: CorpusConfig, **given: Any
) -> Document:
    """Make the document of a planned row.

    Args:
        row: what was planned.
        text: what was written.
        positions: of the clauses that it is about.
        found: the spec.
        config: of the corpus.
        given: further fields of its metadata, its id among them.
    """
    metadata = DocumentMetadata(
        author=config.author,
        plan_id=row.id,
        clause_ids=tuple(found.clauses[position].id for position in positions),
        subdomain=row.subdomain,
        doc_type=row.doc_type,
        idea=row.idea,
        model_name=config.model_name or "",
        provider_name=config.provider_name or "",
        spec_sha256=found.sha256,
        seed=config.seed,
        **given,
    )
    source = f"{config.model_name or 'assistant'}/{row.doc_type}"
    return Document(text=text, source=source, domain=row.domain, metadata=metadata)


def measure_coverage(
    clauses: Sequence[Clause], documents: Iterable[Document], tokens_per_word: float
) -> dict[str, ClauseCoverage]:
    """Count for each clause the documents that quote it, and the estimated tokens of those quotations."""
    times = {clause.id: 0 for clause in clauses}
    for document in documents:
        for clause_id in document.metadata.clause_ids if document.metadata else ():
            times[clause_id] += 1
    tokens = {clause.id: estimate_tokens(clause.text, tokens_per_word) for clause in clauses}
    return {key: ClauseCoverage(documents=n, tokens=n * tokens[key]) for key, n in times.items()}


def measure_distinctness(texts: Sequence[str], seed: int, n_pairs: int = _N_PAIRS) -> Distinctness:
    """Measure the share of distinct texts, and the mean overlap of random pairs."""
    share = len(set(texts)) / len(texts) if texts else 1.0
    if len(texts) < 2:
        return Distinctness(share_distinct=share, mean_overlap=0.0, n_pairs=0)

    @lru_cache(_N_CACHED_SETS)
    def shingles(index: int) -> set[tuple[str, ...]]:
        words = texts[index].casefold().split()
        return {tuple(words[at : at + _SHINGLE_WORDS]) for at in range(max(1, len(words) - _SHINGLE_WORDS + 1))}

    draw = random.Random(f"{seed}:pairs")
    pairs = [draw.sample(range(len(texts)), 2) for _ in range(n_pairs)]
    overlaps = [len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other)) for one, other in pairs]
    return Distinctness(share_distinct=share, mean_overlap=round(sum(overlaps) / n_pairs, 4), n_pairs=n_pairs)


def save_corpus(corpus: Corpus, folder: Path) -> Built:
    """Write documents.jsonl, rejects.jsonl, plan.jsonl and coverage.json, and say how healthy they are."""
    write_rows(folder / "documents.jsonl", corpus.documents)
    write_rows(folder / "rejects.jsonl", corpus.rejects)
    write_rows(folder / "plan.jsonl", corpus.plan)
    write_json(folder / "coverage.json", {key: covered.model_dump() for key, covered in corpus.coverage.items()})
    types = Counter(document.metadata.doc_type for document in corpus.documents if document.metadata)
    n_tokens = sum(estimate_tokens(document.text, corpus.tokens_per_word) for document in corpus.documents)
    summary: dict[str, JsonValue] = {
        "n_documents": len(corpus.documents),
        "n_words": sum(n_words(document.text) for document in corpus.documents),
        "n_tokens_estimated": n_tokens,
        "tokens_per_word": round(corpus.tokens_per_word, 4),
        "n_rejects": len(corpus.rejects),
        "n_clauses": len(corpus.coverage),
        "n_covered": len(corpus.coverage) - len(corpus.uncovered),
        "distinctness": corpus.distinctness.model_dump(),
        "exhausted": corpus.exhausted,
        "notes": list(corpus.notes),
        "doc_types": dict(sorted(types.items())),
    }
    return Built(outputs=_OUTPUTS, summary=summary)


class CorpusRows:
    """The rows of one corpus: planned, and then each a document or a reject. Texts are on disk, ids in memory.

    Args:
        folder: where the files go, and temporary ones meanwhile.
        outline: the spec.
        config: what is written.
    """

    def __init__(self, folder: Path, outline: Outline, config: CorpusConfig) -> None:
        self._folder, self._outline, self._config = folder, outline, config
        self._plan = DiskBuffer(folder, PlanRow)
        self._documents = DiskBuffer(folder, Document)
        self._rejects = DiskBuffer(folder, Reject)
        self._n_about = [0] * len(outline.clauses)
        self._tokens_about = [0.0] * len(outline.clauses)
        self._types: Counter[str] = Counter()
        self._n_words = self._n_tokens = 0
        self._first_with: dict[str, str] = {}
        self._copies: dict[str, list[str]] = {}

    @property
    def n_planned(self) -> int:
        """Rows that were planned."""
        return len(self._plan)

    @property
    def n_rejected(self) -> int:
        """Rows without a document that was kept."""
        return len(self._rejects)

    @property
    def n_settled(self) -> int:
        """Rows that are a document or a reject."""
        return len(self._documents) + len(self._rejects)

    def n_about(self, position: int) -> int:
        """Return how many kept documents are about the clause at this position."""
        return self._n_about[position]

    # Rows in -------------------------------------------------------------------------------------------------------

    def add_planned(self, order: Sequence[int], row: PlanRow) -> None:
        """Take a planned row; `order` is its place in the plan, by structure and not by arrival."""
        self._plan.put(".".join(f"{number:06d}" for number in order), row)

    def add_document(self, row_id: str, document: Document, positions: Sequence[int]) -> None:
        """Take a row's document, about the clauses at these positions."""
        self._documents.put(row_id, document)
        if (first := self._first_with.setdefault(hash_text(document.text)[:_KEY_LENGTH], row_id)) != row_id:
            self._copies.setdefault(first, [first]).append(row_id)
        self._count(document, positions, 1)

    def add_reject(self, reject: Reject) -> None:
        """Take why a row (of the reject's id) has no document."""
        self._rejects.put(reject.id, reject)

    def drop_copies(self) -> None:
        """Keep one of the documents with the very same text; which one does not depend on which came first."""
        for ids in self._copies.values():
            kept, *others = sorted(ids)
            for row_id in others:
                if row_id in self._documents:
                    document = self._documents.get(row_id)
                    clause_ids = document.metadata.clause_ids if document.metadata else ()
                    self._count(document, [self._outline.position_of[clause_id] for clause_id in clause_ids], -1)
                    self._documents.drop(row_id)
                    reason = f"the same text, word for word, as the document of row {kept}"
                    self.add_reject(Reject(id=row_id, by="checks", reason=reason, text=document.text))

    def _count(self, document: Document, positions: Sequence[int], sign: int) -> None:
        tokens = estimate_tokens(document.text)
        self._n_words += sign * n_words(document.text)
        self._n_tokens += sign * tokens
        self._types[document.metadata.doc_type if document.metadata else ""] += sign
        for position in positions:
            self._n_about[position] += sign
            self._tokens_about[position] += sign * tokens / len(positions)

    # Rows out ------------------------------------------------------------------------------------------------------

    def documents(self) -> Iterator[Document]:
        """Yield the documents, one at a time, in an order drawn by the seed."""
        return self._documents.rows(self._shuffled)

    def rejects(self) -> Iterator[Reject]:
        """Return what was not kept, by id."""
        return self._rejects.rows(str)

    def notes(self, min_documents: Sequence[int]) -> list[str]:
        """Say that clauses have fewer documents than they should (by position), or that the target was missed."""
        notes = []
        if n_thin := sum(n < wanted for n, wanted in zip(self._n_about, min_documents, strict=True)):
            hint = "ask for more documents or take the filters' reasons to heart"
            thin = f"{n_thin} of {len(min_documents)} clauses have fewer than {max(min_documents)} documents"
            notes.append(f"{thin}: {hint}")
        target = self._config.target_tokens
        if target and self._documents and abs(self._n_tokens - target) > _TARGET_TOLERANCE * target:
            mean = round(self._n_tokens / len(self._documents))
            hint = "give `writing.mean_tokens` what this author really writes"
            notes.append(f"{target} tokens were wanted and about {self._n_tokens} written, {mean} a document: {hint}")
        return notes

    def save(self, notes: Iterable[str], n_wanted: int, outcomes: Mapping[str, Counter[str]]) -> Built:
        """Write the four files, and say how healthy they are. A document's tokens are shared among its clauses.

        Args:
            notes: what else the user should know.
            n_wanted: how many documents were wanted.
            outcomes: of the requests, by stage.
        """
        write_lines(self._folder / "documents.jsonl", self._documents.lines(self._shuffled))
        write_lines(self._folder / "rejects.jsonl", self._rejects.lines(str))
        write_lines(self._folder / "plan.jsonl", self._plan.lines(str))
        counts = zip(self._outline.clauses, self._n_about, self._tokens_about, strict=True)
        write_json(
            self._folder / "coverage.json",
            {clause.id: {"documents": n, "tokens": round(tokens)} for clause, n, tokens in counts},
        )
        exhausted = f"{n_wanted} documents were wanted and {self.n_planned} planned: the lists above came out shorter"
        # Copies are dropped, so all texts are distinct; the overlap is that of a sample.
        sample = [self._documents.get(key).text for key in self._documents.keys(self._shuffled)[:_N_SAMPLED]]
        summary: dict[str, JsonValue] = {
            "n_documents": len(self._documents),
            "n_words": self._n_words,
            "n_tokens_estimated": self._n_tokens,
            "tokens_per_word": round(TOKENS_PER_WORD, 4),
            "n_wanted": n_wanted,
            "n_planned": self.n_planned,
            "n_rejects": self.n_rejected,
            "rejects_by": dict(sorted(Counter(reject.by for reject in self.rejects()).items())),
            "n_clauses": len(self._n_about),
            "n_covered": sum(n > 0 for n in self._n_about),
            "distinctness": measure_distinctness(sample, self._config.seed, _N_SAMPLED_PAIRS).model_dump(),
            "exhausted": exhausted if self.n_planned < n_wanted else None,
            "notes": [*sorted(set(notes))],
            "doc_types": dict(sorted(self._types.most_common(_N_TYPES_SHOWN))),
            "n_doc_types": len(self._types),
            "outcomes": {stage: dict(sorted(outcomes[stage].items())) for stage in sorted(outcomes)},
            "author": self._config.author,
        }
        return Built(outputs=_OUTPUTS, summary=summary)

    def _shuffled(self, key: str) -> str:
        return hash_text(f"{self._config.seed}:order:{key}")[:_KEY_LENGTH]

    def close(self) -> None:
        """Let go of the temporary files."""
        for buffer in (self._plan, self._documents, self._rejects):
            buffer.close()
