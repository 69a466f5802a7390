"""What became of every planned row, and the files that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_lines
from midspec.core.fingerprint import hash_text
from midspec.core.records import Document, PlanRow, Reject
from midspec.corpus._config import CorpusConfig, Covered
from midspec.corpus._coverage import distinctness, n_words
from midspec.corpus._outline import Outline
from midspec.generation._disk_buffer import DiskBuffer

_TOKENS_PER_WORD = 4 / 3
_SAMPLE, _PAIRS = 40, 40
_KEY_LENGTH = 16
_TYPES_SHOWN = 50
_FAR = 0.1


def keep_all(document: Document) -> str | None:  # noqa: ARG001 - the signature of a filter
    """The filter that keeps every document."""
    return None


def keep_quiet(done: int, wanted: int, what: str) -> None:
    """Tell nobody how far the work is."""


class Authored:
    """The rows of one corpus: planned, and then each a document or a reject. Texts are on disk, ids in memory.

    Args:
        folder: where the files go, and temporary ones meanwhile.
    """

    def __init__(self, folder: Path, found: Outline, config: CorpusConfig) -> None:
        self._folder, self._found, self._config = folder, found, config
        self._plan = DiskBuffer(folder, PlanRow)
        self._documents = DiskBuffer(folder, Document)
        self._rejects = DiskBuffer(folder, Reject)
        self._n_about = [0] * len(found.clauses)
        self._tokens_about = [0.0] * len(found.clauses)
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

    def about(self, place: int) -> int:
        """How many kept documents are about the clause at this position."""
        return self._n_about[place]

    # Rows in -------------------------------------------------------------------------------------------------------

    def plan(self, order: Sequence[int], row: PlanRow) -> None:
        """Take a planned row; `order` is its place in the plan, by structure and not by arrival."""
        self._plan.put(".".join(f"{number:06d}" for number in order), row)

    def keep(self, row: PlanRow, document: Document, about: Sequence[int], digest: str) -> None:
        """Take a row's document, about the clauses at these positions; `digest` is of its text."""
        self._documents.put(row.id, document)
        if (first := self._first_with.setdefault(digest, row.id)) != row.id:
            self._copies.setdefault(first, [first]).append(row.id)
        self._count(document, about, 1)

    def reject(self, row: PlanRow, reject: Reject) -> None:
        """Take why a row has no document."""
        self._rejects.put(row.id, reject)

    def drop_copies(self) -> None:
        """Of documents with the very same text keep one; which one does not depend on which came first."""
        places = {clause.id: place for place, clause in enumerate(self._found.clauses)}
        for ids in self._copies.values():
            kept, *others = sorted(ids)
            for row_id in others:
                if row_id in self._documents:
                    document = self._documents.get(row_id)
                    clause_ids = document.metadata.clause_ids if document.metadata else ()
                    self._count(document, [places[clause_id] for clause_id in clause_ids], -1)
                    self._documents.drop(row_id)
                    reason = f"the same text, word for word, as the document of row {kept}"
                    self._rejects.put(row_id, Reject(id=row_id, by="checks", reason=reason, text=document.text))

    def _count(self, document: Document, about: Sequence[int], sign: int) -> None:
        words = n_words(document.text)
        tokens = round(words * _TOKENS_PER_WORD)
        self._n_words += sign * words
        self._n_tokens += sign * tokens
        self._types[document.metadata.doc_type if document.metadata else ""] += sign
        for place in about:
            self._n_about[place] += sign
            self._tokens_about[place] += sign * tokens / len(about)

    # Rows out ------------------------------------------------------------------------------------------------------

    def documents(self) -> Iterator[Document]:
        """The documents, one at a time, in an order drawn by the seed."""
        return self._documents.rows(self._shuffled)

    def rejected(self) -> Iterator[Reject]:
        """What was not kept, by id."""
        return self._rejects.rows(str)

    def coverage(self) -> dict[str, Covered]:
        """For each clause how many documents are about it; a document's tokens are shared among its clauses."""
        return {
            clause.id: Covered(documents=self._n_about[place], tokens=round(self._tokens_about[place]))
            for place, clause in enumerate(self._found.clauses)
        }

    def thin_notes(self, least: Sequence[int]) -> list[str]:
        """A note when clauses have fewer documents than they should."""
        n_thin = sum(n < wanted for n, wanted in zip(self._n_about, least, strict=True))
        if not n_thin:
            return []
        hint = "ask for more documents or take the filters' reasons to heart"
        return [f"{n_thin} of {len(least)} clauses have fewer than {max(least)} documents: {hint}"]

    def length_notes(self) -> list[str]:
        """A note when the documents' lengths led away from the tokens that were wanted."""
        target = self._config.target_tokens
        if target is None or not self._documents or abs(self._n_tokens - target) <= _FAR * target:
            return []
        mean = round(self._n_tokens / len(self._documents))
        hint = "give `writing.mean_tokens` what this author really writes"
        return [f"{target} tokens were wanted and about {self._n_tokens} written, {mean} a document: {hint}"]

    def publish(self, notes: Iterable[str], n_wanted: int, outcomes: Mapping[str, Counter[str]]) -> Built:
        """Write the four files, and say how healthy they are."""
        write_lines(self._folder / "documents.jsonl", self._documents.lines(self._shuffled))
        write_lines(self._folder / "rejects.jsonl", self._rejects.lines(str))
        write_lines(self._folder / "plan.jsonl", self._plan.lines(str))
        covered = self.coverage()
        write_json(self._folder / "coverage.json", {key: one.model_dump() for key, one in covered.items()})
        outputs = ("documents.jsonl", "rejects.jsonl", "plan.jsonl", "coverage.json")
        return Built(outputs=outputs, summary=self._summary(sorted(set(notes)), n_wanted, outcomes, covered))

    def _summary(
        self, notes: list[str], n_wanted: int, outcomes: Mapping[str, Counter[str]], covered: Mapping[str, Covered]
    ) -> dict[str, JsonValue]:
        n_uncovered = sum(not one.documents for one in covered.values())
        exhausted = None
        if self.n_planned < n_wanted:
            exhausted = (
                f"{n_wanted} documents were wanted and {self.n_planned} planned: the lists above came out shorter"
            )
        kinds: dict[str, JsonValue] = {stage: dict(sorted(outcomes[stage].items())) for stage in sorted(outcomes)}
        reasons = Counter(reject.by for reject in self.rejected())
        return {
            "n_documents": len(self._documents),
            "n_words": self._n_words,
            "n_tokens_estimated": self._n_tokens,
            "tokens_per_word": round(_TOKENS_PER_WORD, 4),
            "n_wanted": n_wanted,
            "n_planned": self.n_planned,
            "n_rejects": self.n_rejected,
            "rejects_by": dict(sorted(reasons.items())),
            "n_clauses": len(covered),
            "n_covered": len(covered) - n_uncovered,
            "distinctness": self._distinctness(),
            "exhausted": exhausted,
            "notes": [*notes],
            "doc_types": dict(sorted(self._types.most_common(_TYPES_SHOWN))),
            "n_doc_types": len(self._types),
            "outcomes": kinds,
            "author": self._config.author,
        }

    def _distinctness(self) -> JsonValue:
        """Copies are dropped, so all texts are distinct; the overlap is that of a sample."""
        keys = self._documents.keys(self._shuffled)[:_SAMPLE]
        found = distinctness([self._documents.get(key).text for key in keys], self._config.seed, _PAIRS)
        return found.model_dump()

    def _shuffled(self, key: str) -> str:
        return hash_text(f"{self._config.seed}:order:{key}")[:_KEY_LENGTH]

    def close(self) -> None:
        """Let go of the temporary files."""
        for shelf in (self._plan, self._documents, self._rejects):
            shelf.close()
