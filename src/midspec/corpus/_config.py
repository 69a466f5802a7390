"""What is asked of the corpus room, and what it gives back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midspec.records import Document, PlanRow, Reject, Strict

__all__ = ["DEFAULT_DOCUMENTS", "Corpus", "CorpusConfig", "CorpusResult", "Covered", "Distinctness"]

DEFAULT_DOCUMENTS = 1000


class CorpusConfig(Strict):
    """How many documents to write about whom, of which types, drawn with which seed.

    The size is one of: `n_documents`; `target_tokens` (an estimate, see `estimate_tokens`); or `ideas` documents of
    each type in each subdomain. With none of them it is 1,000 documents.

    Attributes:
        mode: `prose`, or `rules` for a spec that is numbered rules.
        doc_types: how many of the frames' document types to use; all by default.
        model_name: fills `{model_name}` in the spec and in the frames.
        provider_name: fills `{provider_name}`; frames that use it are passed over without one.
        frames: the name of shipped frames, or the path of a YAML file.
    """

    mode: Literal["prose", "rules"] = "prose"
    n_documents: int | None = Field(default=None, ge=1)
    target_tokens: int | None = Field(default=None, ge=1)
    doc_types: int | None = Field(default=None, ge=1)
    ideas: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    frames: str = "english"
    author: Literal["quoting"] = "quoting"


class Covered(Strict):
    """How often one clause is quoted: in how many documents, and with how many (estimated) tokens in all."""

    documents: int
    tokens: int


class Distinctness(Strict):
    """How different the documents are from each other.

    Attributes:
        share_distinct: distinct texts / documents written; 1 by construction for the quoting author.
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
    coverage: dict[str, Covered]
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
